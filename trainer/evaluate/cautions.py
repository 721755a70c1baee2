"""Cautions: what the figures of a trained model do not say by themselves, with a remedy."""

from __future__ import annotations

from serving.bundle import Manifest, pluralize
from trainer.data.checks import Finding
from trainer.evaluate.evaluation import MAX_EVALUATED_ROWS
from trainer.evaluate.metric_names import format_class

LISTED = 10  # classes named in one sentence


def list_cautions(manifest: Manifest, variant: str = "fp32") -> list[Finding]:
    """Return what should be known of a variant's figures on the test rows; most often nothing.

    Args:
        manifest: The bundle's.
        variant: Name of one of its graphs.
    """
    if manifest.classes is None:
        return []
    found = [_never_answered(manifest, variant), _untested(manifest, variant)]
    return [finding for finding in found if finding is not None]


def describe_never_predicted(lost: list[int] | list[str], rows: int, what: str = "test row") -> str:
    """Return the sentence that says which classes no row was answered as.

    Args:
        lost: Names of these classes, at least one.
        rows: How many rows were answered.
        what: Noun for one of them.
    """
    names = ", ".join(map(format_class, lost[:LISTED]))
    more = f" and {len(lost) - LISTED} more" if len(lost) > LISTED else ""
    them = "it" if len(lost) == 1 else "them"
    return (
        f"none of {pluralize(rows, what)} is answered {names}{more}, though some of them are: "
        f"precision and recall of {them} are 0"
    )


def _never_answered(manifest: Manifest, variant: str) -> Finding | None:
    described = manifest.variants[variant]
    if not described.never_answered:
        return None
    rows = min(manifest.data.rows["test"], MAX_EVALUATED_ROWS)
    detail = describe_never_predicted(described.never_answered, rows)
    first = next(iter(manifest.variants))
    if variant != first:
        detail = f"by {variant}, {detail}"
        if described.never_answered != manifest.variants[first].never_answered:
            remedy = "compress with a smaller --max-drop, or with --metric balanced_accuracy"
            return Finding("class_never_answered", tuple(manifest.data.target), detail, remedy)
    return Finding("class_never_answered", tuple(manifest.data.target), detail, _remedy(manifest))


def _remedy(manifest: Manifest) -> str:
    options = []
    if manifest.training.config.get("class_weight") is None:
        options.append("--class-weight balanced")
    if manifest.task == "binary" and manifest.aim is None:
        options.append("--aim f1")
    if not options:
        return "find more rows of what is rare, or merge it with another class"
    return f"train with {' or '.join(options)}"


def _untested(manifest: Manifest, variant: str) -> Finding | None:
    """ROC AUC is left out where a class has no rows."""
    if "roc_auc" in manifest.variants[variant].metrics or variant != next(iter(manifest.variants)):
        return None
    return Finding(
        "class_not_tested",
        tuple(manifest.data.target),
        "not every class has test rows: no figure here speaks of one that has none",
        "ask for a larger share with --test, or find more rows of it",
    )
