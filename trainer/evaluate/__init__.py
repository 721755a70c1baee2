"""Evaluation of a model on rows it has not seen: metrics, intervals, baselines, calibration."""

import trainer.train_extra  # noqa: F401 - says which extra to install

from trainer.evaluate.metrics import compute_metrics, get_main_metric
from trainer.evaluate.model_evaluation import MAX_EVALUATED_ROWS, Evaluation

__all__ = ["MAX_EVALUATED_ROWS", "Evaluation", "compute_metrics", "get_main_metric"]
