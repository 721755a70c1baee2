"""The models of bundle.json, the manifest of a bundle, which pydantic validates on every read.

The fields are part of the bundle format: they are never renamed, and new ones have a default, so
that the manifests of older versions stay valid.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from serving.bundle.date_formats import require_date_format
from serving.bundle.truth_texts import find_truth_categories

# Version 2 added float64 numbers, spellings of truth values, dates and categories, input names that
# differ from their columns, the positive class, and calibration with a bias. A manifest of version
# 1 has none of these fields; their defaults keep its original meaning.
SCHEMA_VERSION = 2
MANIFEST_FILE, SELFTEST_FILE, REFERENCE_FILE = "bundle.json", "selftest.npz", "reference.json"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
FileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Task = Literal["binary", "multiclass", "regression"]
MetricValues = dict[str, float]
TruthText = Annotated[str, Field(pattern=r"^[a-z]{1,8}$")]


class BundleError(Exception):
    """The bundle is missing, damaged or has another schema. The message says what is wrong."""


class TransientBundleError(BundleError):
    """The bundle cannot be used now, but a later attempt may succeed: the machine was too busy."""


class _ManifestPart(BaseModel):
    # JSON cannot express NaN: pydantic would write null, which it refuses when it reads it back.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _BaseColumn(_ManifestPart):
    """The fields that all types of columns share."""

    name: Annotated[str, Field(min_length=1)]
    # Whether a record without a value is refused, or the graph imputes the value.
    missing: Literal["refuse", "impute"]
    # Name of the graph's input if it cannot be the column's name, because an output has that name.
    tensor: Annotated[str, Field(min_length=1)] | None = None
    # Lower-case texts that mean a gap in this column, in addition to the empty text; None for
    # `DEFAULT_GAP_TEXTS`. Columns of numbers and booleans use them in CSV, others in every format.
    gaps: list[str] | None = None

    @property
    def input_name(self) -> str:
        """Name of the graph's input for this column, unless the inputs are joined in a matrix."""
        return self.tensor or self.name


class NumberColumn(_BaseColumn):
    """A column of numbers: a float32 or float64 input where NaN is a gap."""

    type: Literal["number"]
    # Float64 if float32 would round different numbers to the same one. Such a column always has a
    # separate input.
    dtype: Literal["float32", "float64"] = "float32"
    # Range of the training rows, or of a sample if there are very many; not a limit for requests.
    minimum: float
    maximum: float


class BooleanColumn(_BaseColumn):
    """A column of true and false: a float32 input of 1 and 0 where NaN is a gap."""

    type: Literal["boolean"]
    # Lower-case texts of the training data that mean true or false, other than `TRUTH_TEXTS`.
    texts: Annotated[dict[TruthText, bool], Field(max_length=16)] = {}


