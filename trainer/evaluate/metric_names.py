"""Names of metrics and classes as summaries print them, such as `recall of fraud`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainer.evaluate.metrics import POSITIVE_CLASS_METRICS

# Unweighted means over the classes. They are printed with "macro", since with two classes they are
# easily mistaken for the metric of the positive class.
MACRO_AVERAGES = ("precision", "recall", "f1")
# Metrics of the positive class that follow from the predicted labels.
POSITIVE_LABEL_METRICS = ("positive_precision", "positive_recall", "positive_f1")
MAX_CLASS_CHARACTERS = 24
# Metrics are printed by rank: those of labels first, macro averages last, others between.
_DEFAULT_RANK = 1
_RANKS: dict[str, int] = {
    "accuracy": 0,
    "balanced_accuracy": 0,
    **dict.fromkeys(POSITIVE_LABEL_METRICS, 0),
    **dict.fromkeys(MACRO_AVERAGES, 2),
}


def format_monitor(config: Mapping[str, object], task: str) -> str:
    """Return the name of the value by which the best epoch was chosen, such as `Brier score`.

    Args:
        config: Options of the training, from the manifest. Those of earlier versions lack the
            option `monitor`; the loss was monitored then.
        task: Kind of the target.
    """
    if config.get("monitor") != "squared_error":
        return "loss"
    return "squared error" if task == "regression" else "Brier score"


def format_class(name: object, max_characters: int = MAX_CLASS_CHARACTERS) -> str:
    """Return a class as printable text, in quotes unless it is one word.

    Args:
        name: The class.
        max_characters: Number of characters; a longer name is cut.
    """
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(name))
    text = text if len(text) <= max_characters else f"{text[: max_characters - 1]}…"
    return text if text and all(c.isalnum() or c in "_-.…" for c in text) else f"“{text}”"


def format_metric_name(metric: str, positive: object = None) -> str:
    """Return the name of a metric as it is printed, such as `recall of fraud` or `macro recall`.

    Args:
        metric: Key of the metric in a manifest.
        positive: The positive class; None if there is none or it is unknown.
    """
    if metric in MACRO_AVERAGES:
        return f"macro {metric}"
    if metric in POSITIVE_CLASS_METRICS and positive is not None:
        return f"{metric.removeprefix('positive_')} of {format_class(positive)}"
    return metric


def format_metrics(metrics: Mapping[str, float], positive: object = None) -> str:
    """Return metrics in one line, each with its name.

    Args:
        metrics: Value of each metric, by its key in a manifest.
        positive: The positive class; see `format_metric_name`.
    """
    ordered = sorted(metrics, key=lambda metric: _RANKS.get(metric, _DEFAULT_RANK))
    return ", ".join(
        f"{format_metric_name(name, positive)} {metrics[name]:.4f}" for name in ordered
    )


def list_biased_logits(
    classes: Sequence[int] | Sequence[str], bias: Sequence[float]
) -> list[tuple[str, float]]:
    """Return each class whose logit the calibration shifts, with its bias.

    Args:
        classes: Classes of the model, in the order of its probabilities.
        bias: Bias of each class; with two classes, the one of the second; empty if there is no
            bias.
    """
    if not bias:
        return []
    biased_classes = classes[1:] if len(bias) == 1 else classes
    return [(format_class(name), number) for name, number in zip(biased_classes, bias, strict=True)]
