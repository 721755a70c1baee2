"""The metrics that a search can use, and whether a higher or a lower value is better."""

from __future__ import annotations

from trainer.data.tables import Task
from trainer.evaluate import get_main_metric
from trainer.evaluate.metric_names import POSITIVE_LABEL_METRICS

# The metrics that `trainer.evaluate.compute_metrics` returns for each task.
CLASSIFICATION_METRICS = (
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
# A binary task also has the metrics of its positive class.
BINARY_METRICS = (*CLASSIFICATION_METRICS, *POSITIVE_LABEL_METRICS)
REGRESSION_METRICS = ("r2", "mae", "rmse", "pinball_10", "pinball_90")
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


def list_metrics(task: Task) -> tuple[str, ...]:
    """Return the names of the metrics of a task."""
    if task == "regression":
        return REGRESSION_METRICS
    return BINARY_METRICS if task == "binary" else CLASSIFICATION_METRICS


def get_default_metric(task: Task) -> str:
    """Return the main metric of a task, which a search uses if its file names none."""
    return get_main_metric(task, dict.fromkeys(list_metrics(task), 0.0))


def get_sign(metric: str) -> int:
    """Return the factor that makes a higher value better: −1 for losses and errors, else 1."""
    return -1 if metric in LOWER_IS_BETTER else 1
