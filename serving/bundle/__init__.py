"""The bundle: one trained version on disk, the contract between trainer and server.

    models/<name>/<version>/
      bundle.json      the manifest: a schema version, validated on read, unknown keys refused
      model.onnx       the fp32 graph, and model.<variant>.onnx beside it
      selftest.npz     golden inputs with each variant's expected outputs and tolerances
      reference.json   histograms of the training data, for drift

Nothing here is trusted: every file is read once, whole, and held to the sum in the manifest. A
bundle holds statistics of its training data and synthetic golden inputs, never a training row.
"""

from serving.bundle.arrays import Arrays, join, slices
from serving.bundle.atomic_writes import exit_on_full_disk, made_folder, naming, whole_file
from serving.bundle.compatibility import breaking_differences
from serving.bundle.date_formats import (
    BASIC_DATE,
    DATE_UNITS,
    ISO8601,
    MOST_TICKS,
    is_iso8601,
    number_of,
    parse_number,
    parse_numbers,
    parse_text,
    require_format,
    words_of_numbers,
)
from serving.bundle.date_texts import LONGEST_DATE, pattern_of
from serving.bundle.dates import (
    END_OF_DATES,
    FIRST_SECOND,
    seconds_of_fraction,
    seconds_of_ticks,
)
from serving.bundle.error_text import closest, counted, refusal
from serving.bundle.folder import NUMBER, STAGED, Bundle, ignored, names, staged_versions, versions
from serving.bundle.limits import BundleLimits
from serving.bundle.manifest import (
    FEATURES,
    GAPS,
    MANIFEST,
    OUTPUTS,
    REFERENCE,
    SCHEMA_VERSION,
    SELFTEST,
    Baseline,
    Boolean,
    BundleError,
    Candidate,
    Category,
    Compression,
    Data,
    Date,
    Drop,
    Input,
    Manifest,
    Metrics,
    Name,
    Number,
    Parity,
    Task,
    Training,
    TransientBundleError,
    Variant,
)
from serving.bundle.positive_class import positive_index
from serving.bundle.promotion import PromotionError, only_writer, promote
from serving.bundle.selftest import FEWEST_GOLDEN_ROWS, Expected, SelfTest
from serving.bundle.spelling import (
    Spelling,
    are_gaps,
    canonical_text,
    gap_numbers,
    gap_words,
    is_gap_word,
    nfc,
)

__all__ = [
    "BASIC_DATE",
    "DATE_UNITS",
    "END_OF_DATES",
    "FEATURES",
    "FEWEST_GOLDEN_ROWS",
    "FIRST_SECOND",
    "GAPS",
    "ISO8601",
    "LONGEST_DATE",
    "MANIFEST",
    "MOST_TICKS",
    "NUMBER",
    "OUTPUTS",
    "REFERENCE",
    "SCHEMA_VERSION",
    "SELFTEST",
    "STAGED",
    "Arrays",
    "Baseline",
    "Boolean",
    "Bundle",
    "BundleError",
    "BundleLimits",
    "Candidate",
    "Category",
    "Compression",
    "Data",
    "Date",
    "Drop",
    "Expected",
    "Input",
    "Manifest",
    "Metrics",
    "Name",
    "Number",
    "Parity",
    "PromotionError",
    "SelfTest",
    "Spelling",
    "Task",
    "Training",
    "TransientBundleError",
    "Variant",
    "are_gaps",
    "breaking_differences",
    "canonical_text",
    "closest",
    "counted",
    "exit_on_full_disk",
    "gap_numbers",
    "gap_words",
    "ignored",
    "is_gap_word",
    "is_iso8601",
    "join",
    "made_folder",
    "names",
    "naming",
    "nfc",
    "number_of",
    "only_writer",
    "parse_number",
    "parse_numbers",
    "parse_text",
    "pattern_of",
    "positive_index",
    "promote",
    "refusal",
    "require_format",
    "seconds_of_fraction",
    "seconds_of_ticks",
    "slices",
    "staged_versions",
    "versions",
    "whole_file",
    "words_of_numbers",
]
