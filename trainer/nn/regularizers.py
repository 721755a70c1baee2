"""Regularizers: what keeps weights small. Each looks at weight matrices only, never at biases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn.buffers import Buffers

Array = NDArray[Any]
Weights = Sequence[tuple[Array, Array]]  # each matrix with its gradient


class Penalty:
    """l1 Σ|w| + l2/2 Σw², added to the loss.

    Args:
        l1: pulls every weight by the same force, many to exactly 0 but for the last steps.
        l2: pulls each in proportion to its size (ridge); for decay apart from the gradient, which
            adaptive optimizers would rescale, see `AdamW`.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        if l1 < 0 or l2 < 0:
            raise ValueError(f"expected penalties of at least 0; got l1 {l1} and l2 {l2}")
        self.l1, self.l2 = l1, l2
        self._buffers = Buffers()

    def value(self, weights: Weights) -> float:
        """The penalty of these weights."""
        return sum(self._of(i, W) for i, (W, _) in enumerate(weights))

    def value_and_gradient(self, weights: Weights) -> float:
        """The penalty; adds its gradient to those of the weights. |w|' at 0 is taken as 0."""
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

    def _of(self, i: int, W: Array) -> float:
        flat, value = W.reshape(-1), 0.0
        if self.l2:
            value += self.l2 / 2 * np.dot(flat, flat).item()
        if self.l1:
            side = self._buffers.get(f"side {i}", flat.shape, flat.real.dtype)
            np.sign(flat.real, out=side)
            value += self.l1 * np.dot(flat, side).item()
        return value

    def __repr__(self) -> str:
        return f"Penalty(l1={self.l1}, l2={self.l2})"


class MaxNorm:
    """Bounds the norm of the weights into each unit: longer columns are cut back after a step.

    Srebro and Shraibman 2005; with dropout in Srivastava et al. 2014, section 5.1
    (https://jmlr.org/papers/v15/srivastava14a.html), which take 3 to 4 for the bound.

    Args:
        limit: the largest norm of a column of W, positive.
    """

    def __init__(self, limit: float) -> None:
        if not limit > 0:
            raise ValueError(f"expected a limit above 0; got {limit}")
        self.limit = limit
        self._buffers = Buffers()

    def apply(self, weights: Weights) -> None:
        """Cut the weights back, in place."""
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
    """An exponential moving average of all parameters, often better than the last of them.

    Polyak and Juditsky 1992, https://doi.org/10.1137/0330046; the decay ramps up from
    (1 + t) / (10 + t), so that the random first weights are soon forgotten.

    Args:
        decay: share of the average kept from step to step, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"expected a decay in [0, 1); got {decay}")
        self.decay = decay
        self._buffers = Buffers()
        self.reset()

    def reset(self) -> None:
        """Forget all steps."""
        self.steps = 0
        self.average: Array | None = None

    def start(self, parameters: Array) -> None:
        """Make ready for a run from these parameters: begin anew unless they are the average.

        They are where the last run ended with it; loaded weights, the best ones or those of another
        network are not.
        """
        if self.average is None or not np.array_equal(self.average, parameters):
            self.reset()

    def follow(self, parameters: Array) -> None:
        """Take the parameters of one more step into the average."""
        if self.average is None:
            self.average = parameters.copy()
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        work = self._buffers.get("work", parameters.shape, parameters.dtype)
        np.subtract(parameters, self.average, out=work)
        np.multiply(work, share, out=work)
        np.add(self.average, work, out=self.average)

    def __repr__(self) -> str:
        return f"WeightAverage({self.decay})"


def clip_value(gradients: Array, limit: float) -> None:
    """Cut each entry of the gradient off at ±limit, in place."""
    np.clip(gradients, -limit, limit, out=gradients)


def clip_norm(gradients: Array, limit: float) -> float:
    """Shorten the whole gradient to the norm `limit` if it is longer; returns what it was.

    Pascanu et al. 2013, https://arxiv.org/abs/1211.5063, algorithm 1.
    """
    norm = float(np.sqrt(np.dot(gradients, gradients)))
    if norm > limit:
        np.multiply(gradients, limit / norm, out=gradients)
    return norm
