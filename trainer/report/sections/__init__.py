"""The sections of a report, one module each, and their order on the page."""

from __future__ import annotations

from trainer.report.blocks import Paragraph, Section
from trainer.report.inputs import ReportInputs
from trainer.report.permutation_importance import compute_importances
from trainer.report.sections.calibration_curve import build_calibration_section
from trainer.report.sections.compression import build_compression_section
from trainer.report.sections.confusion_matrix import build_confusion_section
from trainer.report.sections.data import build_data_section
from trainer.report.sections.errors import build_errors_section, build_slices_section
from trainer.report.sections.feature_importance import build_importance_section, make_rng
from trainer.report.sections.layer_diagnostics import build_layers_section
from trainer.report.sections.loss_curves import build_training_section
from trainer.report.sections.provenance import build_provenance_section
from trainer.report.sections.residuals import build_residuals_section
from trainer.report.sections.roc_curves import build_curves_section
from trainer.report.sections.summary import build_summary
from trainer.report.sections.variants import build_parity_section, build_variants_section

# Anchors of the sections that need the test rows.
CLASSIFICATION_KEYS = ("confusion", "curves", "calibration")
REGRESSION_KEYS = ("residuals",)
COMMON_KEYS = ("importance", "errors", "slices")

MISSING_ROWS = (
    "This section needs the test rows. They are in the run folder, not in the bundle; see the note "
    "at the top of the page."
)


def build_sections(inputs: ReportInputs) -> list[Section]:
    """Return all sections in the order of the page."""
    return [
        build_summary(inputs),
        build_data_section(inputs),
        build_training_section(inputs),
        *_build_test_row_sections(inputs),
        build_layers_section(inputs),
        build_parity_section(inputs),
        build_variants_section(inputs),
        build_compression_section(inputs),
        build_provenance_section(inputs),
    ]


def _build_test_row_sections(inputs: ReportInputs) -> list[Section]:
    """Return the sections about the test rows; without test rows they only say so."""
    test_rows = inputs.test_rows
    if test_rows is None:
        is_regression = inputs.manifest.classes is None
        keys = REGRESSION_KEYS if is_regression else CLASSIFICATION_KEYS
        missing = Paragraph(MISSING_ROWS, "muted")
        return [Section(key, [missing]) for key in (*keys, *COMMON_KEYS)]
    if test_rows.classes is None:
        sections = [build_residuals_section(test_rows)]
    else:
        sections = [
            build_confusion_section(test_rows),
            build_curves_section(inputs, test_rows),
            build_calibration_section(inputs, test_rows),
        ]
    importances = compute_importances(test_rows, make_rng(inputs.manifest.data.fingerprint))
    return [
        *sections,
        build_importance_section(importances, inputs.manifest.positive_class),
        build_errors_section(test_rows, importances),
        build_slices_section(test_rows),
    ]
