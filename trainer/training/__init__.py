"""Training: the loop, its rows, the rule of its updates, and the base class of callbacks.

`callbacks` and `diagnostics` hold what a run can call while it trains; `checkpoint` stores its
state. `TrainingRun` trains a network on rows in memory, or on batches from any source.
"""

import trainer.train_extra  # noqa: F401 - says which extra to install

from trainer.training.batches import TrainingRows
from trainer.training.loop import Callback, Epoch, TrainingDivergedError, TrainingRun
from trainer.training.update import UpdateRule

__all__ = [
    "Callback",
    "Epoch",
    "TrainingDivergedError",
    "TrainingRows",
    "TrainingRun",
    "UpdateRule",
]
