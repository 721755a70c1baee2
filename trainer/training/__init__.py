"""Training: the loop, batches of rows, the update rule, callbacks, checkpoints, diagnostics."""
