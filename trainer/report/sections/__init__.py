"""Sections: each looks at one side of the evidence and says it in blocks."""

from __future__ import annotations

from trainer.report.blocks import Block, Paragraph, Section
from trainer.report.importance import compute_importances
from trainer.report.inputs import ReportInputs
from trainer.report.sections.calibration import calibration
from trainer.report.sections.compression import compression
from trainer.report.sections.confusion import confusion
from trainer.report.sections.curves import curves
from trainer.report.sections.data import data
from trainer.report.sections.graph import parity, variants
from trainer.report.sections.health import health
from trainer.report.sections.importance_and_errors import cases, importance, seed, worst_slices
from trainer.report.sections.learning import learning
from trainer.report.sections.provenance import origin
from trainer.report.sections.values import values
from trainer.report.sections.verdict import verdict

CLASSES = ("confusion", "curves", "calibration")
VALUES = ("values",)
COLUMNS = ("importance", "cases", "slices")


def sections(evidence: ReportInputs) -> list[Section]:
    """Every section of the page; those that need the test rows say so where they are missing."""
    return [
        verdict(evidence),
        data(evidence),
        learning(evidence),
        *_judged(evidence),
        health(evidence),
        parity(evidence),
        variants(evidence),
        compression(evidence),
        origin(evidence),
    ]


def _judged(evidence: ReportInputs) -> list[Section]:
    judged = evidence.judged
    if judged is None:
        answered = VALUES if evidence.manifest.classes is None else CLASSES
        return [Section(key, [_absent()]) for key in (*answered, *COLUMNS)]
    found = compute_importances(judged, seed(evidence.manifest.data.fingerprint))
    looked_at = (
        [values(judged)]
        if judged.classes is None
        else [confusion(judged), curves(evidence, judged), calibration(evidence, judged)]
    )
    columns = importance(found, evidence.manifest.positive_class)
    return [*looked_at, columns, cases(judged, found), worst_slices(judged)]


def _absent() -> Block:
    return Paragraph(
        "This needs the test rows. They lie in the run's folder and never in a bundle; see the "
        "note at the top of the page.",
        "quiet",
    )
