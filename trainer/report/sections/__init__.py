"""Sections: each looks at one side of the evidence and says it in blocks."""

from __future__ import annotations

from trainer.report.blocks import Block, Paragraph, Section
from trainer.report.permutation_importance import compute_importances
from trainer.report.inputs import ReportInputs
from trainer.report.sections.calibration_curve import build_calibration_section
from trainer.report.sections.build_compression_section import build_compression_section
from trainer.report.sections.confusion_matrix import build_confusion_section
from trainer.report.sections.roc_curves import build_curves_section
from trainer.report.sections.build_data_section import build_data_section
from trainer.report.sections.build_variants_section import build_parity_section, build_variants_section
from trainer.report.sections.layer_diagnostics import build_layers_section
from trainer.report.sections.feature_importance import build_errors_section, build_importance_section, make_rng, build_slices_section
from trainer.report.sections.loss_curves import build_training_section
from trainer.report.sections.provenance import build_provenance_section
from trainer.report.sections.residuals import build_residuals_section
from trainer.report.sections.summary import build_summary

CLASSES = ("confusion", "curves", "calibration")
VALUES = ("values",)
COLUMNS = ("importance", "cases", "slices")


def build_sections(evidence: ReportInputs) -> list[Section]:
    """Every section of the page; those that need the test rows say so where they are missing."""
    return [
        build_summary(evidence),
        build_data_section(evidence),
        build_training_section(evidence),
        *_judged(evidence),
        build_layers_section(evidence),
        build_parity_section(evidence),
        build_variants_section(evidence),
        build_compression_section(evidence),
        build_provenance_section(evidence),
    ]


def _judged(evidence: ReportInputs) -> list[Section]:
    judged = evidence.test_rows
    if judged is None:
        answered = VALUES if evidence.manifest.classes is None else CLASSES
        return [Section(key, [_absent()]) for key in (*answered, *COLUMNS)]
    found = compute_importances(judged, make_rng(evidence.manifest.data.fingerprint))
    looked_at = (
        [build_residuals_section(judged)]
        if judged.classes is None
        else [build_confusion_section(judged), build_curves_section(evidence, judged), build_calibration_section(evidence, judged)]
    )
    columns = build_importance_section(found, evidence.manifest.positive_class)
    return [*looked_at, columns, build_errors_section(judged, found), build_slices_section(judged)]


def _absent() -> Block:
    return Paragraph(
        "This needs the test rows. They lie in the run's folder and never in a bundle; see the "
        "note at the top of the page.",
        "quiet",
    )
