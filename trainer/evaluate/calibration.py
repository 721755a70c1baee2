"""Calibration: a temperature and a bias of the logits that make the probabilities realistic.

Networks are usually overconfident, and those trained with smoothed labels are not confident enough,
which dividing the logits by a temperature corrects. A network that was trained with class weights
predicts probabilities for another mix of classes, which a bias of each logit corrects. Both are
fitted on rows that the network was not trained on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.data.tables import Task

Floats = NDArray[np.float64]

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
# Standard deviation of the normal priors of 1 / temperature and of each bias. They keep the fit
# from following a few rows; without them, a class without rows would get a bias of minus infinity.
PRIOR_STD = 0.5
# Probability of the right class at which the centre of the prior of 1 / temperature undoes the
# smoothing of labels exactly.
TYPICAL_PROBABILITY = 0.99


class Calibration(NamedTuple):
    """The calibrated probabilities are softmax(logits / temperature + bias).

    Attributes:
        temperature: Divisor of the logits, 0.05 to 20.
        bias: Bias of each logit, float64 `(n_logits,)`; a binary task has one logit.
    """

    temperature: float
    bias: Floats


def fit_calibration(
    logits: NDArray[Any],
    target_indices: NDArray[np.integer],
    task: Task,
    *,
    class_weights: NDArray[Any] | None = None,
    label_smoothing: float = 0.0,
    fit_bias: bool = True,
    row_weights: NDArray[Any] | None = None,
) -> Calibration:
    """Return the calibration with the highest posterior probability.

    Without biases it is temperature scaling. With biases it is Platt scaling of two classes, and of
    more classes vector scaling with one temperature: Guo et al. 2017,
    https://arxiv.org/abs/1706.04599, sections 4.1 and 4.2. The negative log-posterior is convex in
    1 / temperature and the bias.

    Args:
        logits: Logits of at least one row that the network was not trained on, float: the logit of
            the second class `(n, 1)` if the task is binary, else `(n, n_classes)`.
        target_indices: Class index of each row, `(n,)`.
        task: Kind of the target, a classification.
        class_weights: Positive weight of each class in training, `(n_classes,)`; None if they all
            are equal. Such a network predicts the probabilities times these weights, so that the
            prior of the bias is centred at the negative logarithms of the weights.
        label_smoothing: Share of each label's probability that was spread over all classes in
            training, 0 to 1. The prior of the temperature is centred at the one that undoes it.
        fit_bias: Whether biases are fitted; if not, they are the centres of their priors.
        row_weights: Weight of each row, `(n,)`, at least 0; None if all count alike.

    Returns:
        If every row's class already is the most probable one and labels were not smoothed,
        temperature 1 and the centre of the prior of the bias: the likelihood then only rises as
        the temperature falls.

    Raises:
        ValueError: If the task is a regression, or the logits do not have the shape of the task.
    """
    if task == "regression":
        raise ValueError("expected a classification to calibrate; got regression")
    if logits.ndim != 2 or (logits.shape[1] == 1) != (task == "binary"):
        columns = "1" if task == "binary" else "classes"
        raise ValueError(f"expected {task} logits of shape (n, {columns}); got {logits.shape}")
    z = logits.astype(np.float64)
    if task == "binary":
        z = np.hstack([np.zeros_like(z), z])  # sigmoid(z) = softmax([0, z])[1]
    z -= z.max(axis=1, keepdims=True)
    prior_bias = np.zeros(z.shape[1])
    if class_weights is not None:
        prior_bias = -np.log(class_weights.astype(np.float64))
        # Softmax ignores a constant that is added to all biases. The bias of the fixed first logit
        # of a binary task is 0; otherwise the mean is 0.
        prior_bias -= prior_bias[0] if task == "binary" else prior_bias.mean()
    if row_weights is not None:
        is_counted = row_weights > 0
        z, target_indices = z[is_counted], target_indices[is_counted]
        row_weights = row_weights[is_counted].astype(np.float64)
    first = int(task == "binary")
    temperature, bias = _minimize(
        z,
        target_indices,
        _compute_prior_beta(label_smoothing, z.shape[1]),
        prior_bias,
        first if fit_bias else z.shape[1],
        row_weights,
    )
    return Calibration(temperature, bias[first:])


def _compute_prior_beta(label_smoothing: float, n_classes: int) -> float:
    """Return the centre of the prior of 1 / temperature; 1 without smoothing.

    A network that fits smoothed labels gives (1 − s) p + s / K to a class of probability p. The
    result is the ratio of the logits' difference, between the right class and another one, at
    p = `TYPICAL_PROBABILITY` to that of the smoothed probabilities.
    """
    right = TYPICAL_PROBABILITY
    other = (1 - right) / max(n_classes - 1, 1)
    smoothed = [(1 - label_smoothing) * p + label_smoothing / n_classes for p in (right, other)]
    ratio = np.log(right / other) / np.log(smoothed[0] / smoothed[1])
    return float(min(ratio, 1 / MIN_TEMPERATURE))


def _minimize(
    z: Floats,
    target_indices: NDArray[np.integer],
    prior_beta: float,
    prior_bias: Floats,
    n_fixed: int,
    row_weights: Floats | None,
) -> tuple[float, Floats]:
    """Minimise the negative log-posterior and return the temperature and all biases.

    Args:
        z: Logits `(n, n_classes)` whose maximum in each row is 0.
        target_indices: Class index of each row, `(n,)`.
        prior_beta: Centre of the prior of 1 / temperature; 1 if labels were not smoothed.
        prior_bias: Centre of the prior of each bias, `(n_classes,)`.
        n_fixed: Number of biases, from the first on, that stay at the centre of their prior.
        row_weights: Weight of each row, float64 `(n,)`; None if all count alike.
    """
    from scipy import optimize  # noqa: PLC0415 - slow to import

    rows = np.arange(len(z))
    prior_logits = z + prior_bias
    is_separated = (prior_logits[rows, target_indices] == prior_logits.max(axis=1)).all()
    if is_separated and prior_beta == 1:
        return 1.0, prior_bias
    target_logits = z[rows, target_indices]
    n: float = len(z)
    if row_weights is not None:
        target_logits, n = target_logits * row_weights, float(row_weights.sum())
    target_logit_sum = target_logits.sum()
    class_counts = np.bincount(target_indices, row_weights, minlength=z.shape[1])

    def compute_cost(parameters: Floats) -> tuple[float, Floats]:
        """Return the negative log-posterior per row, and its gradient.

        The parameters are 1 / temperature and the biases that are not fixed.
        """
        beta, bias = parameters[0], np.concatenate([prior_bias[:n_fixed], parameters[1:]])
        logits = beta * z + bias
        max_logits = logits.max(axis=1, keepdims=True)
        p = np.exp(logits - max_logits)
        p_sums = p.sum(axis=1, keepdims=True)
        p /= p_sums
        log_sums = np.log(p_sums) + max_logits
        if row_weights is not None:
            p *= row_weights[:, None]
            log_sums *= row_weights[:, None]
        deviations = np.append(beta - prior_beta, bias - prior_bias) / PRIOR_STD
        log_likelihood = beta * target_logit_sum + bias @ class_counts - np.sum(log_sums)
        gradient = np.append(np.vdot(p, z) - target_logit_sum, p.sum(axis=0) - class_counts)
        gradient += deviations / PRIOR_STD
        free_gradient = np.concatenate([gradient[:1], gradient[1 + n_fixed :]])
        return float(deviations @ deviations / 2 - log_likelihood) / n, free_gradient / n

    start = np.append(prior_beta, prior_bias[n_fixed:])
    bounds = [(1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE), *[(None, None)] * (len(start) - 1)]
    result = optimize.minimize(
        compute_cost,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-10, "gtol": 1e-8, "maxiter": 500},
    )
    return float(1 / result.x[0]), np.concatenate([prior_bias[:n_fixed], result.x[1:]])
