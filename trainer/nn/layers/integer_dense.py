"""The quantised dense layer in integer arithmetic: the NumPy reference of INT8 graphs.

It computes what ONNX Runtime's QGemm computes, in the same order and with the same rounding. The
two therefore differ at most by the float32 rounding of the activation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.nn.activations import Activation
from trainer.nn.layers.dense import format_activation, make_activation
from trainer.nn.layers.layer import Array, Layer

MAX_BYTE = 255  # inputs and outputs are unsigned bytes
WEIGHT_BITS = (4, 7, 8)  # possible sizes of a weight, in bits, sign included
Bytes = NDArray[np.float32]  # integers from 0 to 255, as float32 because BLAS has no byte products


class Quantization(NamedTuple):
    """An affine mapping from numbers x to bytes q: x ≈ (q − zero_point) · scale.

    Attributes:
        scale: Difference of x between two neighbouring bytes, float32, above 0.
        zero_point: Byte that stands for x = 0, from 0 to 255.
    """

    scale: np.float32
    zero_point: int

    @classmethod
    def from_range(cls, low: float, high: float) -> Quantization:
        """Return the quantization whose bytes cover 0 and the range from `low` to `high`.

        If the range contains 0 alone, the bytes cover 0 to 1: with a scale near 0, other inputs and
        the biases of the layer would overflow.
        """
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        if low == high:
            high = 1.0
        scale = np.float32(max((high - low) / MAX_BYTE, float(np.finfo(np.float32).tiny)))
        return cls(scale, int(np.clip(np.rint(-low / float(scale)), 0, MAX_BYTE)))

    def quantize(self, x: Array) -> Bytes:
        """Return clip(rint(x / scale) + zero_point, 0, 255); rint rounds halves to even."""
        q: Bytes = np.rint(x / self.scale)
        q += np.float32(self.zero_point)
        return q.clip(0, MAX_BYTE, out=q)

    def dequantize(self, q: Bytes) -> NDArray[np.float32]:
        """Return (q − zero_point) · scale."""
        x: NDArray[np.float32] = (q - np.float32(self.zero_point)) * self.scale
        return x


def largest_weight(bits: int) -> int:
    """Return the largest integer weight of `bits` bits; its negative is the smallest weight."""
    limit: int = 2 ** (bits - 1) - 1
    return limit


class IntegerDense(Layer):
    """A quantized dense layer, computed in integers, for inference only.

    a = f(z) with z = x W + b:

        q   = clip(rint(x / s) + o, 0, 255)           input as bytes
        acc = (q − o) W + b                           32-bit integers
        z   = acc · (s t)                             float32

    Here s and o are the scale and zero point of the input, and t is the scale of each unit's
    weights. If the output is quantized, with the scale r, it is rounded to a byte and dequantized
    again. The byte is clip(rint(acc · (s t / r)), 0, 255) for a ReLU, the one nearest to f(z) for
    other f.

    Jacob et al. 2018, https://arxiv.org/abs/1712.05877, section 2.2; weights have a scale for each
    unit as in Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342, section 2.4.

    Args:
        W: Integer weights, int8 `(n_in, units)`.
        b: Integer biases in units of s t, int32 `(units,)`.
        scales: t, float32 `(units,)`.
        source: Quantization of the input.
        target: Quantization of the output [default: none, the output is float32].
        activation: f, or its name [default: identity].
        bits: Size of a weight in bits: 4, 7 or 8 [default: 8].

    Raises:
        ValueError: If shapes or dtypes do not fit, if a weight needs more bits, or if a sum could
            overflow 32 bits.
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
        layouts = [(a.dtype.name, a.shape) for a in (W, b, scales)]
        units = W.shape[-1:]
        if layouts != [("int8", W.shape), ("int32", units), ("float32", units)] or W.ndim != 2:
            raise ValueError(
                f"expected int8 weights (n_in, units), int32 biases (units,) and float32 scales "
                f"(units,); got {layouts}"
            )
        if bits not in WEIGHT_BITS or np.abs(W.astype(np.int16)).max(initial=0) > largest_weight(
            bits
        ):
            raise ValueError(
                f"expected weights of {' or '.join(map(str, WEIGHT_BITS))} bits, within "
                f"±{largest_weight(bits)} for {bits}; got {W.min(initial=0)} to {W.max(initial=0)}"
            )
        max_sums = np.abs(W.astype(np.int64)).sum(axis=0) * MAX_BYTE + np.abs(b.astype(np.int64))
        if max_sums.max(initial=0) >= 2**31:
            raise ValueError(
                f"expected sums within 32 bits; got one of up to {max_sums.max()}; leave this "
                f"layer in float32"
            )
        name = make_activation(activation).name
        if target is not None and (name == "identity" or (name == "relu" and target.zero_point)):
            raise ValueError(
                f"expected a float32 output, or a quantized one after a nonlinear activation, with "
                f"the zero point 0 for relu; got {name} and the zero point {target.zero_point}"
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
        # Sums of products of bytes are exact in float64, and the float64 product of BLAS is many
        # times as fast as the integer product of NumPy.
        self._W = self.W.astype(np.float64)

    def forward(self, x: Array, *, training: bool) -> Array:
        q = self.source.quantize(x).astype(np.float64)
        sums = ((q - self.source.zero_point) @ self._W + self.b).astype(np.float32)
        step = self.source.scale * self.scales
        if self.target is not None and self.activation.name == "relu":
            q = np.rint(sums * (step / self.target.scale))
            return self.target.dequantize(
                q.clip(0, MAX_BYTE)
            )  # the lower limit of the clip is the ReLU
        z: Array = sums * step
        a = np.empty_like(z)
        self.activation.value(z, out=a)
        return a if self.target is None else self.target.dequantize(self.target.quantize(a))

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        raise RuntimeError(
            "expected layers that can be trained; got IntegerDense, which is for inference only; "
            "train with Dense"
        )

    def __repr__(self) -> str:
        activation = format_activation(self.activation)
        return f"IntegerDense({self.W.shape[1]}, {activation}, bits={self.bits})"
