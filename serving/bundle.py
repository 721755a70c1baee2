"""The bundle: one trained version on disk, the contract between trainer and server.

    models/<name>/<version>/
      bundle.json      the manifest: a schema version, validated on read, unknown keys refused
      model.onnx       the fp32 graph, and model.<variant>.onnx beside it
      selftest.npz     golden inputs with each variant's expected outputs and tolerances
      reference.json   histograms of the training data, for drift

Nothing here is trusted: every file is read once, whole, and held to the sum in the manifest. A
bundle holds statistics of its training data and synthetic golden inputs, never a training row.
"""

from __future__ import annotations

import hashlib
import io
import re
import tokenize
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

SCHEMA_VERSION = 1
FEWEST_GOLDEN_ROWS = 8  # fewer prove nothing
MANIFEST, SELFTEST, REFERENCE = "bundle.json", "selftest.npz", "reference.json"

Arrays = dict[str, NDArray[Any]]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
FileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Task = Literal["binary", "multiclass", "regression"]
Metrics = dict[str, float]


class BundleError(Exception):
    """The bundle is missing, damaged or of another schema; the message says which and why."""


class _Part(BaseModel):
    # JSON has no word for NaN: it would be written as null and refused on reading.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Column(_Part):
    """What every column of a record has."""

    name: Annotated[str, Field(min_length=1)]
    # A record without it is refused, or the graph fills the gap as it was fitted to.
    missing: Literal["refuse", "impute"]


class Number(_Column):
    """A number; a float32 input whose NaN is a gap."""

    type: Literal["number"]
    minimum: float  # of training rows, very many of which are sampled; others are answered too
    maximum: float


class Boolean(_Column):
    """True or false; a float32 input of 1 or 0, whose NaN is a gap."""

    type: Literal["boolean"]


class Category(_Column):
    """One of some texts; a string input whose empty text is a gap."""

    type: Literal["category"]
    categories: Annotated[list[str], Field(min_length=1)]  # that the model tells apart
    # What an unseen text is: refused, or answered as one of the unknown bucket.
    unseen: Literal["refuse", "unknown"]

    @cached_property
    def whole(self) -> bool:
        """Whether all categories are whole numbers, which may then be written as numbers, too."""
        return all(re.fullmatch(r"0|-?[1-9][0-9]*", text) for text in self.categories)

    @cached_property
    def truths(self) -> dict[bool, str]:
        """How the categories write true and false, where they are nothing else; else nothing."""
        written = {text.lower(): text for text in self.categories}
        if len(written) < len(self.categories) or not set(written) <= {"true", "false"}:
            return {}
        return {True: written.get("true", "true"), False: written.get("false", "false")}


class Date(_Column):
    """A date, or date and time; a float64 input of seconds since 1970-01-01 UTC, NaN for a gap."""

    type: Literal["date"]
    minimum: str  # ISO 8601, of the training rows; others are answered too
    maximum: str


Input = Annotated[Number | Boolean | Category | Date, Field(discriminator="type")]
# What stands for a category that is not there, in any case; files and requests say it alike.
GAPS = ("", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "?")
FEATURES = "features"  # the one input of a graph whose columns are all numbers and booleans


class Parity(_Part):
    """How far the graph's answers are from the NumPy forward pass."""

    rows: int
    max_abs: float
    max_rel: float
    label_agreement: float | None  # share of rows; None for regression


class Variant(_Part):
    """One graph of the bundle."""

    file: FileName
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=1)]
    metrics: Metrics  # on the held-out test rows
    parity: Parity
    latency_us: dict[str, float]  # median of one run, by batch size, where it was exported
    bits: Literal[4, 7, 8, 32] = 32  # of a weight; floats have 32
    # binary: its own, where it was chosen anew; else the manifest's
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None


class Data(_Part):
    """What the model was trained on."""

    source: str
    fingerprint: str
    target: list[str]
    rows: dict[Literal["train", "validation", "test"], int]


class Baseline(_Part):
    """What a model that needs no tuning made of the same rows."""

    metrics: Metrics  # on the held-out test rows
    rows: int  # it learned from


