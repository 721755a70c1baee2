"""The manifest, bundle.json: what a bundle says of itself, validated on read."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from serving.bundle.date_formats import require_date_format

# 2: numbers in float64, spellings of truth values, dates and categories, other names for inputs, a
# positive class, a calibration with a bias. Files of version 1 have none and mean the same.
SCHEMA_VERSION = 2
MANIFEST_FILE, SELFTEST_FILE, REFERENCE_FILE = "bundle.json", "selftest.npz", "reference.json"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
FileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Task = Literal["binary", "multiclass", "regression"]
MetricValues = dict[str, float]
TruthText = Annotated[str, Field(pattern=r"^[a-z]{1,8}$")]


class BundleError(Exception):
    """The bundle is missing, damaged or of another schema; the message says which and why."""


class TransientBundleError(BundleError):
    """The bundle cannot be used now, and may be another time: the machine was too busy."""


class _ManifestPart(BaseModel):
    # JSON has no word for NaN: it would be written as null and refused on reading.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _BaseColumn(_ManifestPart):
    """What every column of a record has."""

    name: Annotated[str, Field(min_length=1)]
    # A record without it is refused, or the graph fills the gap as it was fitted to.
    missing: Literal["refuse", "impute"]
    # Name of the graph's input, where the column's own name is that of an output; else that name.
    tensor: Annotated[str, Field(min_length=1)] | None = None
    # Texts, in lower case, that stand for a gap in this column, beside the empty one: in a column
    # of numbers or booleans in CSV, in others in any format. None for all of `DEFAULT_GAP_TEXTS`.
    gaps: list[str] | None = None

    @property
    def input_name(self) -> str:
        """Name of the graph's input, where the column is an input of its own."""
        return self.tensor or self.name


class NumberColumn(_BaseColumn):
    """A number; a float32 or float64 input whose NaN is a gap."""

    type: Literal["number"]
    # Float64 where float32 would make one number of several; such a column is an input of its own.
    dtype: Literal["float32", "float64"] = "float32"
    minimum: float  # of training rows, very many of which are sampled; others are answered too
    maximum: float


class BooleanColumn(_BaseColumn):
    """True or false; a float32 input of 1 or 0, whose NaN is a gap."""

    type: Literal["boolean"]
    # Texts of the training data, in lower case, that mean true or false beside those two words.
    texts: Annotated[dict[TruthText, bool], Field(max_length=16)] = {}


class CategoryColumn(_BaseColumn):
    """One of some texts; a string input whose empty text is a gap."""

    type: Literal["category"]
    categories: Annotated[list[str], Field(min_length=1)]  # that the model tells apart
    # What an unseen text is: refused, or answered as one of the unknown bucket.
    unseen: Literal["refuse", "unknown"]
    # Whether texts are compared in one spelling: Unicode's form NFC, and whole numbers without a
    # fraction ("1" for "1.0"). Else they are compared as they were written in the training data.
    normalized: bool = False

    @cached_property
    def is_whole_numbers(self) -> bool:
        """Whether all categories are whole numbers, which may then be written as numbers, too."""
        return all(re.fullmatch(r"0|-?[1-9][0-9]*", text) for text in self.categories)

    @cached_property
    def json_number_type(self) -> Literal["integer", "number"] | None:
        """JSON's type of numbers that a value may be written as; None where only texts are taken.

        Of a normalized column some of the categories have to be numbers, of others all.
        """
        if self.is_whole_numbers or not self.normalized:
            return "integer" if self.is_whole_numbers else None
        numbers = list(filter(self.is_number, self.categories))
        if any(re.search("[.e]", text) for text in numbers):
            return "number"
        return "integer" if numbers else None

    @staticmethod
    def is_number(text: str) -> bool:
        """Whether a text is a number as programs write it, without leading zeros."""
        return bool(re.fullmatch(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:e[+-]?[0-9]{1,3})?", text))

    @cached_property
    def truth_categories(self) -> dict[bool, str]:
        """How the categories write true and false, where they are nothing else; else nothing."""
        written = {text.lower(): text for text in self.categories}
        if len(written) < len(self.categories) or not set(written) <= {"true", "false"}:
            return {}
        return {True: written.get("true", "true"), False: written.get("false", "false")}


class DateColumn(_BaseColumn):
    """A date, or date and time; a float64 input of seconds since 1970-01-01 UTC, NaN for a gap."""

    type: Literal["date"]
    minimum: str  # ISO 8601, of the training rows; others are answered too
    maximum: str
    # How the training data write dates, accepted beside ISO 8601: a format of strptime's, or the
    # unit of numbers since 1970-01-01 UTC: seconds, milliseconds, microseconds or nanoseconds.
    format: str = "iso8601"

    @field_validator("format")
    @classmethod
    def _require_known_format(cls, format: str) -> str:  # noqa: A002
        require_date_format(format)
        return format


InputColumn = Annotated[
    NumberColumn | BooleanColumn | CategoryColumn | DateColumn, Field(discriminator="type")
]
# What stands for a category that is not there, in any case; files and requests say it alike.
DEFAULT_GAP_TEXTS = ("", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "?")
OUTPUT_NAMES = ("label", "probabilities", "value")  # names of a graph's outputs, whichever it has
FEATURES_INPUT = "features"  # the one input of a graph whose columns are all numbers and booleans


class Parity(_ManifestPart):
    """How far the graph's answers are from the NumPy forward pass."""

    rows: int
    max_abs: float
    max_rel: float
    label_agreement: float | None  # share of rows; None for regression


class Variant(_ManifestPart):
    """One graph of the bundle."""

    file: FileName
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=1)]
    metrics: MetricValues  # on the held-out test rows
    parity: Parity
    latency_us: dict[str, float]  # median of one run, by batch size, where it was exported
    bits: Literal[4, 7, 8, 32] = 32  # of a weight; floats have 32
    # binary: its own, where it was chosen anew; else the manifest's
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    # Classes that test rows are of and that none of them is answered as; None where not looked for.
    never_answered: list[int] | list[str] | None = None


