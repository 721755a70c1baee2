"""Evaluation of a model on rows it has not seen: metrics, intervals, baselines, calibration."""

from trainer.evaluate.evaluation import MAX_EVALUATED_ROWS, Evaluation
from trainer.evaluate.metrics import compute_metrics, get_main_metric

__all__ = ["MAX_EVALUATED_ROWS", "Evaluation", "compute_metrics", "get_main_metric"]