class Drop(_Part):
    """How much lower a metric is than the dense network's."""

    drop: float
    interval: tuple[float, float]  # 95 %, of rows drawn in pairs


class Candidate(_Part):
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
    tested: Drop | None = None  # on the test rows, if they were asked
    kept: bool


class Compression(_Part):
    """What was tried to make the model smaller, and what it cost."""

    metric: str
    max_drop: float  # that was allowed
    tried: list[Candidate]

    def verdict(self, candidate: Candidate) -> Literal["kept", "refuted", "holds", "fails"]:
        """Whether it is in the bundle; if not, whether it lost no more than was allowed.

        It holds if its drop and the standard error of that are within it. One that holds on the
        validation rows, and surely not on the test rows, is refuted.
        """
        if candidate.kept:
            return "kept"
        if candidate.drop + candidate.error > self.max_drop:
            return "fails"
        return "holds" if candidate.tested is None else "refuted"


class Training(_Part):
    """How it was trained."""

    config: dict[str, JsonValue]
    epochs_run: int
    best_epoch: int
    seconds: float


class Manifest(_Part):
    """bundle.json."""

    schema_version: Literal[1]
    name: Name
    version: Annotated[int, Field(ge=1)]
    created: str  # ISO 8601, UTC
    task: Task
    inputs: Annotated[list[Input], Field(min_length=1)]
    classes: list[int] | list[str] | None  # None for regression
    # binary: the second class is answered from this probability up
    threshold: Annotated[float, Field(gt=0, lt=1)] | None
    aim: str | None = None  # what the threshold was chosen for, on the validation rows
    temperature: Annotated[float, Field(gt=0)] = 1  # that the logits are divided by in the graph
    example: dict[str, JsonValue] = {}  # a record it answers, made of statistics
    parameters: int
    metrics: dict[Literal["validation", "test"], Metrics]  # of the NumPy model
    # 95 % bootstrap intervals of the metrics on the test rows
    intervals: dict[str, tuple[float, float]] = {}
    baselines: dict[Name, Baseline] = {}
    variants: Annotated[dict[Name, Variant], Field(min_length=1)]
    compression: Compression | None = None
    files: dict[FileName, Sha256]
    data: Data
    training: Training
    libraries: dict[str, str]

    @property
    def all_numbers(self) -> bool:
        """Whether the graph takes rows of numbers as one matrix, or each column by itself."""
        return all(column.type in ("number", "boolean") for column in self.inputs)

    @field_validator("inputs")
    @classmethod
    def _distinct(cls, inputs: list[Input]) -> list[Input]:
        if len({column.name for column in inputs}) < len(inputs):
            raise ValueError("expected distinct names; got one twice")
        return inputs

    @field_validator("files")
    @classmethod
    def _whole(cls, files: dict[str, str]) -> dict[str, str]:
        if missing := {SELFTEST, REFERENCE} - set(files):
            raise ValueError(f"expected {SELFTEST} and {REFERENCE}; got no {min(missing)}")
        return files


@dataclass(frozen=True)
class Expected:
    """What a variant must answer to the golden inputs.

    Attributes:
        outputs: by the graph's output names.
        tolerances: for each float output, the largest |Δ| allowed, float32 of its shape.
    """

    outputs: Arrays
    tolerances: Arrays


