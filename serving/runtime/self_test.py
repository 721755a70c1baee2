"""The proof that a variant answers on this machine as the bundle's self-test says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import (
    FEATURES_INPUT,
    MIN_GOLDEN_ROWS,
    Arrays,
    Bundle,
    BundleError,
    BundleLimits,
    ExpectedAnswers,
    Manifest,
    NumberColumn,
)
from serving.runtime.batch_invariance import find_batch_dependence
from serving.runtime.comparison import OutputDifference, compare_outputs
from serving.runtime.latency_profile import TIMED_BATCH_SIZES
from serving.runtime.session import GraphError, GraphSession, RunTimeoutError


@dataclass(frozen=True)
class ProofLimits:
    """Limits within which a version is loaded and proved.

    Attributes:
        bundle: Limits of the bundle's files.
        largest_batch: Rows of the largest batch that requests will be joined to.
        run_seconds: Longest time of one run, in seconds, also when it is served; None for no limit.
        proof_seconds: Processor time that the proof of a variant may take in a process of its own,
            in seconds.
        memory_bytes: Memory that it may take there beyond 8 times its ONNX file, in bytes.
    """

    bundle: BundleLimits = field(default_factory=BundleLimits)
    max_batch_rows: int = TIMED_BATCH_SIZES[-1]
    run_seconds: float | None = None
    proof_seconds: float = 10
    memory_bytes: int = 256 * 2**20


DEFAULT_PROOF_LIMITS = ProofLimits()
MAX_QUOTED_CHARACTERS = 200  # characters of what an error lists
_DTYPE_BY_COLUMN_TYPE = {"boolean": "float32", "date": "float64", "category": "str"}


@dataclass(frozen=True)
class SelfTestResult:
    """What a variant's self-test said on this machine.

    Attributes:
        variant: its name.
        session: ready to answer; None unless `passed`.
        difference: from the expected outputs; None when it did not come to a comparison.
        failure: why it is not to be served; empty when it passed.
        is_transient: Whether the reason may pass by itself: a run took too long, as on a machine
            that was busy.
    """

    variant: str
    session: GraphSession | None
    difference: OutputDifference | None
    failure: str
    is_transient: bool = False

    @property
    def passed(self) -> bool:
        """The variant reproduces its expected outputs here."""
        return self.session is not None


def run_self_test(
    bundle: Bundle, variant: str, *, threads: int = 1, limits: ProofLimits = DEFAULT_PROOF_LIMITS
) -> SelfTestResult:
    """Load a variant, replay the bundle's self-test on it and check that batches change no answer.

    A variant that fails is reported, never raised: others may pass.

    Args:
        bundle: The bundle, opened.
        variant: Name of the variant.
        threads: Threads of one run.
        limits: Limits of the proof.
    """
    difference: OutputDifference | None = None
    try:
        selftest = bundle.read_selftest()
        expected = selftest.expected.get(variant)
        if expected is None or not expected.outputs:
            raise BundleError(f"{bundle.path}: the self-test expects nothing of {variant}")
        _require_valid_self_test(bundle, selftest.inputs, expected)
        session = GraphSession(
            bundle.read_graph(variant), threads=threads, run_seconds=limits.run_seconds
        )
        _require_graph_inputs(bundle, session)
        # A graph of a fixed batch size could answer all rows, and no other number of them.
        for size in TIMED_BATCH_SIZES:
            session.run({n: np.resize(a, (size, *a.shape[1:])) for n, a in selftest.inputs.items()})
        got = session.run(selftest.inputs)
        difference = compare_outputs(got, expected.outputs, expected.tolerances)
        if not difference.is_within_tolerance:
            raise BundleError(
                f"{bundle.path}: {variant} does not reproduce its self-test on this CPU: "
                f"{difference.describe()}"
            )
        how = find_batch_dependence(
            session, bundle.manifest.inputs, selftest.inputs, expected, limits.max_batch_rows
        )
        if how is not None:
            raise BundleError(
                f"{bundle.path}: expected {variant} to answer a row whatever else is in its "
                f"batch; got another answer to golden rows {how}; export a graph without "
                f"operations across rows"
            )
    except (BundleError, GraphError) as error:
        is_transient = isinstance(error, RunTimeoutError)
        return SelfTestResult(variant, None, difference, str(error), is_transient)
    return SelfTestResult(variant, session, difference, "")


def _list_expected_inputs(manifest: Manifest) -> dict[str, str]:
    """The graph's inputs that the manifest promises, by name."""
    if manifest.is_all_numeric:
        return {FEATURES_INPUT: "float32"}
    return {
        column.input_name: column.dtype
        if isinstance(column, NumberColumn)
        else _DTYPE_BY_COLUMN_TYPE[column.type]
        for column in manifest.inputs
    }


