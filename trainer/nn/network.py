"""The network: a chain of layers, all of whose parameters lie in one vector.

Each W and b is a view into `parameters`, each gradient a view into `gradients`. So an optimizer
step is a few operations on whole vectors, and a checkpoint is one array.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trainer.nn.layers import Chain, Layer
from trainer.nn.losses import Loss
from trainer.nn.regularizers import Penalty

Array = NDArray[Any]

SLICE = 8192  # rows that pass at a time when there is nothing to learn from them
CELLS = 2**25  # inputs that do, of very wide rows


class Network:
    """A multilayer perceptron. Not safe to share between threads: layers keep their last batch.

    Args:
        n_inputs: number of features of a row, at least 1.
        layers: the layers in order; the last one's outputs are the logits.
        rng: where the first weights are drawn from.
        dtype: float32 to train, float64 to check gradients.

    Attributes:
        parameters: every weight and bias, `(n_parameters,)`; written to by optimizers.
        gradients: the gradient of the last `loss_and_gradients`, same shape.
    """

    def __init__(
        self,
        n_inputs: int,
        layers: Sequence[Layer],
        *,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if n_inputs < 1:
            raise ValueError(f"expected at least 1 input; got {n_inputs}")
        if not layers:
            raise ValueError("expected at least 1 layer; got none")
        self.n_inputs = n_inputs
        self.chain = Chain(layers)
        self.dtype = np.dtype(dtype)
        self.n_outputs = self.chain.widths(n_inputs)[-1]
        self.parameters: Array = np.zeros(self.chain.size(n_inputs), self.dtype)
        self.gradients: Array = np.zeros(self.chain.size(n_inputs), self.dtype)
        self.chain.bind(n_inputs, self.parameters, self.gradients)
        self.chain.initialize(rng)

    @property
    def layers(self) -> list[Layer]:
        """The layers, in order."""
        return self.chain.layers

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters."""
        return self.parameters.size

    def weights(self) -> list[tuple[Array, Array]]:
        """Each weight matrix with its gradient, in order; biases are none."""
        return [
            (p.value, p.gradient)
            for layer in self.layers
            for p in layer.parameters()
            if p.is_weight
        ]

    def logits(self, x: Array) -> Array:
        """The forward pass: `(n, n_inputs)` to a new `(n, n_outputs)`; n may be 0.

        BLAS adds up in an order that depends on n, so a row's last digits may too.

        Raises:
            ValueError: x has another shape or dtype.
        """
        self._require_rows(x)
        out = np.empty((len(x), self.n_outputs), self.dtype)
        size = min(SLICE, max(1, CELLS // self.n_inputs))
        for start in range(0, len(x), size):
            part = x[start : start + size]
            out[start : start + size] = self.chain.forward(part, training=False)
        return out

    def training_loss(
        self,
        x: Array,
        targets: NDArray[Any],
        loss: Loss,
        weights: NDArray[Any] | None = None,
        penalty: Penalty | None = None,
    ) -> float:
        """What `loss_and_gradients` returns, without the gradients."""
        logits = self.chain.forward(x, training=True)
        value = loss.value(logits, targets, weights)
        return value if penalty is None else value + penalty.value(self.weights())

    def loss_and_gradients(
        self,
        x: Array,
        targets: NDArray[Any],
        loss: Loss,
        weights: NDArray[Any] | None = None,
        penalty: Penalty | None = None,
    ) -> float:
        """Forward, then the chain rule backwards; fills `gradients` and returns the mean loss.

        Args:
            x: `(n, n_inputs)`, n ≥ 1.
            targets: one per row, in the form `loss` asks for, which `loss.check_targets` checks;
                here, step by step, nothing does.
            loss: applied to the logits.
            weights: of the rows, `(n,)`; all alike if left out.
            penalty: on the weights, added to the loss.

        Raises:
            ValueError: x has another shape or dtype.
        """
        self._require_rows(x)
        logits = self.chain.forward(x, training=True)
        if self._flow is None or self._flow.shape != logits.shape:
            self._flow = np.empty_like(logits)
        value = loss.value_and_gradient(logits, targets, self._flow, weights)
        self.chain.backward(self._flow, to_inputs=False)
        if penalty is not None:
            value += penalty.value_and_gradient(self.weights())
        return value

    _flow: Array | None = None  # ∂L/∂logits

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Copies of everything that training changes, by name."""
        return {name: array.copy() for name, array in self._trained().items()}

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `snapshot` gave.

        Raises:
            ValueError: it is of another network.
        """
        own = self._trained()
        faces = {name: (a.shape, a.dtype) for name, a in snapshot.items()}
        if faces != {name: (a.shape, a.dtype) for name, a in own.items()}:
            raise ValueError(
                f"expected a snapshot of a network like {self!r}; got one of {sorted(faces)}"
            )
        for name, array in own.items():
            array[...] = snapshot[name]

    def generators(self) -> list[np.random.Generator]:
        """Sources of the randomness that training draws on, of dropout for one."""
        return [g for layer in self.layers for g in layer.generators()]

    def astype(self, dtype: DTypeLike) -> Network:
        """A copy in another dtype, with buffers and random streams of its own."""
        streams = copy.deepcopy(self.generators())
        rng = np.random.default_rng(0)  # what it draws is overwritten
        other = Network(self.n_inputs, copy.deepcopy(self.layers), rng=rng, dtype=dtype)
        for mine, theirs in zip(self._trained().values(), other._trained().values(), strict=True):
            theirs[...] = mine
        for stream, generator in zip(streams, other.generators(), strict=True):
            generator.bit_generator.state = stream.bit_generator.state
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {
            "n_inputs": self.n_inputs,
            "layers": self.layers,
            "dtype": self.dtype,
            "trained": self.snapshot(),
            "streams": [g.bit_generator.state for g in self.generators()],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        rng = np.random.default_rng(0)
        Network.__init__(self, state["n_inputs"], state["layers"], rng=rng, dtype=state["dtype"])
        self.restore(state["trained"])
        for generator, stream in zip(self.generators(), state["streams"], strict=True):
            generator.bit_generator.state = stream

    def summary(self) -> str:
        """A table of the layers with their shapes and parameter counts."""
        rows = [("layer", "shape", "parameters")]
        rows += [
            (repr(layer), f"{layer.n_in} → {layer.n_out}", f"{layer.size(layer.n_in):,}")
            for layer in self.layers
        ]
        rows.append(("total", f"{self.n_inputs} → {self.n_outputs}", f"{self.n_parameters:,}"))
        a, b, c = (max(len(row[i]) for row in rows) for i in range(3))
        return "\n".join(f"{x:<{a}}  {y:<{b}}  {z:>{c}}" for x, y, z in rows)

    def __repr__(self) -> str:
        return f"Network({self.n_inputs}, {self.layers!r})"

    def _trained(self) -> dict[str, NDArray[Any]]:
        states = {
            f"{i}.{name}": array
            for i, layer in enumerate(self.layers)
            for name, array in layer.state().items()
        }
        return {"parameters": self.parameters, **states}

    def _require_rows(self, x: Array) -> None:
        if x.ndim != 2 or x.shape[1] != self.n_inputs:
            raise ValueError(f"expected rows of shape (n, {self.n_inputs}); got {x.shape}")
        if x.dtype != self.dtype:
            raise ValueError(f"expected rows of {self.dtype}; got {x.dtype}; convert them first")
