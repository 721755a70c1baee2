"""Experiments that show the effects of a hidden layer and of the learning rate."""

import trainer.train_extra  # noqa: F401 - says which extra to install
