"""Read files into tables: rows are streamed, the kinds of columns inferred, in bounded memory."""
