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
from serving.bundle.compatibility import breaking_differences
from serving.bundle.dates import (
    END_OF_DATES,
    FIRST_SECOND,
    seconds_of_fraction,
    seconds_of_ticks,
)
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
from serving.bundle.phrases import closest, counted, refusal
from serving.bundle.positive import positive_index
from serving.bundle.promotion import PromotionError, only_writer, promote
from serving.bundle.selftest import FEWEST_GOLDEN_ROWS, Expected, SelfTest

__all__ = [
    "END_OF_DATES",
    "FEATURES",
    "FEWEST_GOLDEN_ROWS",
    "FIRST_SECOND",
    "GAPS",
    "MANIFEST",
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
    "Task",
    "Training",
    "TransientBundleError",
    "Variant",
    "breaking_differences",
    "closest",
    "counted",
    "ignored",
    "join",
    "names",
    "only_writer",
    "positive_index",
    "promote",
    "refusal",
    "seconds_of_fraction",
    "seconds_of_ticks",
    "slices",
    "staged_versions",
    "versions",
]
