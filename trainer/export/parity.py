"""Parity: the graph, run by the very code that will answer, against the NumPy forward pass.

Both sides compute in float32 but add up in different orders, so their answers may differ by what
float32 rounds away, and by no more. How much that is follows each row through the network: a sum of
n products is off by about √n ε Σ|aᵢwᵢ| (Higham and Mary 2019, https://doi.org/10.1137/18M1226312),
less where it is added up in lanes; errors e in a layer's input reach its output as √(e² W²), being
nearly independent; an activation makes them larger by its slope at most. A probability p then
moves by at most p(1 − p) times the difference of two logits, to first order.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays, Parity
from serving.runtime import GraphSession, OutputDifference, compare_outputs, run_in_slices
from trainer.data.records import Records
from trainer.export.folding import Affine, Fork, Lookup, Operation, Scale, fold_network
from trainer.model import Model
from trainer.nn import Activation, FeatureSelect, IntegerDense, Quantization
from trainer.nn.layers.integer_dense import MAX_BYTE

EXP_TOLERANCE = 1e-6  # of the exp and the division behind a probability, on either side
EPSILON = float(np.finfo(np.float32).eps)
LANES = 16  # partial sums that both sides keep, at least, in a long sum
# Errors are not quite independent. On 120 random networks with rows up to 1000 deviations out, the
# largest difference was 0.1 of the estimate in the median and 4 times it at worst, where every
# weight was positive.
SAFETY = 8
EXACT = ("identity", "relu")  # activations that round nothing
BATCHES = (1, 7, 256)  # rows given to the graph at a time


class ParityError(ArithmeticError):
    """The exported graph does not answer as the NumPy forward pass does; it must not ship."""


def check_parity(
    model: Model, session: GraphSession, held_out: Records, synthetic: Records
) -> Parity:
    """Compare on held-out and synthetic rows: each alone, in sevens, in batches of 256, and none.

    Args:
        model: the reference.
        session: the exported graph.
        held_out: records the model will be judged on, at least one.
        synthetic: random and extreme ones.

    Returns:
        The largest differences over `held_out`, whatever the batch.

    Raises:
        ParityError: a difference is larger than float32 rounding explains, or a label differs where
            no rounding could tip it.
    """
    for rows in (held_out.take(slice(0)), synthetic):
        _compare_in_batches(model, session, rows)
    found = _compare_in_batches(model, session, held_out)
    agreements = [d.label_agreement for d in found if d.label_agreement is not None]
    return Parity(
        rows=len(held_out),
        max_abs=max(d.max_abs for d in found),
        max_rel=max(d.max_rel for d in found),
        label_agreement=min(agreements) if agreements else None,
    )


def _compare_in_batches(
    model: Model, session: GraphSession, rows: Records
) -> list[OutputDifference]:
    expected, allowed = model.answers(rows), compute_tolerances(model, rows)
    firm = np.True_ if model.classes is None else find_decided_rows(model, rows)
    inputs, found = rows.inputs(), []
    for size in BATCHES:
        got = run_in_slices(session, inputs, size)
        difference = compare_outputs(got, expected, allowed)
        if model.classes is not None:
            right = ~firm & _excusable(model.classes, got["label"], expected, allowed)
            got["label"] = np.where(right, expected["label"], got["label"])
        if not compare_outputs(got, expected, allowed).is_within_tolerance:
            raise ParityError(
                f"expected the exported graph to answer {len(rows)} rows as the NumPy forward pass "
                f"does; got max |Δ| {difference.max_abs:.1e} and labels equal "
                f"{difference.label_agreement} in batches of {size}; this is a fault of the "
                f"export: report it"
            )
        found.append(difference)
    return found


def compute_tolerances(model: Model, records: Records) -> Arrays:
    """The largest |Δ| that float32 explains in each float output: float32, of its shape."""
    answers = model.answers(records)
    rounding = _logit_rounding(model, records)
    if model.loss.link == "exp":
        allowed = answers["value"].astype(np.float64) * (np.expm1(rounding) + 8 * EPSILON)
        return {"value": allowed.astype(np.float32)}
    if model.target_scaler is not None and model.has_log_target:
        value, offset = answers["value"].astype(np.float64), np.abs(model.target_scaler.offset)
        sizes = np.abs(np.log(value.clip(np.finfo(np.float32).tiny))) + offset
        moved = model.target_scaler.scale * rounding + 2 * EPSILON * sizes
        return {"value": (value * (np.expm1(moved) + 8 * EPSILON)).astype(np.float32)}
    if model.target_scaler is not None:
        value, offset = answers["value"], model.target_scaler.offset
        allowed = model.target_scaler.scale * rounding + 2 * EPSILON * (
            np.abs(value) + np.abs(offset)
        )
        return {"value": allowed.astype(np.float32)}
    p = answers["probabilities"].astype(np.float64)
    largest = 2 * rounding.max(axis=1, keepdims=True)  # between two logits, each off its own way
    return {"probabilities": (EXP_TOLERANCE + p * (1 - p) * largest).astype(np.float32)}


def find_decided_rows(model: Model, records: Records) -> NDArray[np.bool_]:
    """Rows of a classifier whose label no rounding can change, bool `(n,)`.

    The others are ties, as far as float32 can tell: either label is right.
    """
    p = model.answers(records)["probabilities"]
    if model.task == "binary":
        lead = np.abs(p[:, model.positive_index] - np.float32(model.threshold))
    else:
        first = np.partition(p, -2, axis=1)
        lead = first[:, -1] - first[:, -2]
    firm: NDArray[np.bool_] = lead > 2 * compute_tolerances(model, records)["probabilities"].max(
        axis=1
    )
    return firm


def _excusable(
    classes: NDArray[Any], label: NDArray[Any], expected: Arrays, allowed: Arrays
) -> NDArray[np.bool_]:
    """Labels that rounding can explain where it decides: of a class that is level with the first.

    Of two classes each is, whatever the threshold; bool `(n,)`.
    """
    p = expected["probabilities"]
    place = np.searchsorted(classes, label).clip(max=len(classes) - 1)
    known: NDArray[np.bool_] = classes[place] == label
    if len(classes) == 2:
        return known
    behind = p.max(axis=1) - np.take_along_axis(p, place[:, None], axis=1)[:, 0]
    level: NDArray[np.bool_] = behind <= 2 * allowed["probabilities"].max(axis=1)
    return known & level


def _logit_rounding(model: Model, records: Records) -> NDArray[np.float64]:
    """How far two float32 forward passes may differ in each logit, `(n, n_outputs)`."""
    a = model.encoder.transform(records).astype(np.float64)
    _, error = _through(
        fold_network(model.network.layers), a, EPSILON * (np.abs(a) + model.encoder.span)
    )
    error = error / model.temperature
    if model.logit_bias is not None:
        error = error + EPSILON * np.abs(model.logit_bias)
    return np.asarray(SAFETY * error)


Rounded = tuple[NDArray[np.float64], NDArray[np.float64]]  # values, and how far off they may be


def _through(
    operations: list[Operation], a: NDArray[np.float64], error: NDArray[np.float64]
) -> Rounded:
    for operation in operations:
        match operation:
            case Affine(W, b, activation):
                a, error = _through_affine(W.astype(np.float64), b.astype(np.float64), a, error)
                a, error = _through_activation(activation, a, error)
            case Scale(scale, shift, activation):
                s = scale.astype(np.float64)
                own = 2 * EPSILON * (np.abs(a * s) + np.abs(shift))
                a, error = a * s + shift, np.sqrt((error * s) ** 2 + own**2)
                a, error = _through_activation(activation, a, error)
            case Fork(parts):
                ends = [_through(inner, a[:, part], error[:, part]) for part, inner in parts]
                a, error = (np.concatenate(joined, axis=1) for joined in zip(*ends, strict=True))
            case FeatureSelect():
                a, error = a[:, operation.columns], error[:, operation.columns]
            case IntegerDense():
                a, error = _through_integers(operation, a, error)
            case Lookup(passed, tables):
                found = [
                    table[places.astype(np.int64)]
                    for table, places in zip(tables, a[:, passed:].T, strict=True)
                ]
                a = np.concatenate([a[:, :passed], *found], axis=1)
                error = np.concatenate(
                    [error[:, :passed], np.zeros((len(a), a.shape[1] - passed))], axis=1
                )
    return a, error


def _through_affine(
    W: NDArray[np.float64],
    b: NDArray[np.float64],
    a: NDArray[np.float64],
    error: NDArray[np.float64],
) -> Rounded:
    terms = np.abs(a) @ np.abs(W) + np.abs(b)
    own = EPSILON * max(1, np.sqrt(len(W) / LANES)) * terms
    return a @ W + b, np.sqrt(error**2 @ W**2 + own**2)


def _through_integers(
    layer: IntegerDense, a: NDArray[np.float64], error: NDArray[np.float64]
) -> Rounded:
    """Whole numbers are exact; only what lies between two of them may be rounded either way."""
    x, error = _to_bytes(layer.source, a, error)
    W = layer.W * layer.scales.astype(np.float64)
    z = x @ W + layer.b * (float(layer.source.scale) * layer.scales.astype(np.float64))
    z, error = _through_activation(
        layer.activation, z, np.sqrt(error**2 @ W**2 + (2 * EPSILON * z) ** 2)
    )
    return (z, error) if layer.target is None else _to_bytes(layer.target, z, error)


def _to_bytes(
    quantization: Quantization, a: NDArray[np.float64], error: NDArray[np.float64]
) -> Rounded:
    """Values rounded to bytes; what may lie beyond the middle of two may be off by a step, or more.

    As far as it was off before, that is: a byte of the layer before may be many of this one.
    """
    scale, zero_point = float(quantization.scale), quantization.zero_point
    steps = a / scale
    reach = SAFETY * error / scale + 4 * EPSILON * np.abs(steps)
    close = np.abs(steps - np.floor(steps) - 0.5) <= reach
    whole = np.rint(steps + zero_point).clip(0, MAX_BYTE) - zero_point
    inside = np.abs(steps + zero_point - MAX_BYTE / 2) <= MAX_BYTE / 2 + 1 + reach
    return whole * scale, np.where(close & inside, np.maximum(error, scale), 0)


def _through_activation(
    activation: Activation, z: NDArray[np.float64], error: NDArray[np.float64]
) -> Rounded:
    a = np.empty_like(z)
    copy.deepcopy(activation).value(z, out=a)  # its buffers are of the network's dtype
    if activation.name in EXACT:
        return a, error
    own = EPSILON * np.maximum(1, np.abs(z))  # of exp, erf and what is made of them
    return a, np.sqrt((activation.max_slope * error) ** 2 + own**2)
