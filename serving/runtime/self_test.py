"""Run a bundle's self-test: check that a variant computes the expected outputs on this machine."""

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
    """Limits for loading a version and for its proof.

    The proof of a version is its self-test in separate processes, before a worker loads it. See
    `serving.runtime.proof_server`.

    Attributes:
        bundle: Limits of the bundle's files.
        max_batch_rows: Number of rows of the largest batch that the server forms.
        run_seconds: Longest time of one run, in seconds, also while serving; None for no limit.
        proof_seconds: Largest processor time of a variant's proof, in seconds.
        memory_bytes: Largest memory of a variant's proof in addition to 8 times the size of its
            ONNX file, in bytes.
    """

    bundle: BundleLimits = field(default_factory=BundleLimits)
    max_batch_rows: int = TIMED_BATCH_SIZES[-1]
    run_seconds: float | None = None
    proof_seconds: float = 10
    memory_bytes: int = 256 * 2**20


DEFAULT_PROOF_LIMITS = ProofLimits()
MAX_QUOTED_CHARACTERS = 200  # characters of the list of inputs that an error quotes
_DTYPE_BY_COLUMN_TYPE = {"boolean": "float32", "date": "float64", "category": "str"}


@dataclass(frozen=True)
class SelfTestResult:
    """Result of a variant's self-test on this machine.

    Attributes:
        variant: Name of the variant.
        session: Session of the variant; None if the self-test failed.
        difference: Difference from the expected outputs; None if the outputs were not compared.
        failure: Reason why the variant must not be served; empty if the self-test passed.
        is_transient: Whether another attempt may pass, because a run took too long, for example on
            a busy machine.
    """

    variant: str
    session: GraphSession | None
    difference: OutputDifference | None
    failure: str
    is_transient: bool = False

    @property
    def passed(self) -> bool:
        """Whether the variant computed the expected outputs."""
        return self.session is not None


def run_self_test(
    bundle: Bundle, variant: str, *, threads: int = 1, limits: ProofLimits = DEFAULT_PROOF_LIMITS
) -> SelfTestResult:
    """Load a variant, and compare its outputs with the expected ones in batches of several sizes.

    A failure is returned and never raised, since other variants of the bundle may pass.

    Args:
        bundle: Bundle with the variant and its self-test.
        variant: Name of the variant.
        threads: Number of threads of one run.
        limits: Limits of batch size and run time.
    """
    difference: OutputDifference | None = None
    try:
        selftest = bundle.read_selftest()
        expected = selftest.expected.get(variant)
        if expected is None or not expected.outputs:
            raise BundleError(f"{bundle.path}: the self-test has no expected answers of {variant}")
        _require_valid_self_test(bundle, selftest.inputs, expected)
        session = GraphSession(
            bundle.read_graph(variant), threads=threads, run_seconds=limits.run_seconds
        )
        _require_graph_inputs(bundle, session)
        # A graph with a fixed batch size could run all golden rows at once, but no other batch.
        for size in TIMED_BATCH_SIZES:
            session.run({n: np.resize(a, (size, *a.shape[1:])) for n, a in selftest.inputs.items()})
        got = session.run(selftest.inputs)
        difference = compare_outputs(got, expected.outputs, expected.tolerances)
        if not difference.is_within_tolerance:
            raise BundleError(
                f"{bundle.path}: {variant} does not reproduce its self-test on this CPU: "
                f"{difference.describe()}"
            )
        dependence = find_batch_dependence(
            session, bundle.manifest.inputs, selftest.inputs, expected, limits.max_batch_rows
        )
        if dependence is not None:
            raise BundleError(
                f"{bundle.path}: expected {variant} to answer a row the same in every batch; got "
                f"another answer to golden rows {dependence}; export a graph without operations "
                f"across rows"
            )
    except (BundleError, GraphError) as error:
        is_transient = isinstance(error, RunTimeoutError)
        return SelfTestResult(variant, None, difference, str(error), is_transient)
    return SelfTestResult(variant, session, difference, "")


def _list_expected_inputs(manifest: Manifest) -> dict[str, str]:
    """Return the dtype of each graph input that the manifest declares, by name."""
    if manifest.is_all_numeric:
        return {FEATURES_INPUT: "float32"}
    return {
        column.input_name: column.dtype
        if isinstance(column, NumberColumn)
        else _DTYPE_BY_COLUMN_TYPE[column.type]
        for column in manifest.inputs
    }


def _require_graph_inputs(bundle: Bundle, session: GraphSession) -> None:
    """Check that the graph has exactly the inputs that the manifest declares."""
    declared = _list_expected_inputs(bundle.manifest)
    if session.inputs != declared:
        names = [*declared, *(name for name in session.inputs if name not in declared)]
        name = next(name for name in names if declared.get(name) != session.inputs.get(name))
        raise BundleError(
            f"{bundle.path}: expected a graph with the inputs of the manifest, "
            f"{name!r} as {declared.get(name, 'none of them')}; got "
            f"{session.inputs.get(name, 'no such input')}"
        )


def _count_golden_rows(bundle: Bundle, inputs: Arrays) -> int:
    """Return the number of golden rows after checking their names, dtypes and shapes."""
    declared = _list_expected_inputs(bundle.manifest)
    width = len(bundle.manifest.inputs) if bundle.manifest.is_all_numeric else 1
    dtypes = {name: _name_dtype(array) for name, array in inputs.items()}
    shapes = {array.shape for array in inputs.values()}
    if dtypes == declared and len(shapes) == 1 and (shape := shapes.pop())[1:] == (width,):
        rows: int = shape[0]
        return rows
    found = ", ".join(
        f"{name} {_name_dtype(array)} {array.shape}" for name, array in inputs.items()
    )
    if len(found) > MAX_QUOTED_CHARACTERS:
        found = f"{found[:MAX_QUOTED_CHARACTERS]}..."
    raise BundleError(
        f"{bundle.path}: expected golden rows of {len(bundle.manifest.inputs)} features, as in the "
        f"manifest; got {found}"
    )


def _name_dtype(array: NDArray[Any]) -> str:
    return "str" if array.dtype.kind == "U" else str(array.dtype)


def _require_valid_self_test(bundle: Bundle, inputs: Arrays, expected: ExpectedAnswers) -> None:
    """Check that the self-test matches the inputs and outputs that the manifest declares."""
    manifest = bundle.manifest
    rows = _count_golden_rows(bundle, inputs)
    if rows < MIN_GOLDEN_ROWS:
        raise BundleError(
            f"{bundle.path}: expected at least {MIN_GOLDEN_ROWS} golden rows in the self-test; "
            f"got {rows}"
        )
    declared: dict[str, tuple[int, ...]]
    if manifest.classes is None:
        declared = {"value": (rows, len(manifest.data.target))}
    else:
        declared = {"label": (rows,), "probabilities": (rows, len(manifest.classes))}
    shapes = {name: array.shape for name, array in expected.outputs.items()}
    if shapes != declared:
        raise BundleError(
            f"{bundle.path}: expected answers of the shapes {declared}, as in the manifest; "
            f"got {shapes}"
        )
    float_shapes = {name: shape for name, shape in declared.items() if name != "label"}
    tolerance_shapes = {name: array.shape for name, array in expected.tolerances.items()}
    are_valid = all(
        array.dtype.kind == "f" and np.isfinite(array).all() and (array >= 0).all()
        for array in expected.tolerances.values()
    )
    if tolerance_shapes != float_shapes or not are_valid:
        raise BundleError(
            f"{bundle.path}: expected finite tolerances of the shapes {float_shapes}, none below "
            f"0; got others"
        )
