"""Names of metrics and classes as summaries print them: whose recall it is, and what is a mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.evaluate.metrics import POSITIVE_CLASS_METRICS

# Means over the classes, each of which counts alike; of two classes, easily read as the rare one's.
MACRO_AVERAGES = ("precision", "recall", "f1")
# Of the positive class of two and the labels it is answered by.
LABELS_OF_POSITIVE = ("positive_precision", "positive_recall", "positive_f1")
LONGEST_CLASS = 24  # characters of a class that a name of a metric shows


def format_class(name: object, most: int = LONGEST_CLASS) -> str:
    """Return a class as a line of text shows it: printable, not too long, quoted if not one word.

    Args:
        name: The class.
        most: Characters after which a longer one is cut.
    """
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(name))
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return text if text and all(c.isalnum() or c in "_-.…" for c in text) else f"“{text}”"


def format_metric_name(metric: str, positive: object = None) -> str:
    """Return a metric's name with what it is of: `recall of fraud`, `macro recall`.

    Args:
        metric: Key of the metric in a manifest.
        positive: The positive class; None where there is none, or it is not known.
    """
    if metric in MACRO_AVERAGES:
        return f"macro {metric}"
    if metric in POSITIVE_CLASS_METRICS and positive is not None:
        return f"{metric.removeprefix('positive_')} of {format_class(positive)}"
    return metric


def format_metrics(metrics: Mapping[str, float], positive: object = None) -> str:
    """Return metrics in one line, each with its name, those of the positive class before means.

    Args:
        metrics: Values by the metrics' keys.
        positive: Name of the positive class, see `metric_label`.
    """
    ordered = sorted(metrics, key=lambda metric: _ORDER.get(metric, 1))
    return ", ".join(
        f"{format_metric_name(name, positive)} {metrics[name]:.4f}" for name in ordered
    )


def list_biased_logits(
    classes: Sequence[int] | Sequence[str], bias: Sequence[float]
) -> list[tuple[str, float]]:
    """Return the class whose logit each bias of a calibration is added to, with the bias.

    Args:
        classes: Classes of the model, in their order.
        bias: One number for each of them; of two classes one, for the logit of the second; none
            at all if the calibration has no bias, or there is none.
    """
    if not bias:
        return []
    named = classes[1:] if len(bias) == 1 else classes
    return [(format_class(name), number) for name, number in zip(named, bias, strict=True)]


_ORDER: dict[str, Any] = {
    "accuracy": 0,
    "balanced_accuracy": 0,
    **dict.fromkeys(LABELS_OF_POSITIVE, 0),
    **dict.fromkeys(MACRO_AVERAGES, 2),
}
