"""A chain of layers, each fed by the one before; a network is one, and so is every branch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.nn.layers.layer import Array, Layer


class Chain:
    """Layers in order. Without any, it passes on what it is given.

    Args:
        layers: from the input to the output.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)

    def widths(self, n_in: int) -> list[int]:
        """Numbers of values before, between and after the layers.

        Raises:
            ValueError: a layer cannot be fed what the one before it gives.
        """
        widths = [n_in]
        for layer in self.layers:
            widths.append(layer.outputs(widths[-1]))
        return widths

    def size(self, n_in: int) -> int:
        """Number of trained parameters when fed `n_in` inputs."""
        return sum(
            layer.size(width) for layer, width in zip(self.layers, self.widths(n_in), strict=False)
        )

    def bind(self, n_in: int, parameters: Array, gradients: Array) -> None:
        """Give each layer its views, one after the other."""
        start = 0
        for layer, width in zip(self.layers, self.widths(n_in), strict=False):
            here = slice(start, start + layer.size(width))
            layer.bind(width, parameters[here], gradients[here])
            start = here.stop

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw all parameters anew."""
        for layer in self.layers:
            layer.initialize(rng)

    def forward(self, x: Array, *, training: bool) -> Array:
        """Through all layers: `(n, n_in)` to a view of the last one's buffer, `(n, n_out)`."""
        for layer in self.layers:
            x = layer.forward(x, training=training)
        return x

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        """The chain rule through all layers, last to first; arguments as of `Layer.backward`."""
        flow: Array | None = gradient
        for i in range(len(self.layers) - 1, -1, -1):
            if flow is None:  # pragma: no cover - a layer broke its promise
                raise RuntimeError(f"expected a gradient from {self.layers[i + 1]!r}; got none")
            flow = self.layers[i].backward(flow, to_inputs=to_inputs or i > 0)
        return flow

    def __repr__(self) -> str:
        return repr(self.layers)
