"""Formats numbers, metric names and cells for the report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from trainer.data.records import MISSING, Column
from trainer.evaluate.metrics import POSITIVE_CLASS_METRICS

METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision": "precision, macro",
    "recall": "recall, macro",
    "f1": "F1, macro",
    "positive_precision": "precision",
    "positive_recall": "recall",
    "positive_f1": "F1",
    "log_loss": "log loss",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "classwise_calibration_error": "classwise calibration error",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "r2": "R²",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "pinball_10": "pinball loss, 10 %",
    "pinball_90": "pinball loss, 90 %",
}
METRIC_MEANINGS = {
    "accuracy": "Share of the rows with the right class.",
    "balanced_accuracy": "Mean of the recalls of the classes, so that a rare class counts as much "
    "as a frequent one. Guessing has 1 divided by the number of classes.",
    "precision": "Mean over the classes of the share of the rows predicted as the class that "
    "belong to it.",
    "recall": "Mean over the classes of the share of the rows of the class that are found.",
    "f1": "Mean over the classes of the harmonic mean of precision and recall.",
    "positive_precision": "Share of the rows predicted as the positive class that belong to it.",
    "positive_recall": "Share of the rows of the positive class that are found.",
    "positive_f1": "Harmonic mean of precision and recall of the positive class.",
    "log_loss": "Mean of −log(p), where p is the probability that the model gave to the true "
    "class. 0 is perfect; confident errors cost much.",
    "brier": "Mean squared difference between the probabilities and the truth. 0 is perfect.",
    "calibration_error": "Mean difference between the probability of the predicted class and the "
    "share of correct predictions. 0 is perfect.",
    "classwise_calibration_error": "The same for the probabilities of each class, averaged over "
    "the classes. 0 is perfect.",
    "roc_auc": "How often a row of the class has a higher probability of it than a row of another "
    "class. 1 is perfect, 0.5 is guessing.",
    "pr_auc": "Mean precision over all recalls. 1 is perfect, the share of the class is guessing.",
    "r2": "Share of the variance of the target that the model explains. 1 is perfect, 0 is no "
    "better than predicting the mean.",
    "mae": "Mean difference between predicted and true value, in the unit of the target.",
    "rmse": "Root of the mean squared difference, in the unit of the target; large errors count "
    "more.",
    "pinball_10": "Loss of the predicted value as an estimate of the 10 % quantile: too high costs "
    "nine times as much as too low.",
    "pinball_90": "Loss of the predicted value as an estimate of the 90 % quantile: too low costs "
    "nine times as much as too high.",
}
BASELINE_NAMES = {
    "majority": "majority class",
    "mean": "mean prediction",
    "logistic_regression": "logistic regression",
    "ridge": "ridge regression",
    "gradient_boosting": "gradient boosting",
}
LOWER_IS_BETTER = frozenset(
    (
        "log_loss",
        "brier",
        "calibration_error",
        "classwise_calibration_error",
        "mae",
        "rmse",
        "pinball_10",
        "pinball_90",
    )
)
MAX_TEXT_LENGTH = 60  # characters of a text in a table
MINUS = "\N{MINUS SIGN}"


def format_metric(key: str, positive: int | str | None = None) -> str:
    """Return the display name of a metric.

    Args:
        key: Name of the metric in the manifest.
        positive: Positive class, which the name of a metric of one class then contains; None if it
            is not known.
    """
    name = METRIC_NAMES.get(key, key.replace("_", " "))
    if positive is None and key.startswith("positive_"):
        return f"{name} of the positive class"
    if positive is None or key not in POSITIVE_CLASS_METRICS:
        return name
    return f"{name} of “{shorten(str(positive), 16)}”"


def format_metric_with_direction(key: str, positive: int | str | None = None) -> str:
    """Return the display name of a metric, with an arrow if lower is better."""
    name = format_metric(key, positive)
    return f"{name} ↓" if key in LOWER_IS_BETTER else name


def format_baseline(key: str) -> str:
    """Return the display name of a baseline."""
    return BASELINE_NAMES.get(key, key.replace("_", " "))


def capitalize(text: str) -> str:
    """Return the text with a capital first letter; the other letters stay as they are."""
    return text[:1].upper() + text[1:]


def format_number(value: float | None, digits: int = 4) -> str:
    """Return a number with `digits` significant digits; without an exponent in [1e-4, 1e7)."""
    if value is None or not math.isfinite(value):
        return "–"
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits}g}".replace("-", MINUS)
    places = max(0, digits - 1 - (math.floor(math.log10(abs(value))) if value else 0))
    text = f"{value:,.{places}f}"
    if places > 0 and float(value).is_integer():
        text = text.partition(".")[0]
    return text.replace("-", MINUS)


def format_exact(value: float) -> str:
    """Return a number with up to 15 significant digits, for columns of type `precise`."""
    return f"{value:,.15g}".replace("-", MINUS)


def format_decimal(value: float | None) -> str:
    """Return a number with four decimals, so that the numbers of a column can be compared."""
    if value is None or not math.isfinite(value):
        return "–"
    # Adding 0.0 turns −0.0 into 0.0, so that what rounds to 0 has no sign.
    text = format_number(value) if abs(value) >= 1000 else f"{round(value, 4) + 0.0:.4f}"
    return text.replace("-", MINUS)


def format_percent(share: float) -> str:
    """Return a share, 0.125, as a percentage with one decimal, `12.5 %`."""
    return f"{share:.1%}".replace("%", "\N{NO-BREAK SPACE}%").replace("-", MINUS)


def format_count(n: int, noun: str = "") -> str:
    """Return a number with its noun in singular or plural: `1 row`, `2,000 rows`."""
    if not noun:
        return f"{n:,}"
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def join_words(words: list[str]) -> str:
    """Return words as an enumeration: `a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def shorten(text: str, max_length: int = MAX_TEXT_LENGTH) -> str:
    """Return the text, cut to `max_length` characters with an ellipsis if it is longer."""
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"


def shorten_all(texts: Sequence[str], max_length: int = MAX_TEXT_LENGTH) -> list[str]:
    """Shorten texts so that different texts stay different.

    Texts with the same beginning are cut in the middle instead; if they are still equal, their
    position is appended: `a long name (#3)`.
    """
    half = (max_length - 1) // 2

    def cut_middle(text: str, _position: int) -> str:
        return f"{text[:half]}…{text[-half:]}"

    def append_position(text: str, position: int) -> str:
        return f"{shorten(text, max_length - len(str(position)) - 4)} (#{position})"

    results = [shorten(text, max_length) for text in texts]
    for method in (cut_middle, append_position):
        counts = Counter(results)
        results = [
            method(text, position) if counts[result] > 1 and len(text) > max_length else result
            for position, (text, result) in enumerate(zip(texts, results, strict=True), start=1)
        ]
    return results


def format_size(n: int) -> str:
    """Return a number of bytes in B, kB or MB."""
    return f"{n:,} B" if n < 10_000 else f"{n / 1000:,.0f} kB" if n < 1e7 else f"{n / 1e6:,.1f} MB"


def format_time(seconds: float) -> str:
    """Return seconds since 1970-01-01 UTC as a date, with the time unless it is midnight."""
    try:
        time = datetime.fromtimestamp(float(seconds), UTC)
    except (OverflowError, OSError, ValueError):  # beyond the year 9999
        return format_number(seconds)
    return f"{time:%Y-%m-%d}" if seconds % 86400 == 0 else f"{time:%Y-%m-%d %H:%M:%S}"


def format_cell(column: Column, values: NDArray[np.generic], row: int) -> str:
    """Return the value of a column in one row as text; `missing` for a gap.

    Args:
        column: Column of any type.
        values: Values of the column in all rows, `(n,)`, from `Records.column`.
        row: Index of the row.
    """
    value = values[row].item()
    if column.kind == "category":
        return "missing" if value == MISSING else shorten(column.words[int(value)])
    if math.isnan(value):
        return "missing"
    if column.kind == "boolean":
        return "true" if value else "false"
    if column.kind == "precise":
        return format_exact(value)
    return format_time(value) if column.kind == "date" else format_number(value)
