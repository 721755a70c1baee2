"""The tolerances of the parity check: how much float32 rounding can change each answer.

The graph and NumPy both compute in float32, but add in different orders. The possible difference is
followed through the network for each row. A sum of n products has an error of about √n ε Σ|aᵢwᵢ|
(Higham and Mary 2019, https://doi.org/10.1137/18M1226312), or less if it is added up in several
partial sums. Errors e of a layer's inputs cause an error √(e² W²) of its output, since they are
nearly independent. An activation multiplies them by its largest slope at most. A probability p
changes by at most p(1 − p) times the change of the difference of two logits, to first order.
"""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays
from trainer.data.records import Records
from trainer.export.folding import (
    Affine,
    Average,
    Fork,
    Lookup,
    Operation,
    Periodic,
    Scale,
    fold_network,
)
from trainer.model import Model
from trainer.nn import Activation, FeatureSelect, IntegerDense, Quantization
from trainer.nn.layers.integer_dense import MAX_BYTE

Floats = NDArray[np.float64]
# Values and the possible error of each, both float64 `(n, columns)`.
ValuesAndErrors = tuple[Floats, Floats]

EPSILON = float(np.finfo(np.float32).eps)
# Error of the exponential and the division behind a probability.
PROBABILITY_TOLERANCE = 1e-6
# Relative error of the exponential behind a value, in units of EPSILON.
EXP_ERROR = 8
# Number of partial sums that NumPy and ONNX Runtime keep in a long sum, at least.
PARTIAL_SUMS = 16
# Factor for errors that are not quite independent. On 120 random networks with rows up to 1000
# standard deviations from the mean, the largest difference was 0.1 times the estimate in the
# median, and 4 times it in the worst case, in which all weights were positive.
SAFETY_FACTOR = 8
EXACT_ACTIVATIONS = ("identity", "relu")  # activations that do not round


def compute_tolerances(model: Model, records: Records) -> Arrays:
    """Return the largest difference that float32 rounding can cause.

    Returns:
        Tolerances of each float output, by its name; float32, in the shape of the output.
    """
    answers = model.answers(records)
    errors = _estimate_logit_errors(model, records)
    if model.task != "regression":
        p = answers["probabilities"].astype(np.float64)
        # Two logits may have errors in opposite directions.
        max_change = 2 * errors.max(axis=1, keepdims=True)
        tolerances = PROBABILITY_TOLERANCE + p * (1 - p) * max_change
        return {"probabilities": tolerances.astype(np.float32)}
    value = answers["value"]
    if model.loss.link == "exp":
        tolerances = value.astype(np.float64) * (np.expm1(errors) + EXP_ERROR * EPSILON)
    elif model.target_scaler is None:
        raise ValueError("expected target statistics in a regression model; got none")
    elif model.has_log_target:
        value, offset = value.astype(np.float64), np.abs(model.target_scaler.offset)
        sizes = np.abs(np.log(value.clip(np.finfo(np.float32).tiny))) + offset
        log_errors = model.target_scaler.scale * errors + 2 * EPSILON * sizes
        tolerances = value * (np.expm1(log_errors) + EXP_ERROR * EPSILON)
    else:
        sizes = np.abs(value) + np.abs(model.target_scaler.offset)
        tolerances = model.target_scaler.scale * errors + 2 * EPSILON * sizes
    return {"value": tolerances.astype(np.float32)}


def _estimate_logit_errors(model: Model, records: Records) -> Floats:
    """Return how much two float32 forward passes may differ in each logit, `(n, n_outputs)`."""
    a = model.encoder.transform(records).astype(np.float64)
    input_errors = EPSILON * (np.abs(a) + model.encoder.span)
    _, errors = _propagate(fold_network(model.network.layers), a, input_errors)
    errors = errors / model.temperature
    if model.logit_bias is not None:
        errors = errors + EPSILON * np.abs(model.logit_bias)
    return np.asarray(SAFETY_FACTOR * errors)


