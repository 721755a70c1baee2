"""Parity: the graph, run by the very code that will answer, against the NumPy forward pass.

Both sides compute in float32 but add up in different orders, so their answers may differ by what
float32 rounds away, and by no more. How much that is follows each row through the network: a sum of
n products is off by about √n ε Σ|aᵢwᵢ| (Higham and Mary 2019, https://doi.org/10.1137/18M1226312),
less where it is added up in lanes; errors e in a layer's input reach its output as √(e² W²), being
nearly independent; and no activation makes them larger. A probability p then moves by at most
p(1 − p) times the difference of two logits, to first order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays, Parity
from serving.runtime import Difference, Session, compare
from trainer.model import Model

EXP_TOLERANCE = 1e-6  # of the exp and the division behind a probability, on either side
EPSILON = float(np.finfo(np.float32).eps)
LANES = 16  # partial sums that both sides keep, at least, in a long sum
# Errors are not quite independent. On 120 random networks with rows up to 1000 deviations out, the
# largest difference was 0.1 of the estimate in the median and 4 times it at worst, where every
# weight was positive.
SAFETY = 8
BATCHES = (1, 7, 256)


class ParityError(ArithmeticError):
    """The exported graph does not answer as the NumPy forward pass does; it must not ship."""


def check_parity(
    model: Model, session: Session, held_out: NDArray[np.float32], synthetic: NDArray[np.float32]
) -> Parity:
    """Compare on held-out and synthetic rows, alone and in batches.

    Args:
        model: the reference.
        session: the exported graph.
        held_out: rows the model will be judged on, `(n, n_features)`.
        synthetic: random and extreme rows, `(m, n_features)`.

    Returns:
        The largest differences over `held_out`.

    Raises:
        ParityError: a difference is larger than float32 rounding explains, or a label differs.
    """
    for rows in (held_out, synthetic):
        for batch in (rows[:0], *(rows[:size] for size in BATCHES), rows):
            _require(model, session, batch)
    found = _difference(model, session, held_out)
    return Parity(
        rows=found.rows,
        max_abs=found.max_abs,
        max_rel=found.max_rel,
        label_agreement=found.label_agreement,
    )


def tolerances(model: Model, features: NDArray[np.float32]) -> Arrays:
    """The largest |Δ| that float32 explains in each float output: float32, of its shape."""
    answers = model.answers(features)
    rounding = _logit_rounding(model, features)
    if model.targets is not None:
        value, mean = answers["value"], model.targets.mean
        allowed = model.targets.scale * rounding + 2 * EPSILON * (np.abs(value) + np.abs(mean))
        return {"value": allowed.astype(np.float32)}
    p = answers["probabilities"].astype(np.float64)
    largest = 2 * rounding.max(axis=1, keepdims=True)  # between two logits, each off its own way
    return {"probabilities": (EXP_TOLERANCE + p * (1 - p) * largest).astype(np.float32)}


def _logit_rounding(model: Model, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far two float32 forward passes may differ in each logit, `(n, n_outputs)`."""
    mean, scale = (a.astype(np.float64) for a in (model.features.mean, model.features.scale))
    a = (features - mean) / scale
    error = EPSILON * np.abs(a)
    for layer in model.network.layers:
        W, b = layer.W.astype(np.float64), layer.b.astype(np.float64)
        terms = np.abs(a) @ np.abs(W) + np.abs(b)
        own = EPSILON * max(1, np.sqrt(len(W) / LANES)) * terms
        error = np.sqrt(error**2 @ W**2 + own**2)
        a = a @ W + b
        layer.activation.value(a, out=a)
    return np.asarray(SAFETY * error)


def _difference(model: Model, session: Session, rows: NDArray[np.float32]) -> Difference:
    return compare(session.run({"features": rows}), model.answers(rows), tolerances(model, rows))


def _require(model: Model, session: Session, rows: NDArray[np.float32]) -> None:
    found = _difference(model, session, rows)
    if not found.within:
        raise ParityError(
            f"expected the exported graph to answer as the NumPy forward pass on a batch of "
            f"{len(rows)}; got max |Δ| {found.max_abs:.1e}, labels equal {found.label_agreement}; "
            f"this is a fault of the export: report it"
        )
