"""The losses of classifiers: binary and categorical cross-entropy of logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn.activations import sigmoid, softplus
from trainer.nn.losses.loss import Array, Loss, RowwiseLoss, clipped_log, require_floats


class _CrossEntropy(Loss):
    """A cross-entropy with label smoothing.

    Args:
        label_smoothing: Probability in [0, 1) that is taken from the true class and spread evenly
            over all classes [default: 0] (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567,
            section 7).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"expected a label smoothing in [0, 1); got {label_smoothing}")
        super().__init__()
        self.label_smoothing = label_smoothing

    def __repr__(self) -> str:
        smoothing = f"label_smoothing={self.label_smoothing}" if self.label_smoothing else ""
        return f"{type(self).__name__}({smoothing})"


class BinaryCrossEntropy(_CrossEntropy, RowwiseLoss):
    """ℓ = −y ln σ(z) − (1 − y) ln(1 − σ(z)), for one binary label per row or for k of them.

    Targets are floats in [0, 1], `(n, k)`; the loss of a row is the mean over its k labels.
    Computed as ln(1 + e^z) − z y, which neither overflows nor loses digits; its derivative is σ(z)
    − y.
    """

    name = "binary_cross_entropy"
    link = "sigmoid"

    def check_targets(self, targets: NDArray[Any], n_outputs: int) -> None:
        require_floats(self.name, targets, n_outputs)
        if ((targets < 0) | (targets > 1)).any():
            raise ValueError(
                f"expected targets between 0 and 1 for the loss {self.name}; got "
                f"{targets.min()} to {targets.max()}"
            )

    def ideal_logits(self, targets: NDArray[Any], n_outputs: int) -> Array:
        q = targets.astype(np.float64) * (1 - self.label_smoothing) + self.label_smoothing / 2
        return clipped_log(q) - clipped_log(1 - q)

    def _compute_rows(
        self, logits: Array, targets: NDArray[Any], losses: Array, gradient: Array
    ) -> None:
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
        self._average_rows(terms, losses)

    def answers(self, logits: Array) -> Array:
        out = np.empty_like(logits)
        sigmoid(logits, out)
        return out


class CategoricalCrossEntropy(_CrossEntropy):
    """ℓ = −ln softmax(z)[y], for class indices y, integers `(n,)` from 0 to k − 1.

    The largest logit of each row is subtracted before the exponential, so that nothing overflows.
    The gradient is softmax(z) − onehot(y). If all k logits are equal, the loss is ln k.
    """

    name = "categorical_cross_entropy"
    link = "softmax"

    def check_targets(self, targets: NDArray[Any], n_outputs: int) -> None:
        if targets.ndim != 1 or targets.dtype.kind not in "iu":
            raise ValueError(
                f"expected class indices for the loss {self.name}, integers of shape (n,); got "
                f"{targets.dtype} of shape {targets.shape}; convert floats with "
                f".astype(int), one-hot rows with .argmax(axis=1), names with "
                f"np.unique(y, return_inverse=True)[1]"
            )
        if len(targets) and not (targets.min() >= 0 and targets.max() < n_outputs):
            raise ValueError(
                f"expected class indices from 0 to {n_outputs - 1}, one per output; got "
                f"{targets.min()} to {targets.max()}"
            )

    def ideal_logits(self, targets: NDArray[Any], n_outputs: int) -> Array:
        q = np.full((len(targets), n_outputs), self.label_smoothing / n_outputs)
        q[np.arange(len(targets)), targets] += 1 - self.label_smoothing
        return clipped_log(q)

    def value_and_gradient(
        self,
        logits: Array,
        targets: NDArray[Any],
        out: Array,
        weights: NDArray[Any] | None = None,
    ) -> float:
        # With the target distribution qᵢ the loss of row i is ln Σⱼ e^zᵢⱼ − Σⱼ qᵢⱼ zᵢⱼ, and its
        # gradient softmax(zᵢ) − qᵢ.
        n, k = logits.shape
        z, q, maxima, total, ones, classes = self._workspace(n, k, logits.dtype)
        shares = None if weights is None else self._normalize_weights(weights)
        if weights is not None and shares is None:  # all weights are 0
            out.fill(0)
            return 0.0
        np.equal(targets, classes, out=q, casting="unsafe")
        if self.label_smoothing:
            np.multiply(q, 1 - self.label_smoothing, out=q)
            np.add(q, self.label_smoothing / k, out=q)
        # Transposed, because NumPy reduces over the first axis several times as fast.
        np.copyto(z, logits.T)
        np.maximum.reduce(z.real, axis=0, out=maxima)
        np.subtract(z, maxima, out=z)
        target_logit = np.vdot(q, z) if shares is None else np.einsum("kn,kn,n->", q, z, shares)
        np.exp(z, out=z)
        np.dot(ones, z, out=total)
        np.divide(z, total, out=z)
        np.subtract(z, q, out=z)
        np.multiply(z.T, 1 / n if shares is None else shares[:, None], out=out)
        np.log(total, out=total)
        value = (
            (total.sum() - target_logit) / n
            if shares is None
            else np.dot(shares, total) - target_logit
        )
        return value.item()  # type: ignore[no-any-return]

    def _workspace(self, n: int, k: int, dtype: Any) -> tuple[Array, ...]:
        """Return scratch arrays for n rows of k classes, reused while n and k stay the same."""
        workspace = self._buffers.workspace
        if not workspace or workspace[0].shape != (k, n) or workspace[0].dtype != dtype:
            workspace = (
                *(self._scratch(name, (k * n,), dtype).reshape(k, n) for name in ("z", "q")),
                self._scratch("maxima", (n,), dtype.type(0).real.dtype),
                self._scratch("total", (n,), dtype),
                self._buffers.full(1, (k,), dtype),
                np.arange(k)[:, None],
            )
            self._buffers.workspace = workspace
        return workspace

    def answers(self, logits: Array) -> Array:
        out: Array = logits - logits.max(axis=1, keepdims=True)
        np.exp(out, out=out)
        out /= out.sum(axis=1, keepdims=True)
        return out
