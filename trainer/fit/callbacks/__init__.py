"""Callbacks, one a file: what watches a run, keeps its best, or tells of it."""

from trainer.fit.callbacks.early_stopping import EarlyStopping
from trainer.fit.callbacks.logs import CSVLog, JSONLog
from trainer.fit.callbacks.model_checkpoint import ModelCheckpoint
from trainer.fit.callbacks.progress_bar import ProgressBar
from trainer.fit.callbacks.tensorboard import TensorBoard

__all__ = ["CSVLog", "EarlyStopping", "JSONLog", "ModelCheckpoint", "ProgressBar", "TensorBoard"]
