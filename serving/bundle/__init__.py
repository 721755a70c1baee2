"""A bundle is one trained version on disk, and the contract between the trainer and the server.

    models/<name>/<version>/
      bundle.json            the manifest, with the version of its schema; unknown keys are refused
      model.onnx             the fp32 graph
      model.<variant>.onnx   the graph of each other variant
      selftest.npz           golden inputs with each variant's expected outputs and tolerances
      reference.json         histograms of the training data, for drift

This package reads, checks and promotes bundles, and defines what each type of column accepts.
Bundles are not trusted: every file has a size limit and is compared with its checksum. A bundle
contains statistics of its training data and synthetic golden inputs, but no row of the training
data. The package imports nothing else of `serving`.
"""

from serving.bundle.arrays import Arrays, concatenate_rows, iter_row_slices
from serving.bundle.atomic_writes import (
    add_path_to_errors,
    create_folder,
    exit_on_full_disk,
    write_atomically,
)
from serving.bundle.column_schema import (
    FLOAT32_LIMIT,
    FLOAT64_LIMIT,
    ColumnSchema,
    WrongNumberError,
    WrongValueError,
)
from serving.bundle.column_types import (
    BooleanSchema,
    CategorySchema,
    NumberSchema,
    create_column_schema,
)
from serving.bundle.compatibility import find_breaking_changes
from serving.bundle.date_formats import (
    BASIC_DATE,
    DATE_UNITS,
    ISO8601,
    TICKS_LIMIT,
    describe_date_numbers,
    encode_date_number,
    is_iso8601,
    parse_date_number,
    parse_date_numbers,
    parse_date_text,
    require_date_format,
)
from serving.bundle.date_schema import DateSchema
from serving.bundle.date_texts import MAX_DATE_CHARACTERS, build_date_pattern
from serving.bundle.dates import (
    END_DATE_SECONDS,
    MIN_DATE_SECONDS,
    add_decimal_fraction,
    ticks_to_seconds,
)
from serving.bundle.error_text import describe_invalid_value, pluralize, suggest_name
from serving.bundle.files import BundleLimits
from serving.bundle.folder import (
    STAGED_PREFIX,
    VERSION_PATTERN,
    Bundle,
    find_ignored_entries,
    list_models,
    list_staged_versions,
    list_versions,
)
from serving.bundle.manifest import (
    DEFAULT_GAP_TEXTS,
    FEATURES_INPUT,
    MANIFEST_FILE,
    OUTPUT_NAMES,
    REFERENCE_FILE,
    SCHEMA_VERSION,
    SELFTEST_FILE,
    Baseline,
    BooleanColumn,
    BundleError,
    CategoryColumn,
    CompressionCandidate,
    CompressionSummary,
    DateColumn,
    InputColumn,
    Manifest,
    MetricDrop,
    MetricValues,
    Name,
    NumberColumn,
    Parity,
    Task,
    TrainingData,
    TrainingSummary,
    TransientBundleError,
    Variant,
)
from serving.bundle.positive_class import find_positive_index
from serving.bundle.promotion import PromotionError, lock_model_folder, promote
from serving.bundle.selftest import MIN_GOLDEN_ROWS, ExpectedAnswers, SelfTest
from serving.bundle.spelling import (
    CategorySpelling,
    are_gap_numbers,
    canonicalize_text,
    is_gap_text,
    resolve_gap_numbers,
    resolve_gap_texts,
    to_nfc,
)
from serving.bundle.truth_texts import (
    TRUTH_DIGITS,
    TRUTH_TEXTS,
    TRUTH_WORD_PAIRS,
    are_truth_numbers,
)

__all__ = [
    "BASIC_DATE",
    "DATE_UNITS",
    "DEFAULT_GAP_TEXTS",
    "END_DATE_SECONDS",
    "FEATURES_INPUT",
    "FLOAT32_LIMIT",
    "FLOAT64_LIMIT",
    "ISO8601",
    "MANIFEST_FILE",
    "MAX_DATE_CHARACTERS",
    "MIN_DATE_SECONDS",
    "MIN_GOLDEN_ROWS",
    "OUTPUT_NAMES",
    "REFERENCE_FILE",
    "SCHEMA_VERSION",
    "SELFTEST_FILE",
    "STAGED_PREFIX",
    "TICKS_LIMIT",
    "TRUTH_DIGITS",
    "TRUTH_TEXTS",
    "TRUTH_WORD_PAIRS",
    "VERSION_PATTERN",
    "Arrays",
    "Baseline",
    "BooleanColumn",
    "BooleanSchema",
    "Bundle",
    "BundleError",
    "BundleLimits",
    "CategoryColumn",
    "CategorySchema",
    "CategorySpelling",
    "ColumnSchema",
    "CompressionCandidate",
    "CompressionSummary",
    "DateColumn",
    "DateSchema",
    "ExpectedAnswers",
    "InputColumn",
    "Manifest",
    "MetricDrop",
    "MetricValues",
    "Name",
    "NumberColumn",
    "NumberSchema",
    "Parity",
    "PromotionError",
    "SelfTest",
    "Task",
    "TrainingData",
    "TrainingSummary",
    "TransientBundleError",
    "Variant",
    "WrongNumberError",
    "WrongValueError",
    "add_decimal_fraction",
    "add_path_to_errors",
    "are_gap_numbers",
    "are_truth_numbers",
    "build_date_pattern",
    "canonicalize_text",
    "concatenate_rows",
    "create_column_schema",
    "create_folder",
    "describe_date_numbers",
    "describe_invalid_value",
    "encode_date_number",
    "exit_on_full_disk",
    "find_breaking_changes",
    "find_ignored_entries",
    "find_positive_index",
    "is_gap_text",
    "is_iso8601",
    "iter_row_slices",
    "list_models",
    "list_staged_versions",
    "list_versions",
    "lock_model_folder",
    "parse_date_number",
    "parse_date_numbers",
    "parse_date_text",
    "pluralize",
    "promote",
    "require_date_format",
    "resolve_gap_numbers",
    "resolve_gap_texts",
    "suggest_name",
    "ticks_to_seconds",
    "to_nfc",
    "write_atomically",
]
