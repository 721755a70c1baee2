"""Evaluation: how good a model is on rows it has never seen, and whether less would have done."""

from trainer.evaluate.evaluation import MOST_JUDGED, Judgement
from trainer.evaluate.metrics import leading, measure

__all__ = ["MOST_JUDGED", "Judgement", "leading", "measure"]
