"""The temperature: what logits are divided by, so that probabilities can be taken at their word.

Networks are surer than they are right. One number, found on rows they did not learn from, mends
most of that; no row's most probable class changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.tables import Task

LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(
    logits: NDArray[Any],
    target_indices: NDArray[np.integer],
    task: Task,
    weights: NDArray[Any] | None = None,
) -> float:
    """The T for which the mean negative log-likelihood of softmax(logits / T) is least.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2. In 1 / T it is convex, so there
    is one valley, however it is searched.

    Args:
        logits: of a binary task one column, of the second class, `(n, 1)`, else one for each
            class, `(n, classes)`; n ≥ 1.
        target_indices: each row's class, from 0, `(n,)`.
        task: a classification.
        weights: of the rows, `(n,)`, not all 0; all alike if left out.

    Returns:
        Between 0.05 and 20. 1 where no other does better, and where every row's class is the most
        probable: the likelihood then only rises as T falls, and says nothing of how far it should.

    Raises:
        ValueError: the task has no classes, or the logits are not of its shape.
    """
    from scipy import optimize  # noqa: PLC0415 - slow to import

    if task == "regression":
        raise ValueError("expected a classification to fit a temperature to; got regression")
    if logits.ndim != 2 or (logits.shape[1] == 1) != (task == "binary"):
        columns = "1" if task == "binary" else "classes"
        raise ValueError(f"expected {task} logits of shape (n, {columns}); got {logits.shape}")
    z = logits.astype(np.float64)
    if task == "binary":
        z = np.hstack([np.zeros_like(z), z])  # σ(z) is the softmax of 0 and z
    z -= z.max(axis=1, keepdims=True)
    own = z[np.arange(len(z)), target_indices]
    if (own[slice(None) if weights is None else weights > 0] == 0).all():
        return 1.0

    def cost(log_temperature: float) -> float:
        beta = np.exp(-log_temperature)
        losses = np.log(np.exp(beta * z).sum(axis=1)) - beta * own
        return float(np.average(losses, weights=weights))

    found = optimize.minimize_scalar(
        cost, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-6}
    )
    return float(np.exp(found.x)) if found.fun < cost(0.0) else 1.0