@dataclass(frozen=True)
class SelfTest:
    """Golden inputs, and what each variant must answer to them."""

    inputs: Arrays
    expected: dict[str, Expected]

    def to_bytes(self) -> bytes:
        """As an .npz file, without pickles."""
        arrays = {f"input/{name}": array for name, array in self.inputs.items()}
        for variant, expected in self.expected.items():
            for name, array in expected.outputs.items():
                arrays[f"expected/{variant}/{name}"] = array
            for name, array in expected.tolerances.items():
                arrays[f"tolerance/{variant}/{name}"] = array
        # Texts as a runtime takes them are objects, which NumPy could only pickle.
        plain = {k: a.astype(np.str_) if a.dtype == object else a for k, a in arrays.items()}
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **plain)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> SelfTest:
        """Read what `to_bytes` wrote.

        Raises:
            BundleError: it is something else.
        """
        inputs: Arrays = {}
        expected: dict[str, Expected] = {}
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                for key in file.files:
                    kind, _, name = key.partition("/")
                    if kind == "input":  # named after a column: whatever it holds
                        inputs[name] = file[key]
                        continue
                    match key.split("/"):
                        case ["expected", variant, name]:
                            expected.setdefault(variant, Expected({}, {})).outputs[name] = file[key]
                        case ["tolerance", variant, name]:
                            part = expected.setdefault(variant, Expected({}, {}))
                            part.tolerances[name] = file[key]
                        case _:
                            raise BundleError(f"{SELFTEST}: unexpected array {key!r}")
        except (
            OSError,
            EOFError,
            BadZipFile,
            NotImplementedError,
            RuntimeError,  # an encrypted member
            SyntaxError,  # these two from NumPy, of headers that are no Python literal
            tokenize.TokenError,
            ValueError,
            zlib.error,
        ) as error:
            raise BundleError(f"{SELFTEST}: expected plain arrays; {error}") from error
        return cls(inputs, expected)


@dataclass(frozen=True)
class Bundle:
    """A version's folder and its manifest."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Read and check the manifest of `path`, models/<name>/<version>.

        Raises:
            BundleError: there is none, it is not valid, or it belongs to another folder.
        """
        try:
            content = (path / MANIFEST).read_bytes()
        except OSError as error:
            raise BundleError(
                f"{path}: expected a readable {MANIFEST}; {error.strerror}"
            ) from error
        try:
            manifest = Manifest.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise BundleError(
                f"{path}: {MANIFEST} is not valid at {where}: {first['msg']}"
            ) from None
        if (manifest.name, str(manifest.version)) != (path.parent.name, path.name):
            raise BundleError(
                f"{path}: expected the manifest of {path.parent.name}/{path.name}; got that of "
                f"{manifest.name}/{manifest.version}"
            )
        return cls(path, manifest)

    @property
    def sums(self) -> dict[str, str]:
        """The sha256 of every file of the bundle but the manifest, by file name."""
        variants = self.manifest.variants.values()
        return {variant.file: variant.sha256 for variant in variants} | self.manifest.files

    def content(self, file: str) -> bytes:
        """A file of the bundle, whole.

        Raises:
            BundleError: the manifest lists no such file, it cannot be read, or it is not the one
                that was exported.
        """
        expected = self.sums.get(file)
        if expected is None:
            raise BundleError(f"{self.path}: the manifest lists no {file}")
        try:
            content = (self.path / file).read_bytes()
        except OSError as error:
            raise BundleError(
                f"{self.path}: expected a readable {file}; {error.strerror}"
            ) from error
        got = hashlib.sha256(content).hexdigest()
        if got != expected:
            raise BundleError(
                f"{self.path}: {file} was altered after export: expected sha256 {expected[:12]}…, "
                f"got {got[:12]}…; export it again"
            )
        return content

    def graph(self, variant: str) -> bytes:
        """The ONNX file of a variant; raises as `content` does."""
        return self.content(self.manifest.variants[variant].file)

    def selftest(self) -> SelfTest:
        """The golden inputs and expected outputs; raises as `content` does."""
        return SelfTest.from_bytes(self.content(SELFTEST))


def names(models: Path) -> list[str]:
    """The models of a repository, sorted: its folders that hold a version, or cannot be read."""
    if not models.is_dir():
        return []
    return sorted(p.name for p in models.iterdir() if p.is_dir() and _may_hold_a_version(p))


def _may_hold_a_version(model: Path) -> bool:
    try:
        return bool(versions(model))
    except OSError:  # say so to who asks for it, and let the others be served
        return True


def versions(model: Path) -> list[int]:
    """The version numbers in a model's folder, ascending.

    Only folders named 1, 2, 3 … count: whatever else lies there is no version.
    """
    if not model.is_dir():
        return []
    return sorted(
        int(p.name)
        for p in model.iterdir()
        if re.fullmatch(r"[1-9][0-9]{0,8}", p.name) and p.is_dir()
    )
