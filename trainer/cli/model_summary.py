"""Describe a trained model in the lines that commands print, and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from serving.bundle import Bundle, Manifest, find_positive_index
from trainer.data.checks import Finding
from trainer.evaluate import MAX_EVALUATED_ROWS, get_main_metric
from trainer.evaluate.baseline_comparison import (
    compare_with_baselines,
    find_constant_answer,
    suggest_preset,
)
from trainer.evaluate.cautions import list_cautions
from trainer.evaluate.metric_names import (
    MACRO_AVERAGES,
    POSITIVE_LABEL_METRICS,
    format_class,
    format_metric_name,
    format_metrics,
    list_biased_logits,
)

MAX_LISTED_CLASSES = 4
MAX_LISTED_BIASES = 10
TASK_NAMES = {
    "binary": "binary classification",
    "multiclass": "multiclass classification",
    "regression": "regression",
}


def summarize_metrics(manifest: Manifest) -> dict[str, str]:
    """Return a line with the metrics on each part of the rows."""
    positive = manifest.positive_class
    return {part: format_metrics(metrics, positive) for part, metrics in manifest.metrics.items()}


def summarize_classes(manifest: Manifest) -> dict[str, str]:
    """Return a line with the share of each class; of many classes, of the most common and rarest.

    There is no line for regression and for bundles of earlier versions, which lack the shares.
    """
    if manifest.classes is None or manifest.class_shares is None:
        return {}
    return {
        "classes": f"{format_shares(manifest.classes, manifest.class_shares)} of the training rows"
    }


def format_shares(classes: Sequence[int] | Sequence[str], shares: Sequence[float]) -> str:
    """Return the classes with their shares; of many classes, the most common and the rarest."""
    ordered = sorted(zip(classes, shares, strict=True), key=lambda pair: -pair[1])
    text = ", ".join(
        f"{format_class(name)} {share:.1%}" for name, share in ordered[:MAX_LISTED_CLASSES]
    )
    n_unlisted = len(ordered) - MAX_LISTED_CLASSES
    if n_unlisted > 0:
        name, share = ordered[-1]
        text += f" and {n_unlisted:,} more, the rarest {format_class(name)} {share:.2%}"
    return text


def format_positive_class(manifest: Manifest) -> str:
    """Return the positive class; if nobody chose it, also how to choose the other."""
    classes = manifest.classes
    text = f"{manifest.positive_class}: roc_auc, pr_auc and the threshold refer to this class"
    if not classes or manifest.training.config.get("positive") is not None:
        return text
    if find_positive_index(classes) is not None:
        return text
    other = next(str(name) for name in classes if name != manifest.positive_class)
    return f"{text}, the second by name; --positive {shlex.quote(other)} chooses the other"


def summarize_interval(manifest: Manifest) -> dict[str, str]:
    """Return a line with the intervals of the main metric and of the positive class's metrics."""
    positive, test = manifest.positive_class, manifest.metrics["test"]
    intervals = [
        f"{format_metric_name(metric, positive)} {ends[0]:.4f} to {ends[1]:.4f}"
        for metric in (get_main_metric(manifest.task, test), *POSITIVE_LABEL_METRICS)
        if (ends := manifest.intervals.get(metric)) is not None
    ]
    if not intervals:
        return {}
    rows = min(manifest.data.rows["test"], MAX_EVALUATED_ROWS)
    return {"95 % CI": f"{', '.join(intervals)} (bootstrap of {rows} test rows)"}


def summarize_constant_answer(manifest: Manifest) -> dict[str, str]:
    """Return a line that compares the network with a constant prediction."""
    own = manifest.metrics["test"]
    if manifest.task == "regression":
        baseline = manifest.baselines.get("mean")
        if baseline is None:
            return {
                "constant": f"always predicting the mean: r2 0; this network: r2 {own['r2']:.4f}"
            }
        values = [
            (f"{name} {baseline.metrics[name]:.4f}", f"{name} {own[name]:.4f}")
            for name in ("r2", "rmse")
        ]
        constant, network = (", ".join(texts) for texts in zip(*values, strict=True))
        return {"constant": f"always predicting the mean: {constant}; this network: {network}"}
    answer = find_constant_answer(manifest)
    if answer is None:
        return {}
    about = "" if answer.is_exact else "about "
    comparison = ", not better" if own["accuracy"] <= answer.accuracy else ""
    return {
        "constant": f"always predicting {format_class(answer.answer)}: accuracy "
        f"{about}{answer.accuracy:.4f}; this network: accuracy {own['accuracy']:.4f}{comparison}"
    }


