"""The dropout layer, which sets random inputs to 0 in training and scales up the others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn import kernels
from trainer.nn.layers.layer import Array, Layer

N_THRESHOLDS = 2**16  # different values of a random number
NUMBERS_PER_WORD = 4  # random numbers in one word of the bit generator
WORDS_PER_DRAW = 2**12  # words that are drawn at a time, into a new array of 32 KB


class Dropout(Layer):
    """Dropout: in training, random inputs are set to 0 and the others scaled by 1 / (1 − rate).

    The expected output therefore equals the input, and inference needs no scaling. Srivastava et
    al. 2014, https://jmlr.org/papers/v15/srivastava14a.html; inverted as in section 10.

    Args:
        rate: Probability that an input is set to 0, in [0, 1); it is rounded to a multiple of
            2⁻¹⁶, up to 1 − 2⁻¹⁶.

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
        self._mask: Array | None = None  # factors of the inputs in the last forward pass

    def outputs(self, n_in: int) -> int:
        return n_in

    def initialize(self, rng: np.random.Generator) -> None:
        """Derive a random generator for the masks from `rng`."""
        (child,) = rng.spawn(1)
        if isinstance(child.bit_generator, np.random.MT19937):  # its words have 32 bits, not 64
            child = np.random.default_rng(child.integers(2**63))
        self._rng = child

    def generators(self) -> list[np.random.Generator]:
        return [self._rng]

    def forward(self, x: Array, *, training: bool) -> Array:
        rate = self.rate * self.rate_scale
        if not training or rate == 0:
            self._mask = None
            return x
        threshold = min(round(rate * N_THRESHOLDS), N_THRESHOLDS - 1)
        gain = N_THRESHOLDS / (N_THRESHOLDS - threshold)  # of the rounded rate
        draws = self._draw(x.size)
        mask = self._mask = self._buffers.get("mask", x.shape, x.dtype)
        out = self._buffers.get("out", x.shape, x.dtype)
        if self.is_compiled and x.dtype == np.float32 and x.flags.c_contiguous:
            numbers = np.uint16(threshold), np.float32(gain)
            drop = kernels.compile_dropout()
            drop(x.reshape(-1), draws, *numbers, mask.reshape(-1), out.reshape(-1))
        else:
            kept = self._buffers.get("kept", x.shape, np.bool_)
            np.greater_equal(draws.reshape(x.shape), threshold, out=kept)
            np.multiply(kept, x.dtype.type(gain), out=mask)
            np.multiply(x, mask, out=out)
        self._x = x
        return out

    def _draw(self, n: int) -> NDArray[np.uint16]:
        """Return n random numbers, `(n,)`.

        They are quarters of the words of the bit generator. That is ten times as fast as its
        floats, and as exact as a rate needs to be.
        """
        n_words, draw_words = math.ceil(n / NUMBERS_PER_WORD), self._rng.bit_generator.random_raw
        if n_words <= WORDS_PER_DRAW:
            return draw_words(n_words).view(np.uint16)[:n]
        words: NDArray[Any] = self._buffers.get("words", (n_words,), np.uint64)
        for start in range(0, n_words, WORDS_PER_DRAW):
            part = words[start : start + WORDS_PER_DRAW]
            part[:] = draw_words(len(part))
        return words.view(np.uint16)[:n]

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        if self._mask is not None:
            np.multiply(gradient, self._mask, out=gradient)
        return gradient

    @property
    def has_kernel(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"Dropout({self.rate})"
