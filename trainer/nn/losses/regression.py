"""The losses of regression: squared, absolute and Huber errors, and Poisson for counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn.losses.loss import Array, RowwiseLoss, clipped_log, require_floats


class _ValueLoss(RowwiseLoss):
    """A loss of values; targets are floats `(n, k)`, the loss of a row is the mean over its k."""

    link = "identity"

    def check_targets(self, targets: NDArray[Any], n_outputs: int) -> None:
        require_floats(self.name, targets, n_outputs)

    def ideal_logits(self, targets: NDArray[Any], n_outputs: int) -> Array:
        return targets.astype(np.float64)

    def _compute_rows(
        self, logits: Array, targets: NDArray[Any], losses: Array, gradient: Array
    ) -> None:
        terms = self._scratch("terms", logits.shape, logits.dtype)
        np.subtract(logits, targets, out=gradient)
        self._compute_terms(gradient, terms)
        np.multiply(gradient, 1 / logits.shape[1], out=gradient)
        self._average_rows(terms, losses)

    def _compute_terms(self, difference: Array, terms: Array) -> None:
        """Compute the loss of each element.

        Args:
            difference: ŷ − y, `(n, k)`, overwritten with the derivative of the loss by ŷ.
            terms: Loss of each element, `(n, k)`, written in place.
        """
        raise NotImplementedError


class MeanSquaredError(_ValueLoss):
    """ℓ = factor · (ŷ − y)².

    Args:
        factor: f, above 0; with 1/2 the gradient is ŷ − y, without the factor 2 [default: 1].
    """

    name = "mse"

    def __init__(self, factor: float = 1.0) -> None:
        if not factor > 0:
            raise ValueError(f"expected a factor above 0; got {factor}")
        super().__init__()
        self.factor = factor

    def _compute_terms(self, difference: Array, terms: Array) -> None:
        np.multiply(difference, difference, out=terms)
        if self.factor != 1:
            np.multiply(terms, self.factor, out=terms)
        np.multiply(difference, 2 * self.factor, out=difference)

    def __repr__(self) -> str:
        return f"MeanSquaredError({'' if self.factor == 1 else self.factor})"


class MeanAbsoluteError(_ValueLoss):
    """ℓ = |ŷ − y|, robust to outliers; its minimum is the median."""

    name = "mae"

    def _compute_terms(self, difference: Array, terms: Array) -> None:
        sign = np.sign(difference.real)
        np.multiply(difference, sign, out=terms)
        np.copyto(difference, sign)


class Huber(_ValueLoss):
    """ℓ = d²/2 for |d| ≤ δ, else δ (|d| − δ/2), with d = ŷ − y.

    Huber 1964, https://doi.org/10.1214/aoms/1177703732.

    Args:
        delta: δ, above 0: the |d| where the loss changes from quadratic to linear [default: 1].
    """

    name = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        if not delta > 0:
            raise ValueError(f"expected a delta above 0; got {delta}")
        super().__init__()
        self.delta = delta

    def _compute_terms(self, difference: Array, terms: Array) -> None:
        # With c = d clipped to [−δ, δ], the loss is c (d − c/2) for all d.
        clipped = self._scratch("clipped", difference.shape, difference.dtype)
        np.minimum(difference, self.delta, out=clipped)
        np.maximum(clipped, -self.delta, out=clipped)
        np.multiply(clipped, -0.5, out=terms)
        np.add(terms, difference, out=terms)
        np.multiply(terms, clipped, out=terms)
        np.copyto(difference, clipped)

    def __repr__(self) -> str:
        return f"Huber({self.delta})"


class Poisson(_ValueLoss):
    """ℓ = e^z − y z, for counts y ≥ 0 whose expected value is e^z.

    The negative log-likelihood without its term ln y!, which does not depend on the weights.
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
        return clipped_log(targets.astype(np.float64))

    def _compute_rows(
        self, logits: Array, targets: NDArray[Any], losses: Array, gradient: Array
    ) -> None:
        terms = self._scratch("terms", logits.shape, logits.dtype)
        np.exp(logits, out=gradient)
        np.multiply(logits, targets, out=terms)
        np.subtract(gradient, terms, out=terms)
        np.subtract(gradient, targets, out=gradient)
        np.multiply(gradient, 1 / logits.shape[1], out=gradient)
        self._average_rows(terms, losses)

    def answers(self, logits: Array) -> Array:
        with np.errstate(over="ignore"):  # overflows to infinity, as the exported graph does
            result: Array = np.exp(logits)
        return result