def summarize_baselines(manifest: Manifest) -> dict[str, str]:
    """Return a line with the main metric of each baseline, and one with those that are as good."""
    comparison = compare_with_baselines(manifest)
    metric = format_metric_name(comparison.metric, manifest.positive_class)
    if not comparison.baseline_values:
        return {}
    values = ", ".join(f"{name} {value:.4f}" for name, value in comparison.baseline_values.items())
    fewer_rows = {b.rows for b in manifest.baselines.values()} - {manifest.data.rows["train"]}
    note = f" (trained on {fewer_rows.pop():,} of the rows)" if fewer_rows else ""
    lines = {"baselines": f"{metric}: this network {comparison.network_value:.4f}, {values}{note}"}
    verdicts = [
        f"{verdict} this network on the test rows: {', '.join(names)}"
        for verdict, names in (
            ("better than", comparison.better_baselines),
            ("as good as", comparison.equal_baselines),
        )
        if names
    ]
    if verdicts:
        lines[""] = "; ".join(verdicts)
    preset = suggest_preset(manifest)
    if comparison.better_baselines and preset is not None:
        lines[""] += f"; try --preset {preset}"
    return lines


def summarize_output_scaling(manifest: Manifest) -> dict[str, str]:
    """Return lines about the positive class, the threshold and the calibration."""
    lines = {}
    if manifest.positive_class is not None:
        lines["positive"] = format_positive_class(manifest)
    if (threshold := _describe_threshold(manifest)) is not None:
        lines["threshold"] = threshold
    if manifest.temperature != 1:
        lines["temperature"] = f"{manifest.temperature:.4f}"
    if manifest.logit_bias is not None and manifest.classes is not None:
        biases = list_biased_logits(manifest.classes, manifest.logit_bias)
        text = ", ".join(f"{bias:+.4f} for {name}" for name, bias in biases[:MAX_LISTED_BIASES])
        lines["bias"] = text + " …" * (len(biases) > MAX_LISTED_BIASES)
    config = manifest.training.config
    if config.get("class_weight") and not config.get("calibrate"):
        lines["probability"] = (
            "not calibrated: too high for rare classes, because of their weights; --calibrate "
            "corrects this"
        )
    elif config.get("class_weight") and manifest.task == "multiclass":
        lines["labels"] = (
            "the most probable class by the calibrated probabilities, which is seldom a rare one; "
            "without --calibrate the weighted probabilities decide"
        )
    return lines


def _describe_threshold(manifest: Manifest) -> str | None:
    """Return the rule by which the positive class is predicted; None if it is the default."""
    if manifest.threshold is None:
        return None
    rule = f"predicts {manifest.positive_class} from a probability of {manifest.threshold:.4f}"
    if manifest.aim_unmet is not None:
        return f"{rule}; the aim {manifest.aim} is not met: {manifest.aim_unmet}"
    if manifest.aim is not None:
        return f"{rule}, chosen for {manifest.aim}"
    if manifest.threshold != 0.5:
        return f"{rule}, its share of the training rows: there the weighted network is undecided"
    return None


def format_cautions(findings: list[Finding]) -> list[str]:
    """Return findings as lines of text."""
    return [f"warning: {f.name}: {f.detail}; {f.remedy}" for f in findings]


def bundle_to_json(bundle: Bundle) -> dict[str, Any]:
    """Return the description of a new bundle that `trainer fit --json` prints."""
    manifest = bundle.manifest
    return {
        "bundle": str(bundle.path),
        "name": manifest.name,
        "version": manifest.version,
        "task": manifest.task,
        "classes": manifest.classes,
        "class_shares": manifest.class_shares,
        "parameters": manifest.parameters,
        "training": manifest.training.model_dump(exclude={"config"}),
        "metrics": manifest.metrics,
        "macro_averages": [] if manifest.classes is None else MACRO_AVERAGES,
        "intervals": manifest.intervals,
        "positive": manifest.positive_class,
        "threshold": manifest.threshold,
        "aim": manifest.aim,
        "aim_unmet": manifest.aim_unmet,
        "temperature": manifest.temperature,
        "logit_bias": manifest.logit_bias,
        "baselines": {name: b.model_dump() for name, b in manifest.baselines.items()},
        "parity": manifest.variants["fp32"].parity.model_dump(),
        "variants": {name: v.model_dump() for name, v in manifest.variants.items()},
        "warnings": [asdict(caution) for caution in list_cautions(manifest)],
    }
