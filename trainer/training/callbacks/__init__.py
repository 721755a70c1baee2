"""Callbacks for training runs: early stopping, saved weights, logs, progress."""

from trainer.training.callbacks.early_stopping import EarlyStopping
from trainer.training.callbacks.epoch_logs import CSVLog, JSONLog
from trainer.training.callbacks.model_checkpoint import ModelCheckpoint
from trainer.training.callbacks.progress_bar import ProgressBar
from trainer.training.callbacks.tensorboard import TensorBoard

__all__ = ["CSVLog", "EarlyStopping", "JSONLog", "ModelCheckpoint", "ProgressBar", "TensorBoard"]
