"""Training: the loop, batches of rows, the update rule, callbacks, checkpoints, diagnostics."""

import trainer.train_extra  # noqa: F401 - says which extra to install
