"""Figures of a model as commands print them: of the classes, of the constant, of the baselines."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from serving.bundle import Manifest, find_positive_index
from trainer.data.checks.run import Finding
from trainer.evaluate import MAX_EVALUATED_ROWS, get_main_metric
from trainer.evaluate.baseline_comparison import compare_with_baselines, find_constant_answer
from trainer.evaluate.metric_names import (
    POSITIVE_LABEL_METRICS,
    format_class,
    format_metric_name,
    format_metrics,
)

LISTED = 4  # classes whose shares are printed


def summarize_metrics(manifest: Manifest) -> dict[str, str]:
    """Return the metrics of each part of the rows."""
    positive = manifest.positive_class
    return {part: format_metrics(found, positive) for part, found in manifest.metrics.items()}


def summarize_classes(manifest: Manifest) -> dict[str, str]:
    """Return the share of each class, or of the commonest and the rarest."""
    if manifest.classes is None or manifest.class_shares is None:
        return {}
    return {
        "classes": f"{format_shares(manifest.classes, manifest.class_shares)} of the training rows"
    }


def format_shares(classes: Sequence[int] | Sequence[str], shares: Sequence[float]) -> str:
    """Return classes with their shares, of many the commonest few and the rarest."""
    ordered = sorted(zip(classes, shares, strict=True), key=lambda pair: -pair[1])
    shown = [f"{format_class(name)} {share:.1%}" for name, share in ordered[:LISTED]]
    text = ", ".join(shown)
    if len(ordered) > LISTED:
        name, share = ordered[-1]
        text += f" and {len(ordered) - LISTED:,} more, the rarest {format_class(name)} {share:.2%}"
    return text


def format_positive_class(manifest: Manifest) -> str:
    """Return which class is the positive one, and how to choose the other if nobody chose."""
    classes = manifest.classes
    text = f"{manifest.positive_class}: roc_auc, pr_auc and the threshold refer to this class"
    if not classes or manifest.training.config.get("positive") is not None:
        return text
    if find_positive_index(classes) is not None:
        return text
    other = next(str(name) for name in classes if name != manifest.positive_class)
    return f"{text}, the second by name; --positive {shlex.quote(other)} chooses the other"


def summarize_interval(manifest: Manifest) -> dict[str, str]:
    """Return how far the leading figure, and those of the positive class, can be trusted."""
    positive, test = manifest.positive_class, manifest.metrics["test"]
    found = [
        f"{format_metric_name(metric, positive)} {low:.4f} to {high:.4f}"
        for metric in (get_main_metric(manifest.task, test), *POSITIVE_LABEL_METRICS)
        if (ends := manifest.intervals.get(metric)) is not None
        for low, high in (ends,)
    ]
    if not found:
        return {}
    rows = min(manifest.data.rows["test"], MAX_EVALUATED_ROWS)
    return {"interval": f"{', '.join(found)}: 95 % of draws of {rows} test rows"}


def summarize_constant_answer(manifest: Manifest) -> dict[str, str]:
    """Return what always giving one answer would score, beside what this network does."""
    own = manifest.metrics["test"]
    if manifest.task == "regression":
        baseline = manifest.baselines.get("mean")
        if baseline is None:
            return {
                "constant": f"always answering the mean scores r2 0; this network {own['r2']:.4f}"
            }
        pairs = [
            (f"{name} {baseline.metrics[name]:.4f}", f"{own[name]:.4f}") for name in ("r2", "rmse")
        ]
        theirs, ours = (" and ".join(texts) for texts in zip(*pairs, strict=True))
        return {"constant": f"always answering the mean scores {theirs}; this network {ours}"}
    found = find_constant_answer(manifest)
    if found is None:
        return {}
    about = "" if found.is_exact else "about "
    worse = ", which is no better" if own["accuracy"] <= found.accuracy else ""
    return {
        "constant": f"always answering {format_class(found.answer)} scores accuracy "
        f"{about}{found.accuracy:.4f}; this network {own['accuracy']:.4f}{worse}"
    }


def summarize_baselines(manifest: Manifest) -> dict[str, str]:
    """Return the baselines' leading figure, and plainly which of them are as good or better."""
    found = compare_with_baselines(manifest)
    metric = format_metric_name(found.metric, manifest.positive_class)
    if not found.baseline_values:
        return {}
    shown = ", ".join(f"{name} {value:.4f}" for name, value in found.baseline_values.items())
    fewer = {b.rows for b in manifest.baselines.values()} - {manifest.data.rows["train"]}
    note = f" (learned from {fewer.pop():,} of the rows)" if fewer else ""
    facts = {"baselines": f"{metric}: this network {found.network_value:.4f}, {shown}{note}"}
    said = [
        f"{' and '.join(names)} did {how} this network"
        for names, how in (
            (found.better_baselines, "better than"),
            (found.equal_baselines, "as well as"),
        )
        if names
    ]
    if said:
        facts[""] = f"on the test rows {', '.join(said)}"
    return facts


def format_cautions(found: list[Finding]) -> list[str]:
    """Return findings as lines of text."""
    return [f"warning: {c.name}: {c.detail}; {c.remedy}" for c in found]