class TrainingData(_ManifestPart):
    """What the model was trained on."""

    source: str
    fingerprint: str
    target: list[str]
    rows: dict[Literal["train", "validation", "test"], int]


class Baseline(_ManifestPart):
    """What a model that needs no tuning made of the same rows."""

    metrics: MetricValues  # on the held-out test rows
    rows: int  # it learned from


class MetricDrop(_ManifestPart):
    """How much lower a metric is than the dense network's; above 0 if something was lost."""

    drop: float
    interval: tuple[float, float]  # 95 %, of rows drawn in pairs


class CompressionCandidate(_ManifestPart):
    """A variant that compression tried, whether or not the bundle holds it."""

    name: Name
    bits: Literal[4, 7, 8, 32]
    qat: bool = False  # trained with its rounding
    inputs: int  # numbers of the encoded record that the network looks at
    hidden: list[int]  # units of the hidden layers
    parameters: int
    size_bytes: int
    zipped_bytes: int  # as gzip makes of the file
    latency_us: dict[str, float]  # median of one run, by batch size
    validation: float  # the metric on the validation rows
    drop: float  # of it below the dense network's
    error: float = 0.0  # the standard error of the drop
    tested: MetricDrop | None = None  # on the test rows, if they were asked
    kept: bool


class CompressionSummary(_ManifestPart):
    """What was tried to make the model smaller, and what it cost."""

    metric: str
    max_drop: float  # that was allowed
    tried: list[CompressionCandidate]

    def classify(
        self, candidate: CompressionCandidate
    ) -> Literal["kept", "refuted", "holds", "fails"]:
        """Whether it is in the bundle; if not, whether it lost no more than was allowed.

        It holds if its drop and the standard error of that are within it. One that holds on the
        validation rows, and surely not on the test rows, is refuted.
        """
        if candidate.kept:
            return "kept"
        if candidate.drop + candidate.error > self.max_drop:
            return "fails"
        return "holds" if candidate.tested is None else "refuted"


class TrainingSummary(_ManifestPart):
    """How it was trained."""

    config: dict[str, JsonValue]
    epochs_run: int
    best_epoch: int
    seconds: float


class Manifest(_ManifestPart):
    """bundle.json."""

    schema_version: Literal[1, 2]
    name: Name
    version: Annotated[int, Field(ge=1)]
    created: str  # ISO 8601, UTC
    task: Task
    inputs: Annotated[list[InputColumn], Field(min_length=1)]
    classes: list[int] | list[str] | None  # None for regression
    # binary: the class that is answered from the threshold up; None for the second one
    positive: int | str | None = None
    class_shares: list[float] | None = None  # of the training rows, in the order of `classes`
    # binary: the positive class is answered from this probability up
    threshold: Annotated[float, Field(gt=0, lt=1)] | None
    aim: str | None = None  # what the threshold was chosen for, on the validation rows
    aim_unmet: str | None = None  # why none meets the aim, so that the threshold is the default
    temperature: Annotated[float, Field(gt=0)] = 1  # that the logits are divided by in the graph
    # Added to the logits after the division, one for each logit of the network; None for zeros.
    logit_bias: list[float] | None = None
    example: dict[str, JsonValue] = {}  # a record it answers, made of statistics
    parameters: int
    metrics: dict[Literal["validation", "test"], MetricValues]  # of the NumPy model
    # 95 % bootstrap intervals of the metrics on the test rows
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
        """The class that a binary model answers from the threshold up; None for other tasks."""
        if self.task != "binary" or self.classes is None:
            return None
        return self.classes[1] if self.positive is None else self.positive

    @property
    def is_all_numeric(self) -> bool:
        """Whether the graph takes rows of numbers as one matrix, or each column by itself."""
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
            raise ValueError("expected distinct names; got one twice")
        return inputs

    @model_validator(mode="after")
    def _require_distinct_tensors(self) -> Manifest:
        if self.is_all_numeric:
            return self
        outputs = ("value",) if self.classes is None else ("label", "probabilities")
        names = [*outputs, *(column.input_name for column in self.inputs)]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(
                f"expected names of the graph's inputs that differ from each other and from its "
                f"outputs; got {twice!r} twice"
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
