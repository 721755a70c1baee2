"""Losses: how wrong a batch of logits is, and in which direction to move them.

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

from trainer.nn.activations import sigmoid, softplus
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


class _RowwiseLoss(Loss):
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


class _ValueLoss(_RowwiseLoss):
    """A loss of values; targets are floats `(n, k)`, and a row's loss is the mean over its k."""

    link = "identity"

    def check_targets(self, targets: NDArray[Any], n_outputs: int) -> None:
        _require_floats(self.name, targets, n_outputs)

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
        return _log(targets.astype(np.float64))

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


class _CrossEntropy(Loss):
    """What the two cross-entropies share.

    Args:
        label_smoothing: s in [0, 1): the share of certainty taken from the true class and spread
            evenly over all (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"expected a label smoothing in [0, 1); got {label_smoothing}")
        super().__init__()
        self.label_smoothing = label_smoothing

    def __repr__(self) -> str:
        smoothing = f"label_smoothing={self.label_smoothing}" if self.label_smoothing else ""
        return f"{type(self).__name__}({smoothing})"


class BinaryCrossEntropy(_CrossEntropy, _RowwiseLoss):
    """ℓ = −y ln σ(z) − (1 − y) ln(1 − σ(z)), for one yes or no or, multilabel, k of them.

    Targets are floats in [0, 1], `(n, k)`; a row's loss is the mean over its k. Computed as
    ln(1 + e^z) − z y, which neither overflows nor loses digits; its derivative is σ(z) − y.
    """

    name = "binary_cross_entropy"
    link = "sigmoid"

    def check_targets(self, targets: NDArray[Any], n_outputs: int) -> None:
        _require_floats(self.name, targets, n_outputs)
        if ((targets < 0) | (targets > 1)).any():
            raise ValueError(
                f"expected targets between 0 and 1 for the loss {self.name}; got "
                f"{targets.min()} to {targets.max()}"
            )

    def ideal_logits(self, targets: NDArray[Any], n_outputs: int) -> Array:
        q = targets.astype(np.float64) * (1 - self.label_smoothing) + self.label_smoothing / 2
        return _log(q) - _log(1 - q)

    def _rows(self, logits: Array, targets: NDArray[Any], losses: Array, gradient: Array) -> None:
        shape, dtype = logits.shape, logits.dtype
        terms, work = self._scratch("terms", shape, dtype), self._scratch("work", shape, dtype)
        if self.label_smoothing:
            smooth = self._scratch("smooth", shape, targets.dtype)
            np.multiply(targets, 1 - self.label_smoothing, out=smooth)
            targets = np.add(smooth, self.label_smoothing / 2, out=smooth)
        softplus(logits, terms, work)
        np.multiply(logits, targets, out=work)
        np.subtract(terms, work, out=terms)
        sigmoid(logits, gradient)
        np.subtract(gradient, targets, out=gradient)
        if shape[1] > 1:
            np.multiply(gradient, 1 / shape[1], out=gradient)
        self._means(terms, losses)

    def answers(self, logits: Array) -> Array:
        out = np.empty_like(logits)
        sigmoid(logits, out)
        return out


class CategoricalCrossEntropy(_CrossEntropy):
    """ℓ = −ln softmax(z)[y]; targets are class indices, integers `(n,)` in 0 … k − 1.

    Each row is shifted by its own largest logit before the exponential. The gradient is
    softmax(z) − onehot(y). Of K equally likely classes the loss is ln K.
    """

    name = "categorical_cross_entropy"
    link = "softmax"
    _room: tuple[Array, ...] = (np.empty((0, 0)),)
    _table_of: tuple[object, Array] = (None, np.empty((0, 0)))

    def check_targets(self, targets: NDArray[Any], n_outputs: int) -> None:
        if targets.ndim != 1 or targets.dtype.kind not in "iu":
            raise ValueError(
                f"expected class indices for the loss {self.name}, integers of shape (n,); got "
                f"{targets.dtype} of shape {targets.shape}"
            )
        if len(targets) and not (targets.min() >= 0 and targets.max() < n_outputs):
            raise ValueError(
                f"expected class indices from 0 to {n_outputs - 1}, one per output; got "
                f"{targets.min()} to {targets.max()}"
            )

    def ideal_logits(self, targets: NDArray[Any], n_outputs: int) -> Array:
        q = np.full((len(targets), n_outputs), self.label_smoothing / n_outputs)
        q[np.arange(len(targets)), targets] += 1 - self.label_smoothing
        return _log(q)

    def value_and_gradient(
        self,
        logits: Array,
        targets: NDArray[Any],
        out: Array,
        weights: NDArray[Any] | None = None,
    ) -> float:
        # With the share sᵢ of each row in the target distributions qᵢ themselves, the mean loss is
        # Σ sᵢ ln Σⱼ e^zᵢⱼ − Σ qᵢⱼ zᵢⱼ and its gradient sᵢ softmax(zᵢ) − qᵢ.
        n, k = logits.shape
        z, q, top, total, ratio, ones = self._arrays(n, k, logits.dtype)
        if weights is None:
            shares = self._buffers.full(1 / n, (n,), logits.real.dtype)
            self._table(k, 1 / n, logits.dtype).take(targets, axis=1, out=q, mode="clip")
        else:
            given = self._shares(weights)
            if given is None:
                out.fill(0)
                return 0.0
            shares = given
            self._table(k, 1, logits.dtype).take(targets, axis=1, out=q, mode="clip")
            np.multiply(q, shares, out=q)

        # One class after the other: NumPy reduces over the first axis several times as fast.
        np.copyto(z, logits.T)
        np.maximum.reduce(z.real, axis=0, out=top)
        np.subtract(z, top, out=z)
        towards = np.vdot(q, z)
        np.exp(z, out=z)
        np.dot(ones, z, out=total)
        np.divide(shares, total, out=ratio)
        np.log(total, out=total)
        value = np.dot(shares, total) - towards

        np.multiply(z, ratio, out=z)
        np.subtract(z, q, out=z)
        np.copyto(out, z.T)
        return value.item()  # type: ignore[no-any-return]

    def _arrays(self, n: int, k: int, dtype: Any) -> tuple[Array, ...]:
        """Room for n rows of k classes, the same as the last time if they are as many."""
        if self._room[0].shape != (k, n) or self._room[0].dtype != dtype:
            flat = ("z", "q")
            self._room = (
                *(self._scratch(name, (k * n,), dtype).reshape(k, n) for name in flat),
                self._scratch("top", (n,), dtype.type(0).real.dtype),
                *(self._scratch(name, (n,), dtype) for name in ("total", "ratio")),
                self._buffers.full(1, (k,), dtype),
            )
        return self._room

    def _table(self, k: int, share: float, dtype: Any) -> Array:
        """Column y is the target distribution of class y, times the share of its row."""
        key = (k, share, self.label_smoothing, dtype)
        if self._table_of[0] != key:
            q = np.full((k, k), self.label_smoothing / k) + (1 - self.label_smoothing) * np.eye(k)
            self._table_of = key, (q * share).astype(dtype)
        return self._table_of[1]

    def answers(self, logits: Array) -> Array:
        out: Array = logits - logits.max(axis=1, keepdims=True)
        np.exp(out, out=out)
        out /= out.sum(axis=1, keepdims=True)
        return out


LOSSES: dict[str, type[Loss]] = {
    loss.name: loss
    for loss in (
        MeanSquaredError, MeanAbsoluteError, Huber, Poisson, BinaryCrossEntropy,
        CategoricalCrossEntropy,
    )
}  # fmt: skip


def check_pairing(loss: Loss, activation: str) -> None:
    """Refuse a loss that does not fit the activation of the last layer, and name what does.

    Args:
        loss: takes the last layer's outputs.
        activation: the last layer's.

    Raises:
        ValueError: they do not fit.
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


def _log(x: Array) -> Array:
    """The logarithm, at least −50, where e^z is 0 beside 1 in float64."""
    return np.log(np.maximum(x, math.exp(-50)))


def _require_floats(loss: str, targets: NDArray[Any], n_outputs: int) -> None:
    if targets.dtype.kind != "f" or targets.ndim != 2 or targets.shape[1] != n_outputs:
        raise ValueError(
            f"expected floats of shape (n, {n_outputs}) as targets of the loss {loss}; got "
            f"{targets.dtype} of shape {targets.shape}"
        )
    if not np.isfinite(targets).all():
        raise ValueError(f"expected finite targets; got NaN or infinity in {targets.shape}")
