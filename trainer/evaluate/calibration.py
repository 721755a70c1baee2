"""Calibration: a temperature and a bias, so that probabilities can be taken at their word.

Networks are surer than they are right: dividing the logits by a temperature mends that. A network
that learned from weighted rows answers for another mix of classes than there is: no temperature
mends that, but a bias for each logit does. Both are found on rows it did not learn from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.data.tables import Task

Floats = NDArray[np.float64]

LOWEST, HIGHEST = 0.05, 20.0  # of the temperature
# Few rows say little: 1/T and each bias are taken to be normal about what is expected of them, with
# this standard deviation. A class without a row would else be answered never again.
SPREAD = 0.5


class Calibration(NamedTuple):
    """What makes probabilities of logits: softmax(logits / temperature + bias).

    Attributes:
        temperature: Divisor of the logits, from 0.05 to 20.
        bias: Added after the division, `(n_logits,)`; of a binary task for its one logit.
    """

    temperature: float
    bias: Floats


def fit_calibration(
    logits: NDArray[Any],
    target_indices: NDArray[np.integer],
    task: Task,
    *,
    class_weights: NDArray[Any] | None = None,
) -> Calibration:
    """Return the temperature and the bias for which the negative log-likelihood is least.

    With two classes this is Platt's scaling, with more vector scaling of one temperature: Guo et
    al. 2017, https://arxiv.org/abs/1706.04599, sections 4.1 and 4.2. In 1/T and the bias it is
    convex.

    Args:
        logits: Logits of rows the network did not learn from, all of which count alike: of a binary
            task one column, of the second class, `(n, 1)`, else one for each class, `(n, classes)`;
            n ≥ 1.
        target_indices: Class of each row, from 0, `(n,)`.
        task: Kind of the target, a classification.
        class_weights: Weights of the classes in training, `(classes,)`, all above 0;
            all alike if left out. A network that learned so answers probabilities times these
            weights, so the bias is expected at minus their logarithms.

    Returns:
        The temperature is 1, and the bias what is expected, where every row's class is then the
        most probable: the likelihood only rises as T falls, and says nothing of how far it should.

    Raises:
        ValueError: If the task has no classes, or the logits are not of its shape.
    """
    if task == "regression":
        raise ValueError("expected a classification to calibrate; got regression")
    if logits.ndim != 2 or (logits.shape[1] == 1) != (task == "binary"):
        columns = "1" if task == "binary" else "classes"
        raise ValueError(f"expected {task} logits of shape (n, {columns}); got {logits.shape}")
    z = logits.astype(np.float64)
    if task == "binary":
        z = np.hstack([np.zeros_like(z), z])  # σ(z) is the softmax of 0 and z
    z -= z.max(axis=1, keepdims=True)
    expected = np.zeros(z.shape[1])
    if class_weights is not None:
        expected = -np.log(class_weights.astype(np.float64))
        # All of them may be larger by the same: of two the first is 0, of more their mean.
        expected -= expected[0] if task == "binary" else expected.mean()
    temperature, bias = _fitted(z, target_indices, expected, first=int(task == "binary"))
    return Calibration(temperature, bias[int(task == "binary") :])


def _fitted(
    z: Floats, target_indices: NDArray[np.integer], expected: Floats, *, first: int
) -> tuple[float, Floats]:
    """Fit 1/T and the biases from the `first` on; those before it stay as expected."""
    from scipy import optimize  # noqa: PLC0415 - slow to import

    rows = np.arange(len(z))
    likeliest = z + expected
    if (likeliest[rows, target_indices] == likeliest.max(axis=1)).all():
        return 1.0, expected
    own = z[rows, target_indices].sum()
    counts = np.bincount(target_indices, minlength=z.shape[1])

    def cost(at: Floats) -> tuple[float, Floats]:
        beta, bias = at[0], np.concatenate([expected[:first], at[1:]])
        logits = beta * z + bias
        highest = logits.max(axis=1, keepdims=True)
        p = np.exp(logits - highest)
        total = p.sum(axis=1, keepdims=True)
        p /= total
        away = np.append(beta - 1, bias - expected) / SPREAD
        likelihood = beta * own + bias @ counts - np.sum(np.log(total) + highest)
        gradient = np.append(np.vdot(p, z) - own, p.sum(axis=0) - counts) + away / SPREAD
        free = np.concatenate([gradient[:1], gradient[1 + first :]])
        n = len(z)
        return float(away @ away / 2 - likelihood) / n, free / n

    start = np.append(1.0, expected[first:])
    bounds = [(1 / HIGHEST, 1 / LOWEST), *[(None, None)] * (len(start) - 1)]
    found = optimize.minimize(
        cost,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-10, "gtol": 1e-8, "maxiter": 500},
    )
    return float(1 / found.x[0]), np.concatenate([expected[:first], found.x[1:]])