class CategoryColumn(_BaseColumn):
    """A column of texts from a known set: a string input where the empty text is a gap."""

    type: Literal["category"]
    categories: Annotated[list[str], Field(min_length=1)]  # texts that the model was trained with
    # Whether a request with an unknown text is refused, or all unknown texts are treated alike.
    unseen: Literal["refuse", "unknown"]
    # Whether texts are normalized before they are compared: to Unicode's form NFC, and whole
    # numbers without a fraction ("1" for "1.0"). Otherwise they have to be written exactly as in
    # the training data.
    normalized: bool = False

    @cached_property
    def is_whole_numbers(self) -> bool:
        """Whether all categories are whole numbers, so that requests may send JSON integers."""
        return all(re.fullmatch(r"0|-?[1-9][0-9]*", text) for text in self.categories)

    @cached_property
    def json_number_type(self) -> Literal["integer", "number"] | None:
        """JSON Schema type of the numbers that the column accepts; None if it accepts only texts.

        In a normalized column it is enough that some categories are numbers; otherwise all have to
        be whole numbers.
        """
        if self.is_whole_numbers or not self.normalized:
            return "integer" if self.is_whole_numbers else None
        numbers = list(filter(self.is_number, self.categories))
        if any(re.search("[.e]", text) for text in numbers):
            return "number"
        return "integer" if numbers else None

    @staticmethod
    def is_number(text: str) -> bool:
        """Return whether a text is a number as programs format it, without leading zeros."""
        return bool(re.fullmatch(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:e[+-]?[0-9]{1,3})?", text))

    @cached_property
    def truth_categories(self) -> dict[bool, str]:
        """Texts of the categories true and false; empty if there are any other categories."""
        return find_truth_categories(self.categories)


class DateColumn(_BaseColumn):
    """A column of dates or times: a float64 input of seconds since 1970-01-01 UTC; NaN is a gap."""

    type: Literal["date"]
    minimum: str  # range of the training rows, in ISO 8601; not a limit for requests
    maximum: str
    # Format of the dates in the training data, which is accepted in addition to ISO 8601: a
    # strptime format, or a unit of numbers since 1970-01-01 UTC (see `date_formats.DATE_UNITS`).
    format: str = "iso8601"

    @field_validator("format")
    @classmethod
    def _require_known_format(cls, format: str) -> str:  # noqa: A002
        require_date_format(format)
        return format


InputColumn = Annotated[
    NumberColumn | BooleanColumn | CategoryColumn | DateColumn, Field(discriminator="type")
]
# Default texts of a gap (a missing value), in lower case, both in files and in requests.
DEFAULT_GAP_TEXTS = ("", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "?")
# Names of a graph's outputs: the first two for a classifier, the last for a regressor.
OUTPUT_NAMES = ("label", "probabilities", "value")
FEATURES_INPUT = "features"  # the only input of a graph if all columns are numbers and booleans


class Parity(_ManifestPart):
    """Differences between the graph's outputs and the NumPy forward pass."""

    rows: int
    max_abs: float
    max_rel: float
    label_agreement: float | None  # share of rows with the same label; None for regression


class Variant(_ManifestPart):
    """One graph of the bundle."""

    file: FileName
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=1)]
    metrics: MetricValues  # on the held-out test rows
    parity: Parity
    # Median duration of a run on the machine of the export, in µs, by number of rows.
    latency_us: dict[str, float]
    bits: Literal[4, 7, 8, 32] = 32  # bits of each weight; 32 for floats
    # Threshold of a binary variant if it differs from the manifest's.
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    # Classes that occur in the test rows but that the variant never predicts for them; None in
    # bundles that do not record it.
    never_answered: list[int] | list[str] | None = None


class TrainingData(_ManifestPart):
    """The source and the numbers of the training rows."""

    source: str
    fingerprint: str
    target: list[str]
    rows: dict[Literal["train", "validation", "test"], int]


class Baseline(_ManifestPart):
    """Metrics of a simple model that was fitted to the same data for comparison."""

    metrics: MetricValues  # on the held-out test rows
    rows: int  # number of rows that it was fitted to


class MetricDrop(_ManifestPart):
    """Difference of a metric between the dense network and a variant; positive if it got worse."""

    drop: float
    interval: tuple[float, float]  # 95 % bootstrap interval, from resampled pairs of predictions


class CompressionCandidate(_ManifestPart):
    """A variant that compression tried, whether or not it is part of the bundle."""

    name: Name
    bits: Literal[4, 7, 8, 32]
    qat: bool = False  # whether quantization-aware training was used
    inputs: int  # number of encoded inputs that the network uses
    hidden: list[int]  # number of units of each hidden layer
    parameters: int
    size_bytes: int
    zipped_bytes: int  # size of the file after gzip
    latency_us: dict[str, float]  # median duration of a run, in µs, by number of rows
    validation: float  # metric on the validation rows
    drop: float  # drop of that metric compared with the dense network
    error: float = 0.0  # standard error of the drop
    tested: MetricDrop | None = None  # drop on the test rows, if it was measured there
    kept: bool


