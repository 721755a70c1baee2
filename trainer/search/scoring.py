"""Scoring: which metrics a search can go by, and which way is up."""

from __future__ import annotations

from trainer.data.tables import Task
from trainer.evaluate import get_main_metric
from trainer.evaluate.metric_names import POSITIVE_LABEL_METRICS

# Of `trainer.evaluate.compute_metrics`.
OF_CLASSES = (
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "log_loss",
    "brier",
    "calibration_error",
    "classwise_calibration_error",
    "roc_auc",
    "pr_auc",
)
# Of the positive class of two alone.
OF_TWO_CLASSES = (*OF_CLASSES, *POSITIVE_LABEL_METRICS)
OF_VALUES = ("r2", "mae", "rmse", "pinball_10", "pinball_90")
LOWER_IS_BETTER = frozenset(
    {
        "log_loss",
        "brier",
        "calibration_error",
        "classwise_calibration_error",
        "mae",
        "rmse",
        "pinball_10",
        "pinball_90",
    }
)


def metrics_of(task: Task) -> tuple[str, ...]:
    """The metrics that models of the task have."""
    if task == "regression":
        return OF_VALUES
    return OF_TWO_CLASSES if task == "binary" else OF_CLASSES


def default_metric(task: Task) -> str:
    """The leading metric of the task."""
    return get_main_metric(task, dict.fromkeys(metrics_of(task), 0.0))


def sign(metric: str) -> int:
    """1, or −1 for a metric that is better the lower it is."""
    return -1 if metric in LOWER_IS_BETTER else 1
