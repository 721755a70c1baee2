"""The periodic embedding, which adds to each number some learned functions of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.nn.layers.layer import Array, Layer, Parameter, require_forward

INITIAL_DEVIATION = 0.1  # standard deviation of the initial frequencies
SLICE_VALUES = 2**18  # cosines computed at once outside training


class PeriodicEmbedding(Layer):
    """A layer that adds learned functions of each of its first inputs, which are scaled numbers.

    Each number x is embedded by itself, as W cos(2π w x + p) + b with frequencies w, phases p, and
    a linear layer of weights W and biases b. The outputs are the embeddings, number by number, and
    then all inputs unchanged. `PeriodicEmbedding(2)` with 5 inputs has 2 · 3 + 5 = 11 outputs.

    This is the PBLD embedding (periodic, biases, linear, DenseNet) of Holzmüller et al. 2024,
    https://arxiv.org/abs/2407.04491, after Gorishniy et al. 2022, https://arxiv.org/abs/2203.05556.

    Args:
        n_numbers: Number of inputs that are embedded, the first ones, at least 1.
        n_frequencies: Number of cosines for each number [default: 16].
        units: Number of outputs for each number, besides itself [default: 3].

    Attributes:
        frequencies: Frequencies w, in periods per unit of the input, `(n_numbers, n_frequencies)`.
        phases: Phases p, in radians, `(n_numbers, n_frequencies)`.
        W: Weights of the linear layers, `(n_numbers, units, n_frequencies)`.
        b: Biases of the linear layers, `(n_numbers, units)`.
    """

    frequencies: Array
    phases: Array
    W: Array
    b: Array

    settings = ("n_numbers", "n_frequencies", "units")

    def __init__(self, n_numbers: int, n_frequencies: int = 16, units: int = 3) -> None:
        if min(n_numbers, n_frequencies, units) < 1:
            raise ValueError(
                f"expected at least 1 number, 1 frequency and 1 unit; got {n_numbers} numbers, "
                f"{n_frequencies} frequencies and {units} units"
            )
        super().__init__()
        self.n_numbers, self.n_frequencies, self.units = n_numbers, n_frequencies, units

    def outputs(self, n_in: int) -> int:
        if n_in < self.n_numbers:
            raise ValueError(
                f"expected at least {self.n_numbers} inputs, the numbers to embed; got {n_in}"
            )
        return self.n_numbers * self.units + n_in

    def size(self, n_in: int) -> int:
        return sum(int(np.prod(shape)) for shape in self._shapes().values())

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters by name, in the order of the flat vector."""
        waves = (self.n_numbers, self.n_frequencies)
        return {
            "frequencies": waves,
            "phases": waves,
            "W": (self.n_numbers, self.units, self.n_frequencies),
            "b": (self.n_numbers, self.units),
        }

    def bind(self, n_in: int, parameters: Array, gradients: Array) -> None:
        super().bind(n_in, parameters, gradients)
        self._parameters, start = [], 0
        for name, shape in self._shapes().items():
            part = slice(start, start + int(np.prod(shape)))
            value, gradient = parameters[part].reshape(shape), gradients[part].reshape(shape)
            # Not weight matrices: they have no share in penalties, max-norm and weight decay.
            self._parameters.append(Parameter(name, value, gradient, False))
            setattr(self, name, value)
            start = part.stop
        self._n_embedded = self.n_numbers * self.units
        self._tau = self.dtype.type(2 * np.pi)
        self._n_rows: int | None = None

    def find_sources(self) -> NDArray[np.int64]:
        """Return the index of the input that each output is computed from, int64 `(n_out,)`."""
        return np.concatenate(
            [np.repeat(np.arange(self.n_numbers), self.units), np.arange(self.n_in)]
        )

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw normal frequencies, and uniform phases, weights and biases."""
        self.frequencies[...] = rng.normal(0, INITIAL_DEVIATION, self.frequencies.shape)
        self.phases[...] = rng.uniform(-np.pi, np.pi, self.phases.shape)
        limit = 1 / np.sqrt(self.n_frequencies)
        self.W[...] = rng.uniform(-limit, limit, self.W.shape)
        self.b[...] = rng.uniform(-limit, limit, self.b.shape)

    def parameters(self) -> list[Parameter]:
        return list(self._parameters)

    def forward(self, x: Array, *, training: bool) -> Array:
        """Return the output `(n, n_out)` for the input x `(n, n_in)`.

        Outside training, the cosines of many rows are not kept for a backward pass, since they take
        16 times the memory of the inputs.
        """
        n = len(x)
        out = self._buffers.get("out", (n, self.n_out), self.dtype)
        np.copyto(out[:, self._n_embedded :], x)
        n_slice = max(1, SLICE_VALUES // self.frequencies.size)
        if training or n <= n_slice:
            self._x = x
            self._embed(x, out)
            return out
        self._x = None
        for start in range(0, n, n_slice):
            rows = slice(start, start + n_slice)
            self._embed(x[rows], out[rows])
        return out

    def _embed(self, x: Array, out: Array) -> None:
        """Write the embeddings of rows x `(n, n_in)` into the first columns of `out`."""
        if self._n_rows != len(x):
            self._allocate(len(x))
        np.multiply(x[:, : self.n_numbers].T, self._tau, out=self._angles[:, 0])
        # Not one product of matrices, which would round other than the graph does.
        np.multiply(self._angles, self.frequencies[:, :, None], out=self._z)
        np.add(self._z, self.phases[:, :, None], out=self._z)
        np.cos(self._z, out=self._waves)
        np.matmul(self.W, self._waves, out=self._flow)
        np.add(self._flow, self.b[:, :, None], out=self._flow)
        np.copyto(out[:, : self._n_embedded], self._flow.reshape(self._n_embedded, len(x)).T)

    def _allocate(self, n: int) -> None:
        """Get buffers for n rows, in which the rows are the last axis.

        So each product of a small and a large matrix is one of few rows and many columns.
        """

        def get(name: str, *shape: int) -> Array:
            # One-dimensional, so that batches of other sizes use the same memory.
            return self._buffers.get(name, (int(np.prod(shape)),), self.dtype).reshape(shape)

        self._n_rows = n
        self._angles = get("angles", self.n_numbers, 1, n)
        self._z = get("z", self.n_numbers, self.n_frequencies, n)
        self._waves = get("waves", self.n_numbers, self.n_frequencies, n)
        self._flow = get("flow", self.n_numbers, self.units, n)
        self._ones = self._buffers.full(1, (n,), self.dtype)

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        x = require_forward(self._x)
        n, (frequencies, phases, W, b) = len(x), (p.gradient for p in self._parameters)
        waves, flow, z = self._waves, self._flow, self._z
        rows = flow.reshape(self._n_embedded, n)
        np.copyto(rows, gradient[:, : self._n_embedded].T)
        np.dot(rows, self._ones, out=b.reshape(-1))
        np.matmul(flow, waves.transpose(0, 2, 1), out=W)
        # From here on, the buffers hold ∂L/∂z = −sin(z) · ∂L/∂cos(z), up to the sign.
        np.matmul(self.W.transpose(0, 2, 1), flow, out=waves)
        np.sin(z, out=z)
        np.multiply(z, waves, out=z)
        np.dot(z.reshape(-1, n), self._ones, out=phases.reshape(-1))
        np.negative(phases, out=phases)
        np.matmul(z, self._angles.transpose(0, 2, 1), out=frequencies[:, :, None])
        np.negative(frequencies, out=frequencies)
        if not to_inputs:
            return None
        dx = self._buffers.get("dx", x.shape, self.dtype)
        np.copyto(dx, gradient[:, self._n_embedded :])
        # The angles are 2π x.
        np.matmul(self.frequencies[:, None, :], z, out=self._angles)
        np.multiply(self._angles, self._tau, out=self._angles)
        np.subtract(dx[:, : self.n_numbers], self._angles[:, 0].T, out=dx[:, : self.n_numbers])
        return dx

    def __repr__(self) -> str:
        return f"PeriodicEmbedding({self.n_numbers}, {self.n_frequencies}, {self.units})"
