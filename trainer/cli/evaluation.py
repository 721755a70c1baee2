"""What `trainer score --evaluate` prints of the answers and the truth in a file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from serving.bundle import Manifest
from trainer.cli.model_summary import format_shares
from trainer.evaluate.cautions import describe_never_predicted
from trainer.evaluate.file_evaluation import FileEvaluation
from trainer.evaluate.metric_names import MACRO_AVERAGES, format_class, format_metrics


def format_evaluation(manifest: Manifest, found: FileEvaluation) -> Iterator[str]:
    """Give the lines of text, in the words of `trainer fit`."""
    some = (
        ""
        if found.evaluated_rows == found.rows
        else f" of {found.evaluated_rows:,} rows drawn at random:"
    )
    facts = {"metrics": f"{some} {format_metrics(found.metrics, manifest.positive_class)}".strip()}
    if found.shares is not None and manifest.classes is not None:
        facts["classes"] = f"{format_shares(manifest.classes, found.shares)} of these rows"
        share = max(found.shares)
        name = format_class(manifest.classes[found.shares.index(share)])
        facts["constant"] = (
            f"always answering {name} scores accuracy {share:.4f}; this model "
            f"{found.metrics['accuracy']:.4f}"
        )
    if found.never_answered:
        facts["warning:"] = _caution(found)
    for name, fact in facts.items():
        yield textwrap.fill(f"{name:<11} {fact}", 100, subsequent_indent=12 * " ")


def evaluation_to_json(manifest: Manifest, found: FileEvaluation) -> dict[str, Any]:
    """Return the same for `--json`; the metrics have the names they have in a manifest."""
    return {
        "evaluation": {
            "target": manifest.data.target,
            "judged": found.evaluated_rows,
            "metrics": found.metrics,
            "macro_averages": [] if manifest.classes is None else MACRO_AVERAGES,
            "classes": manifest.classes,
            "class_shares": found.shares,
            "positive": manifest.positive_class,
            "never_answered": found.never_answered,
            "warnings": [_caution(found)] if found.never_answered else [],
        }
    }


def _caution(found: FileEvaluation) -> str:
    text = describe_never_predicted(found.never_answered, found.evaluated_rows, "row")
    return f"class_never_answered: {text}"