class CompressionSummary(_ManifestPart):
    """The variants that compression tried, and how much worse they are."""

    metric: str
    max_drop: float  # largest drop of the metric that was allowed
    tried: list[CompressionCandidate]

    def classify(
        self, candidate: CompressionCandidate
    ) -> Literal["kept", "refuted", "holds", "fails"]:
        """Return whether a candidate is part of the bundle, or else whether its drop is allowed.

        Returns:
            "kept" if the bundle contains the candidate; "fails" if its drop on the validation rows,
            plus the standard error, is too large; "refuted" if the drop is allowed there but not on
            the test rows; else "holds".
        """
        if candidate.kept:
            return "kept"
        if candidate.drop + candidate.error > self.max_drop:
            return "fails"
        return "holds" if candidate.tested is None else "refuted"


class TrainingSummary(_ManifestPart):
    """The options and the course of the training."""

    config: dict[str, JsonValue]
    epochs_run: int
    best_epoch: int
    seconds: float


class Manifest(_ManifestPart):
    """The content of bundle.json."""

    schema_version: Literal[1, 2]
    name: Name
    version: Annotated[int, Field(ge=1)]
    created: str  # ISO 8601, UTC
    task: Task
    inputs: Annotated[list[InputColumn], Field(min_length=1)]
    classes: list[int] | list[str] | None  # None for regression
    # Class that a binary model predicts from the threshold up; None for the second class.
    positive: int | str | None = None
    class_shares: list[float] | None = None  # shares of the training rows, in class order
    # Probability from which on a binary model predicts the positive class; None for other tasks.
    threshold: Annotated[float, Field(gt=0, lt=1)] | None
    aim: str | None = None  # objective of the threshold, which was chosen on the validation rows
    # Reason why no threshold reaches the objective; then the default threshold is used.
    aim_unmet: str | None = None
    temperature: Annotated[float, Field(gt=0)] = 1  # divisor of the logits, part of the graph
    # Values added to the logits after the division, one for each logit; None for zeros.
    logit_bias: list[float] | None = None
    example: dict[str, JsonValue] = {}  # valid record, made of statistics of the training data
    parameters: int
    metrics: dict[Literal["validation", "test"], MetricValues]  # of the NumPy model
    # 95 % bootstrap intervals of the metrics on the test rows.
    intervals: dict[str, tuple[float, float]] = {}
    baselines: dict[Name, Baseline] = {}
    variants: Annotated[dict[Name, Variant], Field(min_length=1, max_length=16)]
    compression: CompressionSummary | None = None
    files: dict[FileName, Sha256]
    data: TrainingData
    training: TrainingSummary
    libraries: dict[str, str]

    @property
    def positive_class(self) -> int | str | None:
        """Class that a binary model predicts from the threshold up; None for other tasks."""
        if self.task != "binary" or self.classes is None:
            return None
        return self.classes[1] if self.positive is None else self.positive

    @property
    def is_all_numeric(self) -> bool:
        """Whether the graph has one input, a float32 matrix, instead of one for each column."""
        return all(
            column.type == "boolean" or (column.type == "number" and column.dtype == "float32")
            for column in self.inputs
        )

    @model_validator(mode="after")
    def _require_known_positive_class(self) -> Manifest:
        if self.positive is not None and self.positive not in (self.classes or ()):
            raise ValueError(f"expected a positive class out of the classes; got {self.positive!r}")
        return self

    @field_validator("inputs")
    @classmethod
    def _require_distinct_columns(cls, inputs: list[InputColumn]) -> list[InputColumn]:
        if len({column.name for column in inputs}) < len(inputs):
            raise ValueError("expected distinct names; got a name twice")
        return inputs

    @model_validator(mode="after")
    def _require_distinct_tensors(self) -> Manifest:
        if self.is_all_numeric:
            return self
        outputs = ("value",) if self.classes is None else ("label", "probabilities")
        names = [*outputs, *(column.input_name for column in self.inputs)]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(
                f"expected names of the graph's inputs that differ from each other and from its "
                f"outputs; got {repeated!r} twice"
            )
        return self

    @field_validator("files")
    @classmethod
    def _require_mandatory_files(cls, files: dict[str, str]) -> dict[str, str]:
        if missing := {SELFTEST_FILE, REFERENCE_FILE} - set(files):
            raise ValueError(
                f"expected {SELFTEST_FILE} and {REFERENCE_FILE}; got no {min(missing)}"
            )
        return files
