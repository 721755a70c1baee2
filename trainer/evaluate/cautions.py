"""Cautions about a trained model that its metrics do not show by themselves, with remedies."""

from __future__ import annotations

from serving.bundle import Manifest, pluralize
from trainer.data.checks.run import Finding
from trainer.evaluate.metric_names import format_class
from trainer.evaluate.model_evaluation import MAX_EVALUATED_ROWS

MAX_LISTED_CLASSES = 10


def list_cautions(manifest: Manifest, variant: str = "fp32") -> list[Finding]:
    """Return the cautions about the test metrics of one variant; usually there are none.

    Args:
        manifest: Manifest of the bundle.
        variant: Name of the variant.
    """
    if manifest.classes is None:
        return []
    findings = [
        _find_never_answered(manifest, variant),
        _find_classes_without_test_rows(manifest, variant),
    ]
    return [finding for finding in findings if finding is not None]


def describe_never_predicted(
    classes: list[int] | list[str], n_rows: int, row_noun: str = "test row"
) -> str:
    """Return the sentence that says which classes were predicted for no row.

    Args:
        classes: These classes, at least one.
        n_rows: Number of evaluated rows.
        row_noun: Noun for one of the rows.
    """
    names = ", ".join(map(format_class, classes[:MAX_LISTED_CLASSES]))
    n_more = len(classes) - MAX_LISTED_CLASSES
    more = f" and {n_more} more" if n_more > 0 else ""
    it, its = ("it", "its") if len(classes) == 1 else ("them", "their")
    return (
        f"none of {pluralize(n_rows, row_noun)} is predicted as {names}{more}, although some "
        f"belong to {it}: {its} precision and recall are 0"
    )


def _find_never_answered(manifest: Manifest, variant: str) -> Finding | None:
    classes = manifest.variants[variant].never_answered
    if not classes:
        return None
    n_rows = min(manifest.data.rows["test"], MAX_EVALUATED_ROWS)
    detail, remedy = describe_never_predicted(classes, n_rows), _suggest_training(manifest)
    first_variant = next(iter(manifest.variants))
    if variant != first_variant:
        detail = f"by {variant}, {detail}"
        if classes != manifest.variants[first_variant].never_answered:
            remedy = "compress with a smaller --max-drop, or with --metric balanced_accuracy"
    return Finding("class_never_answered", tuple(manifest.data.target), detail, remedy)


def _suggest_training(manifest: Manifest) -> str:
    """Return which options may help that the training did not use."""
    options = []
    if manifest.training.config.get("class_weight") is None:
        options.append("--class-weight balanced")
    if manifest.task == "binary" and manifest.aim is None:
        options.append("--aim f1")
    if not options:
        return "collect more rows of the rare class, or merge it with another"
    return f"train with {' or '.join(options)}"


def _find_classes_without_test_rows(manifest: Manifest, variant: str) -> Finding | None:
    # The ROC AUC is missing exactly if a class has no test rows.
    if "roc_auc" in manifest.variants[variant].metrics or variant != next(iter(manifest.variants)):
        return None
    return Finding(
        "class_not_tested",
        tuple(manifest.data.target),
        "not every class has test rows, so the metrics say nothing about such a class",
        "set a larger share with --test, or collect more rows of it",
    )
