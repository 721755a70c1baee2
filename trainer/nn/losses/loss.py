"""What every loss is: how wrong a batch of logits is, and in which direction to move them.

The last layer's outputs stay logits: sigmoid and softmax are fused with their cross-entropies,
which is exact where the separate steps would round to 0 or overflow. Every loss is a mean over the
batch, weighted where rows have weights, so its size does not depend on the batch's.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn.buffers import Buffers

Array = NDArray[Any]


class Loss(ABC):
    """A loss on logits, and the link that turns the same logits into answers.

    Attributes:
        name: what a manifest and an option call it.
        link: the function from logits to answers: `identity`, `exp`, `sigmoid` or `softmax`.
    """

    name: str
    link: str

    def __init__(self) -> None:
        self._buffers = Buffers()

    def value(
        self, logits: Array, targets: NDArray[Any], weights: NDArray[Any] | None = None
    ) -> float:
        """The mean loss of a batch; arguments as of `value_and_gradient`."""
        gradient = self._scratch("gradient", logits.shape, logits.dtype)
        return self.value_and_gradient(logits, targets, gradient, weights)

    @abstractmethod
    def value_and_gradient(
        self,
        logits: Array,
        targets: NDArray[Any],
        out: Array,
        weights: NDArray[Any] | None = None,
    ) -> float:
        """The mean loss; writes ∂L/∂logits into `out`.

        Args:
            logits: `(n, k)`, n ≥ 1.
            targets: one per row, in the form this loss asks for.
            out: `(n, k)`.
            weights: of the rows, `(n,)`, none below 0; the mean is Σ wᵢ ℓᵢ / Σ wᵢ.
        """

    def lowest(
        self, targets: NDArray[Any], n_outputs: int, weights: NDArray[Any] | None = None
    ) -> float:
        """The smallest mean loss that any logits can reach, in float64.

        It is 0 but where targets are uncertain: smoothed labels, fractions, counts.
        """
        return self.value(self.ideal_logits(targets, n_outputs), targets, weights)

    @abstractmethod
    def ideal_logits(self, targets: NDArray[Any], n_outputs: int) -> Array:
        """Logits of the smallest loss, float64 `(n, k)`; infinite ones are cut off at ±50."""

    @abstractmethod
    def check_targets(self, targets: NDArray[Any], n_outputs: int) -> None:
        """Raise ValueError unless there is one target per row that this loss can take."""

    def answers(self, logits: Array) -> Array:
        """The link applied: `(n, k)` probabilities or values, a new array."""
        return logits.copy()

    def _scratch(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        return self._buffers.get(name, shape, dtype)

    def _shares(self, weights: NDArray[Any]) -> NDArray[Any] | None:
        """Each row's share of the mean; None if no row counts."""
        total = weights.sum().item()
        if total == 0:
            return None
        shares: NDArray[Any] = self._scratch("shares", weights.shape, weights.dtype)
        np.multiply(weights, 1 / total, out=shares)
        return shares

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class RowwiseLoss(Loss):
    """A loss that is computed for each row by itself, and then weighed."""

    def value_and_gradient(
        self,
        logits: Array,
        targets: NDArray[Any],
        out: Array,
        weights: NDArray[Any] | None = None,
    ) -> float:
        n = len(logits)
        losses = self._scratch("losses", (n,), logits.dtype)
        self._rows(logits, targets, losses, out)
        if weights is None:
            np.multiply(out, 1 / n, out=out)
            return losses.sum().item() / n  # type: ignore[no-any-return]
        shares = self._shares(weights)
        if shares is None:
            out.fill(0)
            return 0.0
        np.multiply(out, shares[:, None], out=out)
        return np.dot(losses, shares).item()  # type: ignore[no-any-return]

    @abstractmethod
    def _rows(self, logits: Array, targets: NDArray[Any], losses: Array, gradient: Array) -> None:
        """Write each row's own loss and its gradient, as if there were no other row."""

    def _means(self, terms: Array, out: Array) -> None:
        """Write the mean of each row of `terms` into `out`."""
        k = terms.shape[1]
        np.dot(terms, self._buffers.full(1 / k, (k,), terms.dtype), out=out)


def log(x: Array) -> Array:
    """The logarithm, at least −50, where e^z is 0 beside 1 in float64."""
    return np.log(np.maximum(x, math.exp(-50)))


def require_floats(loss: str, targets: NDArray[Any], n_outputs: int) -> None:
    """Refuse targets that are not finite floats `(n, n_outputs)`.

    Raises:
        ValueError: they are not.
    """
    if targets.dtype.kind != "f" or targets.ndim != 2 or targets.shape[1] != n_outputs:
        raise ValueError(
            f"expected floats of shape (n, {n_outputs}) as targets of the loss {loss}; got "
            f"{targets.dtype} of shape {targets.shape}"
        )
    if not np.isfinite(targets).all():
        raise ValueError(f"expected finite targets; got NaN or infinity in {targets.shape}")
