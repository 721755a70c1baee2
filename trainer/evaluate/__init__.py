"""Evaluation: how good a model is on rows it has never seen, and whether less would have done."""

from trainer.evaluate.baselines import beside
from trainer.evaluate.metrics import evaluate, leading, measure

__all__ = ["beside", "evaluate", "leading", "measure"]
