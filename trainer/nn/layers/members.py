"""Members: networks with different initial weights, whose outputs are averaged in a prediction.

The average of a few networks has a lower error than each of them, since their errors differ
(Hansen and Salamon 1990, https://doi.org/10.1109/34.58871).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.nn.activations import Activation
from trainer.nn.layers.chain import Chain, CompositeLayer
from trainer.nn.layers.layer import Array, Layer, require_forward


class Members(CompositeLayer):
    """Several networks as the last layer: all take the same inputs, and the outputs are averaged.

    They are averaged only in predictions. In training each member has its own loss, so that it is
    trained as if it were alone: n rows have `n_members · n` outputs, those of the first member
    first.

    Args:
        members: Layers of each member, at least one; the same kinds of layers for each.
    """

    settings = ("chains", "n_members")

    def __init__(self, *members: Sequence[Layer]) -> None:
        if not members or not members[0]:
            raise ValueError(
                f"expected at least one member, of at least one layer; got {list(members)}"
            )
        super().__init__()
        self.n_members = len(members)
        self.chains = [Chain(layers) for layers in members]
        for chain in self.chains:
            if repr(chain) != repr(self.chains[0]):
                raise ValueError(
                    f"expected members with the same layers; got {self.chains[0]!r} and {chain!r}"
                )
        if any(layer.n_members > 1 for layer in self.chains[0].layers):
            raise ValueError(f"expected members without members of their own; got {members[0]}")

    @property
    def output_activation(self) -> Activation | None:
        return self.chains[0].layers[-1].output_activation

    def outputs(self, n_in: int) -> int:
        return self.chains[0].widths(n_in)[-1]

    def size(self, n_in: int) -> int:
        return self.n_members * self.chains[0].size(n_in)

    def bind(self, n_in: int, parameters: Array, gradients: Array) -> None:
        super().bind(n_in, parameters, gradients)
        parts = (array.reshape(self.n_members, -1) for array in (parameters, gradients))
        for chain, *views in zip(self.chains, *parts, strict=True):
            chain.bind(n_in, *views)

    def forward(self, x: Array, *, training: bool) -> Array:
        """Return the outputs for the input x `(n, n_in)`.

        Returns:
            Outputs of all members in training, `(n_members · n, n_out)`, else their mean,
            `(n, n_out)`.
        """
        self._x, self._training, n = x, training, len(x)
        if training:
            out = self._buffers.get("outputs", (self.n_members * n, self.n_out), self.dtype)
            for k, chain in enumerate(self.chains):
                np.copyto(out[k * n : (k + 1) * n], chain.forward(x, training=True))
            return out
        out = self._buffers.get("mean", (n, self.n_out), self.dtype)
        out.fill(0)
        for chain in self.chains:
            np.add(out, chain.forward(x, training=False), out=out)
        np.divide(out, self.n_members, out=out)
        return out

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        """Write the gradients of the parameters; see `Layer.backward`.

        Args:
            gradient: ∂L/∂output, in the shape of the output of the last forward pass.
            to_inputs: Whether to compute ∂L/∂x, the sum over the members.
        """
        x = require_forward(self._x)
        n, dx = len(x), None
        if not self._training:
            np.divide(gradient, self.n_members, out=gradient)
        if to_inputs:
            dx = self._buffers.get("dx", x.shape, self.dtype)
            dx.fill(0)
        for k, chain in enumerate(self.chains):
            # A chain may overwrite the gradient that it gets.
            part = gradient[k * n : (k + 1) * n] if self._training else gradient.copy()
            flow = chain.backward(part, to_inputs=to_inputs)
            if dx is not None and flow is not None:
                np.add(dx, flow, out=dx)
        return dx

    def summarize(self) -> list[tuple[str, int, int, int]]:
        return [
            (f"{self.n_members} × {name}", n_in, n_out, self.n_members * size)
            for layer in self.chains[0].layers
            for name, n_in, n_out, size in layer.summarize()
        ]

    def __repr__(self) -> str:
        return f"Members({self.n_members} × {self.chains[0]!r})"
