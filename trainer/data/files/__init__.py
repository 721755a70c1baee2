"""Files: rows of any number, streamed, their columns' kinds inferred, read in bounded memory."""
