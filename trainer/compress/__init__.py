"""Compression: smaller and faster variants of a trained model, within a limit on the metric."""

import trainer.train_extra  # noqa: F401 - says which extra to install
