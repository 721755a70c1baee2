"""The base classes of losses, and the check that a loss fits the last layer.

The outputs of the last layer are logits: sigmoid and softmax are fused with their cross-entropies,
which stays accurate where separate steps would round to 0 or overflow. Every loss is a (weighted)
mean over the batch, so that its value does not depend on the batch size.
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
    """Base class of losses of logits, with the link function from logits to answers.

    Attributes:
        name: Name of the loss in options and in the manifest of a bundle.
        link: Function from logits to answers: `identity`, `exp`, `sigmoid` or `softmax`.
    """

    name: str
    link: str

    def __init__(self) -> None:
        self._buffers = Buffers()

    def value(
        self, logits: Array, targets: NDArray[Any], weights: NDArray[Any] | None = None
    ) -> float:
        """Return the mean loss of a batch; for the arguments see `value_and_gradient`."""
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
        """Return the mean loss L of a batch and write ∂L/∂logits into `out`.

        Args:
            logits: Logits, float `(n, k)`, n ≥ 1.
            targets: Targets of the rows, in the form that `check_targets` accepts.
            out: Gradient, `(n, k)` of the dtype of the logits, written in place.
            weights: Weights of the rows, float `(n,)`, at least 0; the mean is then
                Σ wᵢ ℓᵢ / Σ wᵢ [default: 1 each].
        """

    def compute_minimum(
        self, targets: NDArray[Any], n_outputs: int, weights: NDArray[Any] | None = None
    ) -> float:
        """Return the smallest mean loss that any logits can reach.

        It is 0, except where targets are uncertain: smoothed labels, fractions, counts.
        """
        return self.value(self.ideal_logits(targets, n_outputs), targets, weights)

    @abstractmethod
    def ideal_logits(self, targets: NDArray[Any], n_outputs: int) -> Array:
        """Return the logits of the smallest loss, float64 `(n, k)`, limited to ±50."""

    @abstractmethod
    def check_targets(self, targets: NDArray[Any], n_outputs: int) -> None:
        """Raise ValueError unless the dtype, shape and range of the targets fit this loss."""

    def answers(self, logits: Array) -> Array:
        """Return the link function of the logits, probabilities or values: a new array `(n, k)`."""
        return logits.copy()

    def squared_error(
        self, logits: Array, targets: NDArray[Any], weights: NDArray[Any] | None = None
    ) -> float:
        """Return the mean squared error of the answers: the Brier score if they are probabilities.

        It is the (weighted) mean over the rows of Σₖ (answerₖ − targetₖ)², in which the target of a
        class index is 1 for its class and 0 for the others. Brier 1950,
        https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

        Args:
            logits: Logits, float `(n, k)`, n ≥ 1.
            targets: Targets of the rows, in the form that `check_targets` accepts.
            weights: Weights of the rows, float `(n,)` [default: 1 each].
        """
        errors = self.answers(logits)
        if targets.ndim == 1:
            errors[np.arange(len(errors)), targets] -= 1
        else:
            errors -= targets
        squares = np.einsum("ij,ij->i", errors, errors, dtype=np.float64)
        return float(np.average(squares, weights=weights))

    def _scratch(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return a scratch array."""
        return self._buffers.get(name, shape, dtype)

    def _normalize_weights(self, weights: NDArray[Any]) -> NDArray[Any] | None:
        """Return the weights divided by their sum, `(n,)`; None if the sum is 0."""
        total = weights.sum().item()
        if total == 0:
            return None
        shares: NDArray[Any] = self._scratch("shares", weights.shape, weights.dtype)
        np.multiply(weights, 1 / total, out=shares)
        return shares

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class RowwiseLoss(Loss):
    """A loss that is first computed for each row, then averaged with the weights of the rows."""

    def value_and_gradient(
        self,
        logits: Array,
        targets: NDArray[Any],
        out: Array,
        weights: NDArray[Any] | None = None,
    ) -> float:
        n = len(logits)
        losses = self._scratch("losses", (n,), logits.dtype)
        self._compute_rows(logits, targets, losses, out)
        if weights is None:
            np.multiply(out, 1 / n, out=out)
            return losses.sum().item() / n  # type: ignore[no-any-return]
        shares = self._normalize_weights(weights)
        if shares is None:
            out.fill(0)
            return 0.0
        np.multiply(out, shares[:, None], out=out)
        return np.dot(losses, shares).item()  # type: ignore[no-any-return]

    @abstractmethod
    def _compute_rows(
        self, logits: Array, targets: NDArray[Any], losses: Array, gradient: Array
    ) -> None:
        """Compute the loss of each row by itself.

        Args:
            logits: Logits, float `(n, k)`.
            targets: Targets of the rows.
            losses: Loss of each row, `(n,)`, written in place.
            gradient: Gradient of each row's loss by its logits, `(n, k)`, written in place.
        """

    def _average_rows(self, terms: Array, out: Array) -> None:
        """Write the mean of each row of `terms` into `out`."""
        k = terms.shape[1]
        np.dot(terms, self._buffers.full(1 / k, (k,), terms.dtype), out=out)


def clipped_log(x: Array) -> Array:
    """Return ln x, at least −50: 1 + e^−50 rounds to 1 in float64."""
    return np.log(np.maximum(x, math.exp(-50)))


def require_floats(loss: str, targets: NDArray[Any], n_outputs: int) -> None:
    """Check that targets are finite floats of shape `(n, n_outputs)`.

    Args:
        loss: Name of the loss, for the error message.
        targets: Targets of all rows.
        n_outputs: Number of outputs of the network.

    Raises:
        ValueError: If they are not.
    """
    if targets.dtype.kind != "f" or targets.ndim != 2 or targets.shape[1] != n_outputs:
        raise ValueError(
            f"expected floats of shape (n, {n_outputs}) as targets of the loss {loss}; got "
            f"{targets.dtype} of shape {targets.shape}"
        )
    if not np.isfinite(targets).all():
        raise ValueError(f"expected finite targets; got NaN or infinity in {targets.shape}")


def check_pairing(loss: Loss, activation: str) -> None:
    """Refuse a loss that does not fit the activation of the last layer.

    Args:
        loss: Loss of the outputs of the last layer.
        activation: Name of the activation of the last layer.

    Raises:
        ValueError: If they do not fit; the message names a combination that does.
    """
    if activation == "identity":
        return
    if loss.link != "identity":
        raise ValueError(
            f"expected logits for the loss {loss.name}, whose {loss.link} is applied inside it; "
            f"got a last layer with {activation}; leave its activation out"
        )
    if activation == "sigmoid":
        raise ValueError(
            f"expected a loss of probabilities after sigmoid; got {loss.name}, whose gradient "
            f"vanishes where sigmoid saturates; for classes use binary_cross_entropy and leave the "
            f"last activation out, for values leave it out"
        )
