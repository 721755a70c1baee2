"""The base class of layers that consist of several chains of layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn.layers.chain import Chain
from trainer.nn.layers.layer import Layer, Parameter


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
