"""Evaluation: how good a model is on rows it has never seen, and whether less would have done."""

from trainer.evaluate.evaluation import MAX_EVALUATED_ROWS, Evaluation
from trainer.evaluate.metrics import compute_metrics, get_main_metric

__all__ = ["MAX_EVALUATED_ROWS", "Evaluation", "compute_metrics", "get_main_metric"]
