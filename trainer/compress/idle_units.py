"""Removal of idle units: inputs and units that add nothing to the answers.

An input or a unit is idle if it is constant on the training rows, which includes dead units, or if
another unit of its layer has the same values, up to a factor and an offset.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.compress.subnetwork import (
    Floats,
    Matrix,
    compute_layer_inputs,
    compute_means,
    copy_parameters,
    extract_subnetwork,
)
from trainer.nn import Network

# Largest range of a constant, relative to its largest value: float32 rounds even a constant result.
CONSTANT_TOLERANCE = 4 * float(np.finfo(np.float32).eps)
# Share of a unit's deviation that a duplicate may leave unexplained, in the precision of float32.
DUPLICATE_TOLERANCE = 4e-6


def remove_idle_units(network: Network, x: Floats) -> Network:
    """Return a network without idle inputs and units. On `x`, its answers differ by rounding only.

    A constant input or unit leaves its mean in the biases of the next layer. A duplicate
    aⱼ = c aᵢ + d leaves c times its outgoing weights to the unit i, and d in the biases. Units are
    duplicates if they have equal incoming weights, or c > 0 times those before a ReLU, or the
    negative ones before a tanh. One input and one unit of each hidden layer remain in any case.

    Args:
        network: A dense network as returned by `to_dense`.
        x: Rows as the network takes them, float32 `(n, n_inputs)`, n ≥ 1. With few rows, some
            units are constant by chance.

    Raises:
        ValueError: If the network is not a dense network.
    """
    weights, biases = copy_parameters(network)
    *layer_inputs, _ = compute_layer_inputs(network, x)
    means = compute_means(layer_inputs)
    remaining_inputs = []
    for index, values in enumerate(layer_inputs):
        is_idle = np.ptp(values, axis=0) <= CONSTANT_TOLERANCE * np.abs(values).max(axis=0)
        # Features are not merged: equal ones in the training rows can differ in a request.
        if index:
            mean, W, b = means[index], weights[index], biases[index]
            for duplicate, unit, factor in _find_duplicates(values - mean, ~is_idle):
                W[unit] += factor * W[duplicate]
                b -= factor * mean[unit] * W[duplicate]
                is_idle[duplicate] = True
        is_idle[0] &= not is_idle.all()
        remaining_inputs.append(np.flatnonzero(~is_idle))
    return extract_subnetwork(network, weights, biases, means, remaining_inputs)


def _find_duplicates(
    deviations: Matrix, is_eligible: NDArray[np.bool_]
) -> list[tuple[int, int, float]]:
    """Return each unit that is a multiple of an earlier one, that unit, and the factor.

    A unit of which another one is a duplicate is itself not a duplicate.

    Args:
        deviations: Deviation of each unit from its mean, float64 `(n, units)`.
        is_eligible: Mask of the units that can be duplicates or have some, bool `(units,)`.
    """
    products = deviations.T @ deviations
    squares = np.where(is_eligible, np.diagonal(products), 1)
    explained = np.square(products) / np.outer(squares, squares)
    is_equal = (1 - explained <= DUPLICATE_TOLERANCE**2) & np.outer(is_eligible, is_eligible)
    np.fill_diagonal(is_equal, True)
    first_equals = is_equal.argmax(axis=1)
    return [
        (unit, first, float(products[unit, first] / squares[first]))
        for unit, first in enumerate(first_equals.tolist())
        if first < unit and first_equals[first] == first
    ]
