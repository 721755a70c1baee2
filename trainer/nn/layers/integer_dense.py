"""The dense layer in whole numbers: the reference that INT8 graphs are held to.

It computes what ONNX Runtime's QGemm computes, in the same order and with the same rounding, so
that the two differ by what an activation's own float32 arithmetic rounds, if by anything.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.nn.activations import Activation
from trainer.nn.layers.dense import make_activation, shown
from trainer.nn.layers.layer import Array, Layer

LARGEST = 255  # of an unsigned byte, which inputs and outputs are
BITS = (4, 7, 8)  # a weight may have, its sign included
Bytes = NDArray[np.float32]  # whole numbers from 0 to 255, in the dtype BLAS is fast in


class Quantization(NamedTuple):
    """Bytes for numbers: x ≈ (q − zero point) · scale.

    Attributes:
        scale: of one step, float32, above 0.
        zero_point: the byte that stands for 0.
    """

    scale: np.float32
    zero_point: int

    @classmethod
    def over(cls, low: float, high: float) -> Quantization:
        """That whose bytes cover `low` to `high` and 0, which has a byte of its own.

        Where there is nothing but 0 to cover, it is 0 to 1: steps next to nothing would make
        whatever else comes, and the biases of the layer it goes to, overflow.
        """
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        if low == high:
            high = 1.0
        scale = np.float32(max((high - low) / LARGEST, float(np.finfo(np.float32).tiny)))
        return cls(scale, int(np.clip(np.rint(-low / float(scale)), 0, LARGEST)))

    def bytes_of(self, x: Array) -> Bytes:
        """The bytes of numbers, clip(rint(x / scale) + zero point, 0, 255), halves to even."""
        q: Bytes = np.rint(x / self.scale)
        q += np.float32(self.zero_point)
        return q.clip(0, LARGEST, out=q)

    def numbers_of(self, q: Bytes) -> NDArray[np.float32]:
        """The numbers of bytes, (q − zero point) · scale."""
        x: NDArray[np.float32] = (q - np.float32(self.zero_point)) * self.scale
        return x


def largest_weight(bits: int) -> int:
    """The largest whole number a weight may be; its negative is the smallest."""
    most: int = 2 ** (bits - 1) - 1
    return most


class IntegerDense(Layer):
    """a = f(z) with z = x W + b in whole numbers; it answers, and cannot learn.

        q   = clip(rint(x / s) + o, 0, 255)           bytes, of the input
        acc = (q − o) W + b                           whole numbers of 32 bits
        z   = acc · (s t)                             float32

    where s and o are the input's scale and zero point and t the scale of each unit's weights. With
    an output of scale r, and f a ReLU, it is clip(rint(acc · (s t / r)), 0, 255) that is passed on,
    and f(z) rounded to bytes for other f.

    Jacob et al. 2018, https://arxiv.org/abs/1712.05877, section 2.2; weights have a scale for each
    unit as in Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342, section 2.4.

    Args:
        W: whole weights, int8 `(n_in, units)`.
        b: whole biases, of step s t, int32 `(units,)`.
        scales: t, float32 `(units,)`.
        source: quantization of the input.
        target: quantization of the output; None leaves it in float32.
        activation: f.
        bits: of a weight.

    Raises:
        ValueError: shapes or types do not fit, a weight has more bits, or a sum could overflow.
    """

    settings = ("W", "b", "scales", "source", "target", "activation", "bits")

    def __init__(
        self,
        W: NDArray[np.int8],
        b: NDArray[np.int32],
        scales: NDArray[np.float32],
        *,
        source: Quantization,
        target: Quantization | None = None,
        activation: str | Activation = "identity",
        bits: int = 8,
    ) -> None:
        faces = [(a.dtype.name, a.shape) for a in (W, b, scales)]
        units = W.shape[-1:]
        if faces != [("int8", W.shape), ("int32", units), ("float32", units)] or W.ndim != 2:
            raise ValueError(
                f"expected weights int8 (n_in, units), biases int32 and scales float32, both "
                f"(units,); got {faces}"
            )
        if bits not in BITS or np.abs(W.astype(np.int16)).max(initial=0) > largest_weight(bits):
            raise ValueError(
                f"expected weights of {' or '.join(map(str, BITS))} bits, within "
                f"±{largest_weight(bits)} for {bits}; got {W.min(initial=0)} to {W.max(initial=0)}"
            )
        largest = np.abs(W.astype(np.int64)).sum(axis=0) * LARGEST + np.abs(b.astype(np.int64))
        if largest.max(initial=0) >= 2**31:
            raise ValueError(
                f"expected sums within 32 bits; got one of up to {largest.max()}; leave this layer "
                f"in float32"
            )
        name = make_activation(activation).name
        if target is not None and (name == "identity" or (name == "relu" and target.zero_point)):
            raise ValueError(
                f"expected an output in float32, or an activation that bends before it is rounded, "
                f"of a ReLU to the zero point 0; got {name} and the zero point {target.zero_point}"
            )
        super().__init__()
        self.W, self.b, self.scales = W, b, scales
        self.source, self.target, self.bits = source, target, bits
        self.activation = make_activation(activation)

    def outputs(self, n_in: int) -> int:
        if n_in != len(self.W):
            raise ValueError(f"expected {len(self.W)} inputs; got {n_in}")
        return len(self.b)

    def bind(self, n_in: int, parameters: Array, gradients: Array) -> None:
        super().bind(n_in, parameters, gradients)
        if self.dtype != np.float32:
            raise ValueError(f"expected a network of float32; got {self.dtype}")
        # Sums of products of bytes are exact in float64, where BLAS is many times as fast as NumPy
        # is with whole numbers.
        self._W = self.W.astype(np.float64)

    def forward(self, x: Array, *, training: bool) -> Array:
        q = self.source.bytes_of(x).astype(np.float64)
        sums = ((q - self.source.zero_point) @ self._W + self.b).astype(np.float32)
        step = self.source.scale * self.scales
        if self.target is not None and self.activation.name == "relu":
            fused = np.rint(sums * (step / self.target.scale))
            return self.target.numbers_of(fused.clip(0, LARGEST))  # below 0 there is no byte
        z: Array = sums * step
        a = np.empty_like(z)
        self.activation.value(z, out=a)
        return a if self.target is None else self.target.numbers_of(self.target.bytes_of(a))

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        raise RuntimeError("expected layers that learn; got whole numbers, which only answer")

    def __repr__(self) -> str:
        return f"IntegerDense({self.W.shape[1]}, {shown(self.activation)}, bits={self.bits})"
