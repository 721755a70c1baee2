"""Data: reading, checking and splitting rows, and preprocessing their columns for the network."""

import trainer.train_extra  # noqa: F401 - says which extra to install
