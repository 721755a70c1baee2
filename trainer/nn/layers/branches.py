"""Parallel branches: groups of inputs, each with its own layers, whose outputs are concatenated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.nn.layers.chain import Chain, CompositeLayer
from trainer.nn.layers.layer import Array, Layer, require_forward


class Branches(CompositeLayer):
    """A layer that splits its inputs among chains of layers and concatenates their outputs.

    In `Branches((64, [Dense(32, "relu")]), (3, []))` the first 64 inputs go to a dense layer and
    the other three are passed on unchanged: 35 outputs.

    Args:
        branches: Number of inputs and layers of each branch.
    """

    settings = ("widths", "chains")

    def __init__(self, *branches: tuple[int, Sequence[Layer]]) -> None:
        if not branches or any(width < 1 for width, _ in branches):
            raise ValueError(
                f"expected branches of at least 1 input each; got {[w for w, _ in branches]}"
            )
        if any(layer.n_members > 1 for _, layers in branches for layer in layers):
            raise ValueError(f"expected branches without members; got {list(branches)}")
        super().__init__()
        self.widths = [width for width, _ in branches]
        self.chains = [Chain(layers) for _, layers in branches]

    def outputs(self, n_in: int) -> int:
        if n_in != sum(self.widths):
            raise ValueError(
                f"expected {' + '.join(map(str, self.widths))} = {sum(self.widths)} inputs for the "
                f"branches; got {n_in}"
            )
        return sum(c.widths(w)[-1] for w, c in zip(self.widths, self.chains, strict=True))

    def size(self, n_in: int) -> int:
        return sum(c.size(w) for w, c in zip(self.widths, self.chains, strict=True))

    def bind(self, n_in: int, parameters: Array, gradients: Array) -> None:
        super().bind(n_in, parameters, gradients)
        # The columns of the input and of the output of each branch.
        self._columns: list[tuple[slice, slice]] = []
        start = read = written = 0
        for width, chain in zip(self.widths, self.chains, strict=True):
            stop = start + chain.size(width)
            chain.bind(width, parameters[start:stop], gradients[start:stop])
            inputs, outputs = (
                slice(read, read + width),
                slice(written, written + chain.widths(width)[-1]),
            )
            self._columns.append((inputs, outputs))
            start, read, written = stop, inputs.stop, outputs.stop

    def forward(self, x: Array, *, training: bool) -> Array:
        self._x = x
        out = self._buffers.get("out", (len(x), self.n_out), self.dtype)
        for chain, (inputs, outputs) in zip(self.chains, self._columns, strict=True):
            np.copyto(out[:, outputs], chain.forward(x[:, inputs], training=training))
        return out

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        x = require_forward(self._x)
        out = self._buffers.get("dx", x.shape, self.dtype) if to_inputs else None
        for i, (chain, (inputs, outputs)) in enumerate(
            zip(self.chains, self._columns, strict=True)
        ):
            part = gradient[:, outputs]
            contiguous = self._buffers.get(f"gradient {i}", part.shape, self.dtype)
            np.copyto(contiguous, part)  # BLAS and the layers are faster with a contiguous array
            flow = chain.backward(contiguous, to_inputs=to_inputs)
            if out is not None and flow is not None:
                np.copyto(out[:, inputs], flow)
        return out

    def __repr__(self) -> str:
        branches = ", ".join(f"({w}, {c!r})" for w, c in zip(self.widths, self.chains, strict=True))
        return f"Branches({branches})"
