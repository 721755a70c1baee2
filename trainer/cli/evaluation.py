"""The evaluation that `trainer score --evaluate` prints."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from serving.bundle import Manifest
from trainer.cli.model_summary import format_shares
from trainer.evaluate.cautions import describe_never_predicted
from trainer.evaluate.file_evaluation import FileEvaluation
from trainer.evaluate.metric_names import MACRO_AVERAGES, format_class, format_metrics


def format_evaluation(manifest: Manifest, evaluation: FileEvaluation) -> Iterator[str]:
    """Yield the lines of text, with the labels of `trainer fit`.

    Args:
        manifest: Manifest of the bundle that answered.
        evaluation: Evaluation of its answers.
    """
    metrics = format_metrics(evaluation.metrics, manifest.positive_class)
    if evaluation.evaluated_rows != evaluation.rows:
        metrics = f"{metrics} (of {evaluation.evaluated_rows:,} randomly drawn rows)"
    lines = {"metrics": metrics}
    if evaluation.shares is not None and manifest.classes is not None:
        lines["classes"] = f"{format_shares(manifest.classes, evaluation.shares)} of these rows"
        share = max(evaluation.shares)
        name = format_class(manifest.classes[evaluation.shares.index(share)])
        lines["constant"] = (
            f"always predicting {name}: accuracy {share:.4f}; this model: accuracy "
            f"{evaluation.metrics['accuracy']:.4f}"
        )
    if evaluation.never_answered:
        lines["warning:"] = _describe_caution(evaluation)
    for label, text in lines.items():
        yield textwrap.fill(f"{label:<11} {text}", 100, subsequent_indent=12 * " ")


def evaluation_to_json(manifest: Manifest, evaluation: FileEvaluation) -> dict[str, Any]:
    """Return the evaluation as `--json` prints it; metrics have the names of a manifest.

    Args:
        manifest: Manifest of the bundle that answered.
        evaluation: Evaluation of its answers.
    """
    return {
        "evaluation": {
            "target": manifest.data.target,
            "judged": evaluation.evaluated_rows,
            "metrics": evaluation.metrics,
            "macro_averages": [] if manifest.classes is None else MACRO_AVERAGES,
            "classes": manifest.classes,
            "class_shares": evaluation.shares,
            "positive": manifest.positive_class,
            "never_answered": evaluation.never_answered,
            "warnings": [_describe_caution(evaluation)] if evaluation.never_answered else [],
        }
    }


def _describe_caution(evaluation: FileEvaluation) -> str:
    text = describe_never_predicted(evaluation.never_answered, evaluation.evaluated_rows, "row")
    return f"class_never_answered: {text}"
