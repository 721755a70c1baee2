"""`MLPRegressor`: regression with one target or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d

from trainer.estimators.base import BaseMLP
from trainer.nn import LOSSES, Loss, MeanSquaredError, Network, Schedule
from trainer.training.batches import TrainingRows
from trainer.training.loop import Callback

Array = NDArray[Any]

# scikit-learn's names of losses that have another name in `trainer.nn`.
LOSS_NAMES = {"absolute_error": "mae"}


class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """A multilayer perceptron for regression with one target or several.

    All other parameters and attributes are those of `MLPClassifier`, except that there is no
    `class_weight`, `label_smoothing`, `calibrate` or `classes_`. The validation score is R².

    Args:
        loss: Loss: `squared_error`, `absolute_error`, `huber` or `poisson`
            [default: "squared_error"].
        target_scaling: `standard` to train on targets of mean 0 and standard deviation 1, over the
            training rows of the first fit; predictions are in the units of the targets. None to
            train on the targets as they are [default: None].
        clip_predictions: Whether predictions are limited to the range of the training targets
            [default: False].
    """

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: str | Schedule = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int | Literal["auto"] = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        l1: float = 0.0,
        dropout: float = 0.0,
        batch_norm: bool = False,
        max_norm: float | None = None,
        clip_norm: float | None = None,
        average: float = 0.0,
        initializer: str | None = None,
        layer_rates: Literal["equal", "fan_in"] = "equal",
        regularization_schedule: Literal["constant", "flat_cosine"] = "constant",
        monitor: Literal["score", "loss", "squared_error"] = "score",
        target_scaling: Literal["standard"] | None = None,
        clip_predictions: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.l1 = l1
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.max_norm = max_norm
        self.clip_norm = clip_norm
        self.average = average
        self.initializer = initializer
        self.layer_rates = layer_rates
        self.regularization_schedule = regularization_schedule
        self.monitor = monitor
        self.target_scaling = target_scaling
        self.clip_predictions = clip_predictions
        self.callbacks = callbacks

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train one epoch from the current weights.

        Args:
            X: Features, array or sparse matrix `(n_samples, n_features)`, finite.
            y: Values, `(n_samples,)` or `(n_samples, n_outputs)`.
            sample_weight: Weight of each row, `(n_samples,)`, at least 0 [default: None, all 1].

        Returns:
            The estimator itself.

        Raises:
            ValueError: If a parameter or an array is invalid.
            TrainingDivergedError: If the loss or a weight became infinite or NaN. The network then
                has the weights that it had before the call.
        """
        is_new = not hasattr(self, "network_")
        return self._train(X, y, sample_weight, is_new=is_new, incremental=True)

    def predict(self, X: ArrayLike) -> Array:
        """Return the predicted values, in the network's dtype.

        Args:
            X: Features, array or sparse matrix `(n_samples, n_features)`.

        Returns:
            Value of each row, `(n_samples,)`; `(n_samples, n_outputs)` if the targets in training
            had several columns.
        """
        logits = self._compute_logits(
            X
        )  # first, since it raises the error of an unfitted estimator
        return self._decode_values(self._loss.answers(logits))

    def _match_target_shape(self, values: Array) -> Array:
        return values[:, 0] if self._is_target_1d else values

    def _predict(self, network: Network, loss: Loss, X: Array) -> Array:
        return self._decode_values(loss.answers(network.logits(X)))

    def _decode_values(self, values: Array) -> Array:
        """Return outputs of the network in the units and the shape of the targets."""
        if self._target_scale is not None:
            mean, deviation = self._target_scale
            values = values * deviation + mean
        if self._target_range is not None:
            values = values.clip(*self._target_range)
        return self._match_target_shape(values)

    def _scale_targets(self, rows: TrainingRows, *, is_new: bool) -> None:
        weights = rows.weights
        targets = rows.targets if weights is None else rows.targets[weights > 0]
        if is_new:  # later, the network's outputs have this scale already
            self._target_scale: tuple[Array, Array] | None = None
            self._target_range: tuple[Array, Array] | None = None
            if self.target_scaling is not None:
                mean = np.average(rows.targets, axis=0, weights=weights)
                variance = np.average((rows.targets - mean) ** 2, axis=0, weights=weights)
                deviation = np.sqrt(np.where(variance > 0, variance, 1))
                self._target_scale = mean.astype(targets.dtype), deviation.astype(targets.dtype)
        earlier = self._target_range
        self._target_range = None
        if self.clip_predictions:
            low, high = targets.min(axis=0), targets.max(axis=0)
            if earlier is not None:
                low, high = np.minimum(low, earlier[0]), np.maximum(high, earlier[1])
            self._target_range = low, high

    def _apply_target_scaling(self, rows: TrainingRows) -> TrainingRows:
        if self._target_scale is None:
            return rows
        mean, deviation = self._target_scale
        return replace(rows, targets=(rows.targets - mean) / deviation)

    def _score(self, predictions: Array, y: Array, weights: Array | None) -> float:
        return float(r2_score(y, predictions, sample_weight=weights))

    def _encode(
        self, y: Array, *, is_new: bool, classes: ArrayLike | None
    ) -> tuple[Array, Array, Array | None]:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if is_new:
            self._is_target_1d = y.ndim == 1
        return y.reshape(len(y), -1).astype(np.float64), y, None

    def _make_loss(self) -> Loss:
        names = {"squared_error", "absolute_error", "huber", "poisson"}
        if self.loss not in names:
            raise ValueError(
                f"expected a loss out of {', '.join(sorted(names))}; got {self.loss!r}"
            )
        if self.loss == "squared_error":
            return MeanSquaredError(0.5)  # scikit-learn's loss is half of the squared error
        return LOSSES[LOSS_NAMES.get(self.loss, self.loss)]()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
