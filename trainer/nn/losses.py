"""Losses: how wrong a batch of logits is, and in which direction to move them.

The last layer's outputs stay logits: sigmoid and softmax are fused with their cross-entropies,
which is exact where the separate steps would round to 0 or overflow. Every loss is a mean over the
batch, so its size does not depend on the batch's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn.activations import Sigmoid

Array = NDArray[np.floating[Any]]


class Loss(ABC):
    """A loss on logits, and the link that turns the same logits into answers.

    Attributes:
        name: what a manifest calls it.
        link: the function from logits to answers: `identity`, `sigmoid` or `softmax`.
    """

    name: str
    link: str

    @abstractmethod
    def value(self, logits: Array, targets: NDArray[Any]) -> float:
        """The mean loss of a batch; `logits` `(n, k)`, n ≥ 1."""

    @abstractmethod
    def value_and_gradient(self, logits: Array, targets: NDArray[Any], out: Array) -> float:
        """The mean loss; writes ∂L/∂logits into `out`, `(n, k)`."""

    @abstractmethod
    def answers(self, logits: Array) -> Array:
        """The link applied: `(n, k)` probabilities or values, a new array."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class MeanSquaredError(Loss):
    """L = mean (ŷ − y)² over rows and outputs; targets are floats `(n, k)`."""

    name = "mse"
    link = "identity"

    def value(self, logits: Array, targets: NDArray[Any]) -> float:
        return float(np.mean((logits - targets) ** 2))

    def value_and_gradient(self, logits: Array, targets: NDArray[Any], out: Array) -> float:
        np.subtract(logits, targets, out=out)
        value = float(np.vdot(out, out)) / out.size
        out *= 2 / out.size
        return value

    def answers(self, logits: Array) -> Array:
        return logits.copy()


class BinaryCrossEntropy(Loss):
    """L = mean of −y ln σ(z) − (1 − y) ln(1 − σ(z)); targets are floats 0 or 1, `(n, k)`.

    Computed as max(z, 0) − z y + ln(1 + e^−|z|), which neither overflows nor loses digits.
    Its gradient is (σ(z) − y) / size.
    """

    name = "binary_cross_entropy"
    link = "sigmoid"
    _sigmoid = Sigmoid()

    def value(self, logits: Array, targets: NDArray[Any]) -> float:
        softplus = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))
        return float(np.mean(softplus - logits * targets))

    def value_and_gradient(self, logits: Array, targets: NDArray[Any], out: Array) -> float:
        self._sigmoid.value(logits, out=out)
        out -= targets
        out /= out.size
        return self.value(logits, targets)

    def answers(self, logits: Array) -> Array:
        out = np.empty_like(logits)
        self._sigmoid.value(logits, out=out)
        return out


class CategoricalCrossEntropy(Loss):
    """L = mean of −ln softmax(z)[y]; targets are class indices, integers `(n,)` in 0 … k − 1.

    Each row is shifted by its own largest logit before the exponential. The gradient is
    (softmax(z) − onehot(y)) / n. Of K equally likely classes the loss is ln K.
    """

    name = "categorical_cross_entropy"
    link = "softmax"

    def value(self, logits: Array, targets: NDArray[Any]) -> float:
        return self.value_and_gradient(logits, targets, np.empty_like(logits))

    def value_and_gradient(self, logits: Array, targets: NDArray[Any], out: Array) -> float:
        n = len(logits)
        rows = np.arange(n)
        np.subtract(logits, logits.max(axis=1, keepdims=True), out=out)
        shifted = out[rows, targets]
        np.exp(out, out=out)
        total = out.sum(axis=1, keepdims=True)
        value = float(np.mean(np.log(total[:, 0]) - shifted))
        out /= total
        out[rows, targets] -= 1
        out /= n
        return value

    def answers(self, logits: Array) -> Array:
        out: Array = logits - logits.max(axis=1, keepdims=True)
        np.exp(out, out=out)
        out /= out.sum(axis=1, keepdims=True)
        return out
