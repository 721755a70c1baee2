"""Regularizers: L1 and L2 penalties, max-norm, weight averaging and gradient clipping.

Penalties and max-norm apply to weight matrices, never to biases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn import kernels
from trainer.nn.buffers import Buffers

Array = NDArray[Any]
Weights = Sequence[tuple[Array, Array]]  # weight matrices with their gradients, one shape each


class Penalty:
    """A penalty on the weights that is added to the loss: l1 Σ|w| + l2/2 Σw².

    Args:
        l1: Factor of the L1 norm, at least 0 (lasso): it moves many weights near 0 [default: 0].
        l2: Factor of half the squared L2 norm, at least 0 (ridge). Adaptive optimizers rescale this
            gradient; for decoupled weight decay see `AdamW` [default: 0].
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        if l1 < 0 or l2 < 0:
            raise ValueError(f"expected penalties of at least 0; got l1 {l1} and l2 {l2}")
        self.l1, self.l2 = l1, l2
        self._buffers = Buffers()

    def value(self, weights: Weights) -> float:
        """Return the penalty of these weights."""
        return sum(self._matrix_penalty(i, W) for i, (W, _) in enumerate(weights))

    def value_and_gradient(self, weights: Weights) -> float:
        """Return the penalty and add its gradient to those of the weights, with |w|' = 0 at 0."""
        for i, (W, dW) in enumerate(weights):
            work = self._buffers.get(f"work {i}", W.shape, W.dtype)
            if self.l2:
                np.multiply(W, self.l2, out=work)
                np.add(dW, work, out=dW)
            if self.l1:
                np.sign(W, out=work)
                np.multiply(work, self.l1, out=work)
                np.add(dW, work, out=dW)
        return self.value(weights)

    def _matrix_penalty(self, i: int, W: Array) -> float:
        """Return the penalty of the i-th weight matrix."""
        flat, value = W.reshape(-1), 0.0
        if self.l2:
            value += self.l2 / 2 * np.dot(flat, flat).item()
        if self.l1:
            signs = self._buffers.get(f"signs {i}", flat.shape, flat.real.dtype)
            np.sign(flat.real, out=signs)
            value += self.l1 * np.dot(flat, signs).item()
        return value

    def __repr__(self) -> str:
        return f"Penalty(l1={self.l1}, l2={self.l2})"


class MaxNorm:
    """A bound on the L2 norm of the weights into each unit, applied after every optimizer step.

    Srebro and Shraibman 2005; with dropout in Srivastava et al. 2014, section 5.1
    (https://jmlr.org/papers/v15/srivastava14a.html), who use bounds of 3 to 4.

    Args:
        limit: The largest norm of a column of W, above 0.
    """

    def __init__(self, limit: float) -> None:
        if not limit > 0:
            raise ValueError(f"expected a limit above 0; got {limit}")
        self.limit = limit
        self._buffers = Buffers()

    def apply(self, weights: Weights) -> None:
        """Scale longer columns down to the limit, in place."""
        get = self._buffers.get
        for i, (W, _) in enumerate(weights):
            square = get(f"square {i}", W.shape, W.dtype)
            scale = get(f"scale {i}", (W.shape[1],), W.dtype)
            np.multiply(W, W, out=square)
            np.dot(self._buffers.full(1, (len(W),), W.dtype), square, out=scale)
            np.sqrt(scale, out=scale)
            np.maximum(scale, self.limit, out=scale)
            np.divide(self.limit, scale, out=scale)
            np.multiply(W, scale, out=W)

    def __repr__(self) -> str:
        return f"MaxNorm({self.limit})"


class WeightAverage:
    """An exponential moving average of all parameters, often better than the last parameters.

    Polyak and Juditsky 1992, https://doi.org/10.1137/0330046. The decay of step t is at most
    (1 + t) / (10 + t), so that the random initial weights soon lose their influence.

    Args:
        decay: Factor of the previous average in each step, in [0, 1).

    Attributes:
        steps: Number of steps in the average.
        average: The average, `(n_parameters,)`; None before the first step.
        is_compiled: Whether the compiled update is used; see `kernels` [default: False].
    """

    is_compiled = False

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"expected a decay in [0, 1); got {decay}")
        self.decay = decay
        self._buffers = Buffers()
        self.reset()

    def reset(self) -> None:
        """Discard the average."""
        self.steps = 0
        self.average: Array | None = None

    def start(self, parameters: Array) -> None:
        """Prepare for a run that starts from `parameters`.

        The average is continued if `parameters` equals it, as at the end of a run. It is discarded
        for other parameters: loaded weights, restored best weights, those of another network.
        """
        if self.average is None or not np.array_equal(self.average, parameters):
            self.reset()

    def update(self, parameters: Array) -> None:
        """Add the parameters of one more step to the average."""
        if self.average is None:
            self.average = parameters.copy()
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        if self.is_compiled and parameters.dtype.kind == "f":
            kernels.compile_average()(self.average, parameters, parameters.dtype.type(share))
            return
        work = self._buffers.get("work", parameters.shape, parameters.dtype)
        np.subtract(parameters, self.average, out=work)
        np.multiply(work, share, out=work)
        np.add(self.average, work, out=self.average)

    def __repr__(self) -> str:
        return f"WeightAverage({self.decay})"


def clip_value(gradients: Array, limit: float) -> None:
    """Clip each entry of the gradient to [−limit, limit], in place."""
    np.clip(gradients, -limit, limit, out=gradients)


def clip_norm(gradients: Array, limit: float) -> float:
    """Scale the gradient down to the norm `limit` if it is longer, in place; return its old norm.

    Pascanu et al. 2013, https://arxiv.org/abs/1211.5063, algorithm 1.
    """
    norm = float(np.sqrt(np.dot(gradients, gradients)))
    if norm > limit:
        np.multiply(gradients, limit / norm, out=gradients)
    return norm
