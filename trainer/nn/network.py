"""The network: a chain of layers whose parameters lie in one contiguous vector.

Each W and b is a view into `parameters`, each gradient a view into `gradients`. An optimizer step
therefore is a few operations on whole vectors, and a checkpoint is one array.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trainer.nn.buffers import Buffers
from trainer.nn.layers import Chain, Layer
from trainer.nn.losses import Loss
from trainer.nn.regularizers import Penalty

Array = NDArray[Any]

# Mean loss below which single gradients are searched for tiny ones, and their largest size.
SATURATED_LOSS, TINY_GRADIENT = 0.1, 1e-30
SLICE_ROWS = 8192  # rows of one forward pass outside training
MAX_SLICE_VALUES = 2**25  # inputs (rows × columns) of one such pass, for very wide rows


class Network:
    """A network: layers in order, with all parameters in one vector.

    It is not thread-safe: its layers hold buffers of their last batch.

    Args:
        n_inputs: Number of features of a row, at least 1.
        layers: Layers in order; the outputs of the last one are the logits.
        rng: Random generator of the initial weights and of dropout.
        dtype: Float32 for training, float64 for gradient checks [default: float32].

    Attributes:
        parameters: All weights and biases, `(n_parameters,)`; optimizers write into it.
        gradients: Gradient of the last `loss_and_gradients` by `parameters`, same shape.
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
        if any(layer.n_members > 1 for layer in layers[:-1]):
            raise ValueError(f"expected members as the last layer only; got {list(layers)}")
        self.n_inputs = n_inputs
        self._buffers = Buffers()
        self.chain = Chain(layers)
        self.dtype = np.dtype(dtype)
        self.n_outputs = self.chain.widths(n_inputs)[-1]
        self.parameters: Array = np.zeros(self.chain.size(n_inputs), self.dtype)
        self.gradients: Array = np.zeros(self.chain.size(n_inputs), self.dtype)
        self.chain.bind(n_inputs, self.parameters, self.gradients)
        self._gradient_parts = self._split_gradients()
        self.chain.initialize(rng)

    @property
    def layers(self) -> list[Layer]:
        """Layers in order."""
        return self.chain.layers

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters."""
        return self.parameters.size

    @property
    def n_members(self) -> int:
        """Number of networks that are trained together and averaged; see `Members`."""
        return self.layers[-1].n_members

    @property
    def gradient_parts(self) -> list[Array]:
        """Views into the gradients: of the layers that members share, if any, and of each member.

        A network without members has one part, the whole vector.
        """
        return self._gradient_parts

    @property
    def has_kernels(self) -> bool:
        """Whether there are compiled loops for some of its layers; see `kernels`."""
        return any(part.has_kernel for part in self._list_parts())

    def set_compiled(self, is_compiled: bool) -> None:
        """Choose between the compiled loops and NumPy where there are both.

        The results differ by rounding errors. Float64 and complex networks always use NumPy.
        """
        for part in self._list_parts():
            part.set_compiled(is_compiled)

    def weights(self) -> list[tuple[Array, Array]]:
        """Return each weight matrix with its gradient, in order; biases are not included."""
        return [
            (p.value, p.gradient)
            for layer in self.layers
            for p in layer.parameters()
            if p.is_weight
        ]

    def logits(self, x: Array) -> Array:
        """Run the forward pass on x `(n, n_inputs)`; n may be 0.

        The last digits of a row may depend on n, because BLAS chooses the order of summation by n.

        Returns:
            A new array `(n, n_outputs)` of the dtype of the network.

        Raises:
            ValueError: If x has another shape or dtype.
        """
        self._check_rows(x)
        out = np.empty((len(x), self.n_outputs), self.dtype)
        size = min(SLICE_ROWS, max(1, MAX_SLICE_VALUES // self.n_inputs))
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
        """Return the value of `loss_and_gradients` without computing gradients."""
        logits = self.chain.forward(x, training=True)
        n = len(x)
        value = sum(
            loss.value(logits[start : start + n], targets, weights)
            for start in range(0, len(logits), n)
        )
        if penalty is not None:
            value += penalty.value(self.weights())
        return value / self.n_members

    def loss_and_gradients(
        self,
        x: Array,
        targets: NDArray[Any],
        loss: Loss,
        weights: NDArray[Any] | None = None,
        penalty: Penalty | None = None,
    ) -> float:
        """Run a forward and a backward pass: fill `gradients` and return the mean loss.

        With members, the loss is the mean of their losses, of which each has its own penalty, and
        the gradient is that of their sum. It has in the part of a member the same values as if
        the member were trained alone, so that clipping and learning rates mean the same.

        Args:
            x: Inputs, `(n, n_inputs)` of the dtype of the network, n ≥ 1.
            targets: Targets of the rows, in the form that `loss` expects. Call `loss.check_targets`
                once before training; nothing is checked here at each step.
            loss: Loss of the logits.
            weights: Weights of the rows, `(n,)` [default: 1 each].
            penalty: Penalty on the weight matrices, added to the loss [default: none].

        Raises:
            ValueError: If x has another shape or dtype.
        """
        self._check_rows(x)
        logits = self.chain.forward(x, training=True)
        if self._flow is None or self._flow.shape != logits.shape:
            self._flow = np.empty_like(logits)
        n = len(x)
        value = sum(
            loss.value_and_gradient(
                logits[start : start + n], targets, self._flow[start : start + n], weights
            )
            for start in range(0, len(logits), n)
        )
        if value < SATURATED_LOSS * self.n_members:
            self._clear_tiny_gradients(self._flow)
        self.chain.backward(self._flow, to_inputs=False)
        if penalty is not None:
            value += penalty.value_and_gradient(self.weights())
        return value / self.n_members

    _flow: Array | None = None  # ∂L/∂logits

    def _clear_tiny_gradients(self, flow: Array) -> None:
        """Set the gradients below 1e-30, of rows that are right beyond doubt, to 0.

        They are too small to move a parameter. But in the products of the layers they would become
        numbers below the normal range, with which a processor computes up to 100 times as slowly.
        """
        if self.dtype != np.float32:
            return
        size = self._buffers.get("gradient size", flow.shape, flow.dtype)
        is_tiny = self._buffers.get("is tiny", flow.shape, np.bool_)
        np.absolute(flow, out=size)
        np.less(size, TINY_GRADIENT, out=is_tiny)
        np.copyto(flow, 0, where=is_tiny)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Return copies of all arrays that training changes, by name."""
        return {name: array.copy() for name, array in self._named_arrays().items()}

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """Set all arrays to those of a `snapshot`.

        Raises:
            ValueError: If the snapshot is of a network with other layers.
        """
        own = self._named_arrays()
        layouts = {name: (a.shape, a.dtype) for name, a in snapshot.items()}
        if layouts != {name: (a.shape, a.dtype) for name, a in own.items()}:
            raise ValueError(
                f"expected a snapshot of a network like {self!r}; got one with other arrays: "
                f"{sorted(layouts)}; restore it into a network with the same layers"
            )
        for name, array in own.items():
            array[...] = snapshot[name]

    def generators(self) -> list[np.random.Generator]:
        """Return the random generators that training draws from, such as those of dropout."""
        return [g for layer in self.layers for g in layer.generators()]

    def astype(self, dtype: DTypeLike) -> Network:
        """Return a copy in another dtype, with its own buffers and random generators."""
        streams = copy.deepcopy(self.generators())
        rng = np.random.default_rng(0)  # The weights that it draws are overwritten below.
        other = Network(self.n_inputs, copy.deepcopy(self.layers), rng=rng, dtype=dtype)
        for mine, theirs in zip(
            self._named_arrays().values(), other._named_arrays().values(), strict=True
        ):
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
        """Return a text table of the layers with their shapes and parameter counts."""
        rows = [("layer", "shape", "parameters")]
        rows += [
            (name, f"{n_in} → {n_out}", f"{size:,}")
            for layer in self.layers
            for name, n_in, n_out, size in layer.summarize()
        ]
        rows.append(("total", f"{self.n_inputs} → {self.n_outputs}", f"{self.n_parameters:,}"))
        a, b, c = (max(len(row[i]) for row in rows) for i in range(3))
        return "\n".join(f"{x:<{a}}  {y:<{b}}  {z:>{c}}" for x, y, z in rows)

    def __repr__(self) -> str:
        return f"Network({self.n_inputs}, {self.layers!r})"

    def _split_gradients(self) -> list[Array]:
        """Return the views of `gradient_parts`."""
        if self.n_members == 1:
            return [self.gradients]
        last = self.layers[-1]
        split = self.n_parameters - last.size(last.n_in)
        shared = [self.gradients[:split]] if split else []
        return [*shared, *self.gradients[split:].reshape(self.n_members, -1)]

    def _list_parts(self) -> list[Layer]:
        return [part for layer in self.layers for part in layer.list_sublayers()]

    def _named_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays that training changes, by name; not copies."""
        states = {
            f"{i}.{name}": array
            for i, layer in enumerate(self.layers)
            for name, array in layer.state().items()
        }
        return {"parameters": self.parameters, **states}

    def _check_rows(self, x: Array) -> None:
        """Raise ValueError unless x has the shape and dtype of the inputs."""
        if x.ndim != 2 or x.shape[1] != self.n_inputs:
            raise ValueError(f"expected rows of shape (n, {self.n_inputs}); got {x.shape}")
        if x.dtype != self.dtype:
            raise ValueError(f"expected rows of {self.dtype}; got {x.dtype}; convert them first")
