"""Data-driven initialization: the first weights and biases of dense layers, from training rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn.layers import Dense, Layer, Members
from trainer.nn.network import Network

Array = NDArray[Any]

N_MIXED_ROWS = 5
MAX_ROUNDING = 100  # units of rounding by which pre-activations of equal rows may differ


def initialize_from_rows(network: Network, x: Array, rng: np.random.Generator) -> None:
    """Initialize each dense layer from its inputs on the training rows, the first layer first.

    The weights are normal, scaled so that the pre-activations of each layer have the standard
    deviation 1 on the rows. The bias of each unit is minus its pre-activation of a random convex
    combination of five rows, so that its activation bends near some training rows. Each member of
    a network has its own draws. Layers inside `Branches` keep their initial weights. Holzmüller et
    al. 2024, https://arxiv.org/abs/2407.04491, appendix A.1; the biases after Steinwart 2019,
    https://arxiv.org/abs/1903.11482, section 4.

    Args:
        network: Network, changed in place.
        x: Training rows as the network takes them, `(n, n_inputs)`, n ≥ 1.
        rng: Generator of the weights and of the combinations.
    """
    _initialize_layers(network.layers, x, rng)


def _initialize_layers(layers: Sequence[Layer], x: Array, rng: np.random.Generator) -> None:
    # Rows that vary less count as constant: their deviation is rounding, or dividing by it would
    # overflow.
    smallest, rounding = np.sqrt(np.finfo(x.dtype).tiny), MAX_ROUNDING * np.finfo(x.dtype).eps
    for layer in layers:
        if isinstance(layer, Members):
            for chain in layer.chains:
                _initialize_layers(chain.layers, x, rng)
            return  # members are the last layer of a network
        if isinstance(layer, Dense):
            layer.W[...] = rng.standard_normal(layer.W.shape)
            z = x @ layer.W
            deviation = float(z.std(axis=0, dtype=np.float64).mean())
            if deviation > max(smallest, rounding * float(np.abs(z).mean())):
                layer.W /= deviation
                z /= deviation
            layer.b[...] = -_mix_rows(z, rng)
        x = layer.forward(x, training=False).copy()


def _mix_rows(z: Array, rng: np.random.Generator) -> Array:
    """Return for each column a random convex combination of the values in five random rows."""
    n_rows, n_units = z.shape
    rows = rng.integers(n_rows, size=(N_MIXED_ROWS, n_units))
    shares = rng.dirichlet(np.ones(N_MIXED_ROWS), size=n_units).T
    combination: Array = (shares * np.take_along_axis(z, rows, axis=0)).sum(axis=0)
    return combination