def _require_graph_inputs(bundle: Bundle, session: GraphSession) -> None:
    """The graph takes what the manifest promises, no input more and none less."""
    promised = _list_expected_inputs(bundle.manifest)
    if session.inputs != promised:
        names = [*promised, *(name for name in session.inputs if name not in promised)]
        name = next(name for name in names if promised.get(name) != session.inputs.get(name))
        raise BundleError(
            f"{bundle.path}: expected a graph whose inputs are those of the manifest, "
            f"{name!r} as {promised.get(name, 'none of them')}; got "
            f"{session.inputs.get(name, 'no such input')}"
        )


def _count_golden_rows(bundle: Bundle, inputs: Arrays) -> int:
    """How many golden rows there are, of the inputs that the manifest promises."""
    dtypes = _list_expected_inputs(bundle.manifest)
    width = len(bundle.manifest.inputs) if bundle.manifest.is_all_numeric else 1
    found = {name: _name_dtype(array) for name, array in inputs.items()}
    shapes = {array.shape for array in inputs.values()}
    if found == dtypes and len(shapes) == 1 and (shape := shapes.pop())[1:] == (width,):
        rows: int = shape[0]
        return rows
    came = ", ".join(f"{name} {_name_dtype(array)} {array.shape}" for name, array in inputs.items())
    raise BundleError(
        f"{bundle.path}: expected golden rows of {len(bundle.manifest.inputs)} features, as the "
        f"manifest lists; got {came[:MAX_QUOTED_CHARACTERS]}{'...' * (len(came) > MAX_QUOTED_CHARACTERS)}"
    )


def _name_dtype(array: NDArray[Any]) -> str:
    return "str" if array.dtype.kind == "U" else str(array.dtype)


def _require_valid_self_test(bundle: Bundle, inputs: Arrays, expected: ExpectedAnswers) -> None:
    """The self-test speaks of the inputs and answers that the manifest promises."""
    manifest = bundle.manifest
    rows = _count_golden_rows(bundle, inputs)
    if rows < MIN_GOLDEN_ROWS:
        raise BundleError(
            f"{bundle.path}: expected at least {MIN_GOLDEN_ROWS} golden rows to prove it by; "
            f"got {rows}"
        )
    promised: dict[str, tuple[int, ...]]
    if manifest.classes is None:
        promised = {"value": (rows, len(manifest.data.target))}
    else:
        promised = {"label": (rows,), "probabilities": (rows, len(manifest.classes))}
    found = {name: array.shape for name, array in expected.outputs.items()}
    if found != promised:
        raise BundleError(
            f"{bundle.path}: expected answers of the shapes {promised}, as the manifest promises; "
            f"got {found}"
        )
    floats = {name: shape for name, shape in promised.items() if name != "label"}
    allowed = {name: array.shape for name, array in expected.tolerances.items()}
    sound = all(
        array.dtype.kind == "f" and np.isfinite(array).all() and (array >= 0).all()
        for array in expected.tolerances.values()
    )
    if allowed != floats or not sound:
        raise BundleError(
            f"{bundle.path}: expected finite tolerances of the shapes {floats}, none below 0; "
            f"got others"
        )
