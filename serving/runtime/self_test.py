"""The proof that a variant answers on this machine as the bundle's self-test says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import (
    FEATURES,
    FEWEST_GOLDEN_ROWS,
    Arrays,
    Bundle,
    BundleError,
    Expected,
    Manifest,
    Number,
)
from serving.runtime.batch_invariance import find_batch_dependence
from serving.runtime.comparison import Difference, compare
from serving.runtime.limits import ProofLimits
from serving.runtime.session import GraphError, RunTimeoutError, Session
from serving.runtime.timing import TIMED_ROWS

DEFAULT_LIMITS = ProofLimits()
SHOWN = 200  # characters of what an error lists

_DTYPE_OF = {"boolean": "float32", "date": "float64", "category": "str"}


@dataclass(frozen=True)
class Proof:
    """What a variant's self-test said on this machine.

    Attributes:
        variant: its name.
        session: ready to answer; None unless `passed`.
        difference: from the expected outputs; None when it did not come to a comparison.
        reason: why it is not to be served; empty when it passed.
        is_transient: Whether the reason may pass by itself: a run took too long, as on a machine
            that was busy.
    """

    variant: str
    session: Session | None
    difference: Difference | None
    reason: str
    is_transient: bool = False

    @property
    def passed(self) -> bool:
        """The variant reproduces its expected outputs here."""
        return self.session is not None


def prove(
    bundle: Bundle, variant: str, *, threads: int = 1, limits: ProofLimits = DEFAULT_LIMITS
) -> Proof:
    """Load a variant, replay the bundle's self-test on it and check that batches change no answer.

    A variant that fails is reported, never raised: others may pass.

    Args:
        bundle: The bundle, opened.
        variant: Name of the variant.
        threads: Threads of one run.
        limits: Limits of the proof.
    """
    difference: Difference | None = None
    try:
        selftest = bundle.selftest()
        expected = selftest.expected.get(variant)
        if expected is None or not expected.outputs:
            raise BundleError(f"{bundle.path}: the self-test expects nothing of {variant}")
        _require_face(bundle, selftest.inputs, expected)
        session = Session(bundle.graph(variant), threads=threads, run_seconds=limits.run_seconds)
        _require_inputs(bundle, session)
        # A graph of a fixed batch size could answer all rows, and no other number of them.
        for size in TIMED_ROWS:
            session.run({n: np.resize(a, (size, *a.shape[1:])) for n, a in selftest.inputs.items()})
        got = session.run(selftest.inputs)
        difference = compare(got, expected.outputs, expected.tolerances)
        if not difference.within:
            raise BundleError(
                f"{bundle.path}: {variant} does not reproduce its self-test on this CPU: "
                f"{difference.describe()}"
            )
        how = find_batch_dependence(
            session, bundle.manifest.inputs, selftest.inputs, expected, limits.largest_batch
        )
        if how is not None:
            raise BundleError(
                f"{bundle.path}: expected {variant} to answer a row whatever else is in its "
                f"batch; got another answer to golden rows {how}; export a graph without "
                f"operations across rows"
            )
    except (BundleError, GraphError) as error:
        is_transient = isinstance(error, RunTimeoutError)
        return Proof(variant, None, difference, str(error), is_transient)
    return Proof(variant, session, difference, "")


def _dtypes(manifest: Manifest) -> dict[str, str]:
    """The graph's inputs that the manifest promises, by name."""
    if manifest.all_numbers:
        return {FEATURES: "float32"}
    return {
        column.input_name: column.dtype if isinstance(column, Number) else _DTYPE_OF[column.type]
        for column in manifest.inputs
    }


def _require_inputs(bundle: Bundle, session: Session) -> None:
    """The graph takes what the manifest promises, no input more and none less."""
    promised = _dtypes(bundle.manifest)
    if session.inputs != promised:
        names = [*promised, *(name for name in session.inputs if name not in promised)]
        name = next(name for name in names if promised.get(name) != session.inputs.get(name))
        raise BundleError(
            f"{bundle.path}: expected a graph whose inputs are those of the manifest, "
            f"{name!r} as {promised.get(name, 'none of them')}; got "
            f"{session.inputs.get(name, 'no such input')}"
        )


def _golden_rows(bundle: Bundle, inputs: Arrays) -> int:
    """How many golden rows there are, of the inputs that the manifest promises."""
    dtypes = _dtypes(bundle.manifest)
    width = len(bundle.manifest.inputs) if bundle.manifest.all_numbers else 1
    found = {name: _dtype(array) for name, array in inputs.items()}
    shapes = {array.shape for array in inputs.values()}
    if found == dtypes and len(shapes) == 1 and (shape := shapes.pop())[1:] == (width,):
        rows: int = shape[0]
        return rows
    came = ", ".join(f"{name} {_dtype(array)} {array.shape}" for name, array in inputs.items())
    raise BundleError(
        f"{bundle.path}: expected golden rows of {len(bundle.manifest.inputs)} features, as the "
        f"manifest lists; got {came[:SHOWN]}{'...' * (len(came) > SHOWN)}"
    )


def _dtype(array: NDArray[Any]) -> str:
    return "str" if array.dtype.kind == "U" else str(array.dtype)


def _require_face(bundle: Bundle, inputs: Arrays, expected: Expected) -> None:
    """The self-test speaks of the inputs and answers that the manifest promises."""
    manifest = bundle.manifest
    rows = _golden_rows(bundle, inputs)
    if rows < FEWEST_GOLDEN_ROWS:
        raise BundleError(
            f"{bundle.path}: expected at least {FEWEST_GOLDEN_ROWS} golden rows to prove it by; "
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
