"""`MLPRegressor`: regression with one target or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d

from trainer.estimators.base import BaseMLP
from trainer.nn import LOSSES, Loss, MeanSquaredError, Network, Schedule
from trainer.training.loop import Callback

Array = NDArray[Any]

# scikit-learn's names of losses that have another name in `trainer.nn`.
LOSS_NAMES = {"absolute_error": "mae"}


class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """A multilayer perceptron for regression with one target or several.

    All other parameters and attributes are those of `MLPClassifier`, except that there is no
    `class_weight`, `label_smoothing` or `classes_`. The validation score is R².

    Args:
        loss: Loss: `squared_error`, `absolute_error`, `huber` or `poisson`
            [default: "squared_error"].
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
        max_iter: int = 200,
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
        return self._match_target_shape(self._loss.answers(logits))

    def _match_target_shape(self, values: Array) -> Array:
        return values[:, 0] if self._is_target_1d else values

    def _predict(self, network: Network, loss: Loss, X: Array) -> Array:
        return self._match_target_shape(loss.answers(network.logits(X)))

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
