"""What `trainer score --evaluate` prints of the answers and the truth in a file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from serving.bundle import Manifest
from trainer.cli.model_summary import shares_text
from trainer.evaluate.cautions import never_answered_detail
from trainer.evaluate.file_evaluation import Evaluation
from trainer.evaluate.metric_names import MACRO_AVERAGES, class_text, metric_figures


def evaluation_lines(manifest: Manifest, found: Evaluation) -> Iterator[str]:
    """Give the lines of text, in the words of `trainer fit`."""
    some = "" if found.judged == found.rows else f" of {found.judged:,} rows drawn at random:"
    facts = {"metrics": f"{some} {metric_figures(found.metrics, manifest.positive_class)}".strip()}
    if found.shares is not None and manifest.classes is not None:
        facts["classes"] = f"{shares_text(manifest.classes, found.shares)} of these rows"
        share = max(found.shares)
        name = class_text(manifest.classes[found.shares.index(share)])
        facts["constant"] = (
            f"always answering {name} scores accuracy {share:.4f}; this model "
            f"{found.metrics['accuracy']:.4f}"
        )
    if found.never_answered:
        facts["warning:"] = _caution(found)
    for name, fact in facts.items():
        yield textwrap.fill(f"{name:<11} {fact}", 100, subsequent_indent=12 * " ")


def evaluation_json(manifest: Manifest, found: Evaluation) -> dict[str, Any]:
    """Return the same for `--json`; the metrics have the names they have in a manifest."""
    return {
        "evaluation": {
            "target": manifest.data.target,
            "judged": found.judged,
            "metrics": found.metrics,
            "macro_averages": [] if manifest.classes is None else MACRO_AVERAGES,
            "classes": manifest.classes,
            "class_shares": found.shares,
            "positive": manifest.positive_class,
            "never_answered": found.never_answered,
            "warnings": [_caution(found)] if found.never_answered else [],
        }
    }


def _caution(found: Evaluation) -> str:
    return (
        f"class_never_answered: {never_answered_detail(found.never_answered, found.judged, 'row')}"
    )
