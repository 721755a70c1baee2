"""Losses of values, of counts among them, in order of increasing complexity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn.losses.loss import Array, RowwiseLoss, log, require_floats


class _ValueLoss(RowwiseLoss):
    """A loss of values; targets are floats `(n, k)`, and a row's loss is the mean over its k."""

    link = "identity"

    def check_targets(self, targets: NDArray[Any], n_outputs: int) -> None:
        require_floats(self.name, targets, n_outputs)

    def ideal_logits(self, targets: NDArray[Any], n_outputs: int) -> Array:
        return targets.astype(np.float64)

    def _rows(self, logits: Array, targets: NDArray[Any], losses: Array, gradient: Array) -> None:
        terms = self._scratch("terms", logits.shape, logits.dtype)
        np.subtract(logits, targets, out=gradient)
        self._terms(gradient, terms)
        np.multiply(gradient, 1 / logits.shape[1], out=gradient)
        self._means(terms, losses)

    def _terms(self, difference: Array, terms: Array) -> None:
        """Write each term's loss, and overwrite the differences ŷ − y with its derivative."""
        raise NotImplementedError


class MeanSquaredError(_ValueLoss):
    """ℓ = f (ŷ − y)².

    Args:
        factor: f, positive; 1/2 where the gradient is wanted without a 2.
    """

    name = "mse"

    def __init__(self, factor: float = 1.0) -> None:
        if not factor > 0:
            raise ValueError(f"expected a factor above 0; got {factor}")
        super().__init__()
        self.factor = factor

    def _terms(self, difference: Array, terms: Array) -> None:
        np.multiply(difference, difference, out=terms)
        if self.factor != 1:
            np.multiply(terms, self.factor, out=terms)
        np.multiply(difference, 2 * self.factor, out=difference)

    def __repr__(self) -> str:
        return f"MeanSquaredError({'' if self.factor == 1 else self.factor})"


class MeanAbsoluteError(_ValueLoss):
    """ℓ = |ŷ − y|, which outliers pull on no more than others; its minimum is the median."""

    name = "mae"

    def _terms(self, difference: Array, terms: Array) -> None:
        side = np.sign(difference.real)
        np.multiply(difference, side, out=terms)
        np.copyto(difference, side)


class Huber(_ValueLoss):
    """ℓ = d²/2 for |d| ≤ δ, δ (|d| − δ/2) beyond, with d = ŷ − y.

    Huber 1964, https://doi.org/10.1214/aoms/1177703732.

    Args:
        delta: δ, where the square turns into a line; positive.
    """

    name = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        if not delta > 0:
            raise ValueError(f"expected a delta above 0; got {delta}")
        super().__init__()
        self.delta = delta

    def _terms(self, difference: Array, terms: Array) -> None:
        # With c = d cut off at ±δ, it is c (d − c/2) on either side.
        cut = self._scratch("cut", difference.shape, difference.dtype)
        np.minimum(difference, self.delta, out=cut)
        np.maximum(cut, -self.delta, out=cut)
        np.multiply(cut, -0.5, out=terms)
        np.add(terms, difference, out=terms)
        np.multiply(terms, cut, out=terms)
        np.copyto(difference, cut)

    def __repr__(self) -> str:
        return f"Huber({self.delta})"


class Poisson(_ValueLoss):
    """ℓ = e^z − y z, for counts y ≥ 0 whose expected value is e^z.

    The negative log-likelihood but for ln y!, which no weight can change.
    """

    name = "poisson"
    link = "exp"

    def check_targets(self, targets: NDArray[Any], n_outputs: int) -> None:
        super().check_targets(targets, n_outputs)
        if (targets < 0).any():
            raise ValueError(
                f"expected counts for the loss poisson, none below 0; got {targets.min()}; "
                f"use another loss for signed values"
            )

    def ideal_logits(self, targets: NDArray[Any], n_outputs: int) -> Array:
        return log(targets.astype(np.float64))

    def _rows(self, logits: Array, targets: NDArray[Any], losses: Array, gradient: Array) -> None:
        terms = self._scratch("terms", logits.shape, logits.dtype)
        np.exp(logits, out=gradient)
        np.multiply(logits, targets, out=terms)
        np.subtract(gradient, terms, out=terms)
        np.subtract(gradient, targets, out=gradient)
        np.multiply(gradient, 1 / logits.shape[1], out=gradient)
        self._means(terms, losses)

    def answers(self, logits: Array) -> Array:
        with np.errstate(over="ignore"):  # infinite, as the graph's
            result: Array = np.exp(logits)
        return result