def _propagate(operations: list[Operation], a: Floats, errors: Floats) -> ValuesAndErrors:
    """Return the outputs of operations and their errors, given the inputs and theirs."""
    for operation in operations:
        match operation:
            case Affine(W, b, activation):
                a, errors = _propagate_affine(W.astype(np.float64), b.astype(np.float64), a, errors)
                a, errors = _propagate_activation(activation, a, errors)
            case Scale(scale, shift, activation):
                s = scale.astype(np.float64)
                own_errors = 2 * EPSILON * (np.abs(a * s) + np.abs(shift))
                a, errors = a * s + shift, np.sqrt((errors * s) ** 2 + own_errors**2)
                a, errors = _propagate_activation(activation, a, errors)
            case Fork(branches):
                outputs = [
                    _propagate(branch, a[:, columns], errors[:, columns])
                    for columns, branch in branches
                ]
                a, errors = (np.concatenate(parts, axis=1) for parts in zip(*outputs, strict=True))
            case Average(members):
                # Members share the errors of their inputs, so that theirs are not independent.
                outputs = [_propagate(member, a, errors) for member in members]
                a, errors = (np.mean(parts, axis=0) for parts in zip(*outputs, strict=True))
                errors = errors + EPSILON * np.abs(a)
            case FeatureSelect(columns=columns):
                a, errors = a[:, columns], errors[:, columns]
            case IntegerDense():
                a, errors = _propagate_integer_dense(operation, a, errors)
            case Lookup(n_passed, tables):
                vectors = [
                    table[indices.astype(np.int64)]
                    for table, indices in zip(tables, a[:, n_passed:].T, strict=True)
                ]
                a = np.concatenate([a[:, :n_passed], *vectors], axis=1)
                # The tables are the same on both sides.
                table_errors = np.zeros((len(a), a.shape[1] - n_passed))
                errors = np.concatenate([errors[:, :n_passed], table_errors], axis=1)
            case Periodic():
                waves, wave_errors = _propagate_periodic(operation, a, errors)
                a = np.concatenate([waves, a], axis=1)
                errors = np.concatenate([wave_errors, errors], axis=1)
    return a, errors


def _propagate_periodic(operation: Periodic, a: Floats, errors: Floats) -> ValuesAndErrors:
    """Return the embeddings of the first columns, without the columns themselves."""
    n, units, _ = operation.W.shape
    vectors, vector_errors = np.empty((len(a), n, units)), np.empty((len(a), n, units))
    for k in range(n):  # one by one, since the cosines of all numbers take much memory
        frequencies = 2 * np.pi * operation.frequencies[k].astype(np.float64)
        turned = frequencies * a[:, k, None]
        z = turned + operation.phases[k]
        z_errors = np.abs(frequencies) * errors[:, k, None]
        z_errors += EPSILON * (2 * np.abs(turned) + np.abs(z))
        # A cosine has a slope of at most 1, and no error can be more than from -1 to 1.
        wave_errors = np.minimum(z_errors, 2) + EPSILON
        W, b = operation.W[k].T.astype(np.float64), operation.b[k].astype(np.float64)
        vectors[:, k], vector_errors[:, k] = _propagate_affine(W, b, np.cos(z), wave_errors)
    return vectors.reshape(len(a), n * units), vector_errors.reshape(len(a), n * units)


def _propagate_affine(W: Floats, b: Floats, a: Floats, errors: Floats) -> ValuesAndErrors:
    magnitudes = np.abs(a) @ np.abs(W) + np.abs(b)
    own_errors = EPSILON * max(1, np.sqrt(len(W) / PARTIAL_SUMS)) * magnitudes
    return a @ W + b, np.sqrt(errors**2 @ W**2 + own_errors**2)


def _propagate_integer_dense(layer: IntegerDense, a: Floats, errors: Floats) -> ValuesAndErrors:
    """Integer sums are exact, so that only the quantization and the rescaling have errors."""
    x, errors = _propagate_quantization(layer.source, a, errors)
    scales = layer.scales.astype(np.float64)
    W = layer.W * scales
    z = x @ W + layer.b * (float(layer.source.scale) * scales)
    errors = np.sqrt(errors**2 @ W**2 + (2 * EPSILON * z) ** 2)
    z, errors = _propagate_activation(layer.activation, z, errors)
    return (z, errors) if layer.target is None else _propagate_quantization(layer.target, z, errors)


def _propagate_quantization(
    quantization: Quantization, a: Floats, errors: Floats
) -> ValuesAndErrors:
    """Return the quantized values; they are exact unless a value may be rounded either way.

    Such a value has an error of one step, or of its own error if that is larger: one step of the
    previous layer may be several steps of this quantization.
    """
    scale, zero_point = float(quantization.scale), quantization.zero_point
    steps = a / scale
    step_errors = SAFETY_FACTOR * errors / scale + 4 * EPSILON * np.abs(steps)
    may_round_either_way = np.abs(steps - np.floor(steps) - 0.5) <= step_errors
    rounded_steps = np.rint(steps + zero_point).clip(0, MAX_BYTE) - zero_point
    is_in_range = np.abs(steps + zero_point - MAX_BYTE / 2) <= MAX_BYTE / 2 + 1 + step_errors
    errors = np.where(may_round_either_way & is_in_range, np.maximum(errors, scale), 0)
    return rounded_steps * scale, errors


def _propagate_activation(activation: Activation, z: Floats, errors: Floats) -> ValuesAndErrors:
    a = np.empty_like(z)
    # A copy, since the buffers of the network's own activation are float32.
    copy.deepcopy(activation).value(z, out=a)
    if activation.name in EXACT_ACTIVATIONS:
        return a, errors
    own_errors = EPSILON * np.maximum(1, np.abs(z))  # of functions such as exp and erf
    return a, np.sqrt((activation.max_slope * errors) ** 2 + own_errors**2)
