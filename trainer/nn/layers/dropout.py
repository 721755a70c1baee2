"""The dropout layer, which sets random inputs to 0 in training and scales up the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.nn.layers.layer import Array, Layer


class Dropout(Layer):
    """Inverted dropout: in training the remaining inputs are scaled by 1 / (1 − rate).

    The expected output therefore equals the input, and inference needs no scaling. Srivastava et
    al. 2014, https://jmlr.org/papers/v15/srivastava14a.html; inverted as in section 10.

    Args:
        rate: Probability that an input is set to 0, in [0, 1).

    Attributes:
        rate_scale: Factor of the rate; schedules change it between steps [default: 1].
    """

    settings = ("rate", "_rng")
    rate_scale = 1.0

    def __init__(self, rate: float) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"expected a rate in [0, 1); got {rate}")
        super().__init__()
        self.rate = rate
        self._rng = np.random.default_rng(0)
        self._mask: NDArray[np.bool_] | None = None
        self._gain = 1.0  # factor of the inputs that remain

    def outputs(self, n_in: int) -> int:
        return n_in

    def initialize(self, rng: np.random.Generator) -> None:
        """Derive a random generator for the masks from `rng`."""
        (self._rng,) = rng.spawn(1)

    def generators(self) -> list[np.random.Generator]:
        return [self._rng]

    def forward(self, x: Array, *, training: bool) -> Array:
        rate = self.rate * self.rate_scale
        if not training or rate == 0:
            self._mask = None
            return x
        self._gain = 1 / (1 - rate)
        draws = self._buffers.get("draws", x.shape, np.float32)
        self._rng.random(out=draws, dtype=np.float32)
        self._mask = self._buffers.get("mask", x.shape, np.bool_)
        np.greater_equal(draws, rate, out=self._mask)
        out = self._buffers.get("out", x.shape, x.dtype)
        np.multiply(x, self._mask, out=out)
        np.multiply(out, self._gain, out=out)
        self._x = x
        return out

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        if self._mask is not None:
            np.multiply(gradient, self._mask, out=gradient)
            np.multiply(gradient, self._gain, out=gradient)
        return gradient

    def __repr__(self) -> str:
        return f"Dropout({self.rate})"
