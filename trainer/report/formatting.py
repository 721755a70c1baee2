"""Wording: numbers, metrics and columns as people read them."""

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
    "classwise_calibration_error": "calibration error, class by class",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "r2": "R²",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "pinball_10": "pinball loss, 10 %",
    "pinball_90": "pinball loss, 90 %",
}
BASELINE_NAMES = {
    "majority": "the commonest class alone",
    "mean": "the mean alone",
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
MAX_TEXT_LENGTH = 60  # letters of a text in a table
MINUS = "\N{MINUS SIGN}"


def format_metric(key: str, positive: int | str | None = None) -> str:
    """As people call it.

    Args:
        key: Name of the metric.
        positive: The positive class, which metrics of one class alone then name; None to leave it.
    """
    name = METRIC_NAMES.get(key, key.replace("_", " "))
    if positive is None and key.startswith("positive_"):
        return f"{name} of the positive class"
    if positive is None or key not in POSITIVE_CLASS_METRICS:
        return name
    return f"{name} of “{shorten(str(positive), 16)}”"


def format_baseline(key: str) -> str:
    """As people call it."""
    return BASELINE_NAMES.get(key, key.replace("_", " "))


def format_number(value: float | None, digits: int = 4) -> str:
    """So many significant digits, a true minus sign, no exponent where none is needed."""
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
    """All digits of a number whose last ones matter."""
    return f"{value:,.15g}".replace("-", MINUS)


def format_decimal(value: float | None) -> str:
    """With four decimals, so that figures under each other can be compared."""
    if value is None or not math.isfinite(value):
        return "–"
    # What rounds to 0 has no sign.
    text = format_number(value) if abs(value) >= 1000 else f"{round(value, 4) + 0.0:.4f}"
    return text.replace("-", MINUS)


def format_percent(share: float) -> str:
    """Of a hundred, with a decimal."""
    return f"{share:.1%}".replace("%", "\N{NO-BREAK SPACE}%").replace("-", MINUS)


def format_count(n: int, what: str = "") -> str:
    """With its noun in the right number: `1 row`, `2,000 rows`."""
    if not what:
        return f"{n:,}"
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def join_words(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def shorten(text: str, most: int = MAX_TEXT_LENGTH) -> str:
    """Its beginning, if it is too long for a table."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def shorten_all(texts: Sequence[str], most: int = MAX_TEXT_LENGTH) -> list[str]:
    """Return texts short enough for a table, and still different from each other if they were.

    Those that begin alike keep their ends, too; those that end alike as well get their number.
    """
    half = (most - 1) // 2

    def both_ends(text: str, _place: int) -> str:
        return f"{text[:half]}…{text[-half:]}"

    def numbered(text: str, place: int) -> str:
        return f"{shorten(text, most - len(str(place)) - 4)} (#{place})"

    found = [shorten(text, most) for text in texts]
    for shorten in (both_ends, numbered):
        counts = Counter(found)
        found = [
            shorten(text, place) if counts[shown] > 1 and len(text) > most else shown
            for place, (text, shown) in enumerate(zip(texts, found, strict=True), start=1)
        ]
    return found


def format_size(n: int) -> str:
    """Bytes in the unit that fits."""
    return f"{n:,} B" if n < 10_000 else f"{n / 1000:,.0f} kB" if n < 1e7 else f"{n / 1e6:,.1f} MB"


def format_time(seconds: float) -> str:
    """Seconds since 1970 as a date, with the time where it is not midnight."""
    try:
        found = datetime.fromtimestamp(float(seconds), UTC)
    except (OverflowError, OSError, ValueError):  # beyond the year 9999
        return format_number(seconds)
    return f"{found:%Y-%m-%d}" if seconds % 86400 == 0 else f"{found:%Y-%m-%d %H:%M:%S}"


def format_cell(column: Column, values: NDArray[np.generic], row: int) -> str:
    """What a column holds in a row, a gap included.

    Args:
        column: of any kind.
        values: as of `Records.column`.
        row: its place in `values`.
    """
    held = values[row].item()
    if column.kind == "category":
        return "missing" if held == MISSING else shorten(column.words[int(held)])
    if math.isnan(held):
        return "missing"
    if column.kind == "boolean":
        return "true" if held else "false"
    if column.kind == "precise":
        return format_exact(held)
    return format_time(held) if column.kind == "date" else format_number(held)
