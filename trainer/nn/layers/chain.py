"""A chain of layers: each layer's output is the next one's input.

Networks consist of a chain, and layers such as branches of several.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn.layers.layer import Array, Layer, Parameter


class Chain:
    """Layers in order: the outputs of each are the inputs of the next.

    An empty chain returns its input.

    Args:
        layers: Layers, from the input to the output.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)

    def widths(self, n_in: int) -> list[int]:
        """Return the number of values before, between and after the layers.

        Raises:
            ValueError: If a layer does not accept the number of outputs of the one before it.
        """
        widths = [n_in]
        for layer in self.layers:
            widths.append(layer.outputs(widths[-1]))
        return widths

    def size(self, n_in: int) -> int:
        """Return the number of trained parameters for `n_in` inputs."""
        return sum(
            layer.size(width) for layer, width in zip(self.layers, self.widths(n_in), strict=False)
        )

    def bind(self, n_in: int, parameters: Array, gradients: Array) -> None:
        """Bind each layer to its part of the two vectors; see `Layer.bind`."""
        start = 0
        for layer, width in zip(self.layers, self.widths(n_in), strict=False):
            stop = start + layer.size(width)
            layer.bind(width, parameters[start:stop], gradients[start:stop])
            start = stop

    def initialize(self, rng: np.random.Generator) -> None:
        """Set all parameters to initial values drawn from `rng`."""
        for layer in self.layers:
            layer.initialize(rng)

    def forward(self, x: Array, *, training: bool) -> Array:
        """Run x `(n, n_in)` through all layers; return a view of the last buffer, `(n, n_out)`."""
        for layer in self.layers:
            x = layer.forward(x, training=training)
        return x

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        """Run the backward pass, from the last layer to the first; see `Layer.backward`."""
        flow: Array | None = gradient
        for i in range(len(self.layers) - 1, -1, -1):
            if flow is None:  # pragma: no cover - only a layer with a bug returns None here
                raise RuntimeError(f"expected a gradient from {self.layers[i + 1]!r}; got none")
            flow = self.layers[i].backward(flow, to_inputs=to_inputs or i > 0)
        return flow

    def __repr__(self) -> str:
        return repr(self.layers)


class CompositeLayer(Layer):
    """A layer whose parameters are those of its chains, one chain after the other.

    Attributes:
        chains: Chains of layers; set by the subclass.
    """

    chains: list[Chain]

    def initialize(self, rng: np.random.Generator) -> None:
        for chain in self.chains:
            chain.initialize(rng)

    def parameters(self) -> list[Parameter]:
        return [p for layer in self.list_sublayers() for p in layer.parameters()]

    def state(self) -> dict[str, NDArray[Any]]:
        return {
            f"{i}.{name}": array
            for i, layer in enumerate(self.list_sublayers())
            for name, array in layer.state().items()
        }

    def generators(self) -> list[np.random.Generator]:
        return [g for layer in self.list_sublayers() for g in layer.generators()]

    def list_sublayers(self) -> list[Layer]:
        return [
            i for chain in self.chains for layer in chain.layers for i in layer.list_sublayers()
        ]
