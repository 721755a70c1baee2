"""`MLPClassifier`: binary, multiclass and multilabel classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from trainer.estimators.base import BaseMLP
from trainer.evaluate.calibration import fit_calibration
from trainer.nn import BinaryCrossEntropy, CategoricalCrossEntropy, Loss, Network, Schedule
from trainer.training.batches import TrainingRows
from trainer.training.loop import Callback

Array = NDArray[Any]

# Number of logits that a calibration is fitted on; more of them hardly change it.
MAX_CALIBRATION_LOGITS = 4_000_000


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """A multilayer perceptron for binary, multiclass and multilabel classification.

    Args:
        hidden_layer_sizes: Number of units of each hidden layer, tuple of int [default: (100,)].
        activation: Activation of the hidden layers: a name (also scikit-learn's `logistic`), an
            activation from `trainer.nn`, or a sequence with one for each layer [default: "relu"].
        solver: Optimizer: `sgd`, `rmsprop`, `adam`, `adamw` or `nadam` [default: "adam"].
        alpha: Strength of the L2 penalty, which is divided by the number of rows of a batch; with
            `adamw` the weight decay [default: 0.0001].
        batch_size: Number of rows per step; "auto" for min(200, n_samples) [default: "auto"].
        learning_rate: Schedule of the learning rate: scikit-learn's `constant`, `invscaling` or
            `adaptive`, another name from `trainer.nn.SCHEDULES`, or a schedule from `trainer.nn`
            [default: "constant"].
        learning_rate_init: Initial learning rate, above 0 [default: 0.001].
        power_t: Exponent of the schedule `invscaling` [default: 0.5].
        max_iter: Maximum number of epochs; "auto" for 128, or 64 from 10,000 training rows, in 500
            to 30,000 steps. A `batch_size` above the number of rows is then cut without a warning
            [default: 200].
        shuffle: Whether each epoch has a new order of rows [default: True].
        random_state: Seed or generator of the initial weights, the order of the rows and the
            validation split [default: None].
        tol: Improvement of the loss or score below which an epoch counts as no better
            [default: 0.0001].
        verbose: Whether the loss of each epoch is printed [default: False].
        warm_start: Whether `fit` continues from the current weights [default: False].
        momentum: Momentum of `sgd`, in [0, 1) [default: 0.9].
        nesterovs_momentum: Whether `sgd` uses Nesterov's momentum [default: True].
        early_stopping: Whether rows are held out for validation, their accuracy decides when
            training stops, and the best weights are kept [default: False].
        validation_fraction: Share of the rows that `early_stopping` holds out, in (0, 1)
            [default: 0.1].
        beta_1: Decay of the first moment of `adam`, `adamw` and `nadam`, in [0, 1) [default: 0.9].
        beta_2: Decay of the second moment of `adam`, `adamw` and `nadam`, in [0, 1)
            [default: 0.999].
        epsilon: Constant for numerical stability of `adam`, `adamw`, `nadam` and `rmsprop`
            [default: 1e-8].
        n_iter_no_change: Number of epochs without an improvement by `tol` after which training
            stops [default: 10].
        class_weight: "balanced", or the weight of each class by its label; None if all have weight
            1 [default: None]. `predict_proba` then returns the probabilities of classes weighted
            like that; scikit-learn's `CalibratedClassifierCV` corrects them.
        label_smoothing: Share of the target probability that is spread over all classes, in [0, 1)
            [default: 0].
        l1: Strength of the L1 penalty, divided by the number of rows of a batch [default: 0].
        dropout: Share of each hidden layer's units dropped in training, in [0, 1) [default: 0].
        batch_norm: Whether each hidden layer is normalised over the batch [default: False].
        max_norm: Bound on the norm of the weights into a unit; None for no bound [default: None].
        clip_norm: Largest norm of the gradient; None for no limit [default: None].
        average: Decay of a moving average of the weights, which replaces them when training ends,
            in [0, 1); 0 for no average [default: 0].
        initializer: Initialization of the layers: `data` (all layers, from training rows), or of
            the hidden layers' weights a name from `trainer.nn.INITIALIZERS`; None for the default
            of their activations [default: None].
        layer_rates: Learning rates of the layers: `equal`, or `fan_in` (of weights divided by the
            square root of the layer's inputs, of biases a tenth; with `adam` and `adamw`)
            [default: "equal"].
        regularization_schedule: Change of dropout and weight decay in training: `constant`, or
            `flat_cosine` (down to 0 in the second half) [default: "constant"].
        monitor: Measure of the held-out rows by which `early_stopping` chooses the best epoch:
            `score` (accuracy), `loss`, or `squared_error` (of classes the Brier score)
            [default: "score"].
        calibrate: Whether probabilities are calibrated on the rows that `early_stopping` holds out,
            by a temperature of the logits [default: False].
        callbacks: Callbacks from `trainer.training`, called while the network is trained
            [default: ()].

    Attributes:
        classes_: Class labels, sorted, `(n_classes,)`. Of two classes, the second is the positive
            one, as in scikit-learn.
        network_: The trained `trainer.nn.Network`.
        coefs_: Weight matrix of each layer, list of arrays `(n_in, n_out)`.
        intercepts_: Bias of each layer, list of arrays `(n_out,)`.
        loss_: Training loss of the last epoch.
        loss_curve_: Training loss of each epoch.
        best_loss_: Lowest training loss; None with `early_stopping`.
        validation_loss_curve_: Validation loss of each epoch; None without `early_stopping`.
        validation_scores_: Validation accuracy of each epoch; None without `early_stopping`.
        best_validation_score_: Highest validation accuracy; None without `early_stopping`.
        n_features_in_: Number of features.
        n_iter_: Number of epochs.
        n_layers_: Number of layers, including the input layer.
        n_outputs_: Number of outputs of the network.
        out_activation_: Name of the output activation, `logistic` or `softmax`.
        t_: Number of training rows seen, over all epochs.
        temperature_: Divisor of the logits by `calibrate`, `(n_outputs,)` for multilabel targets,
            else a float; None without it.
    """

    def __init__(
        self,
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
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        label_smoothing: float = 0.0,
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
        calibrate: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> None:
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
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
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
        self.calibrate = calibrate
        self.callbacks = callbacks

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Train one epoch from the current weights.

        Args:
            X: Features, array or sparse matrix `(n_samples, n_features)`, finite.
            y: Classes, `(n_samples,)`, or labels 0 and 1, `(n_samples, n_classes)`.
            sample_weight: Weight of each row, `(n_samples,)`, at least 0 [default: None, all 1].
            classes: All classes of this and later calls, `(n_classes,)`; required by the first
                call.

        Returns:
            The estimator itself.

        Raises:
            ValueError: If a parameter or an array is invalid, or `classes` are missing or differ
                from those of the first call.
            TrainingDivergedError: If the loss or a weight became infinite or NaN. The network then
                has the weights that it had before the call.
        """
        is_new = not hasattr(self, "network_")
        if is_new and classes is None:
            raise ValueError(
                "expected classes, all there will be, at the first partial_fit; got none; pass "
                "classes=np.unique(all_of_y)"
            )
        if (
            not is_new
            and classes is not None
            and not np.array_equal(self.classes_, np.unique(np.asarray(classes)))
        ):
            raise ValueError(
                f"expected the classes of the first partial_fit, {self.classes_}; got "
                f"{np.unique(np.asarray(classes))}"
            )
        return self._train(X, y, sample_weight, is_new=is_new, incremental=True, classes=classes)

    def predict(self, X: ArrayLike) -> Array:
        """Return the predicted classes.

        Args:
            X: Features, array or sparse matrix `(n_samples, n_features)`.

        Returns:
            Class of each row, `(n_samples,)`; for multilabel targets 0 or 1 for each label, int64
            `(n_samples, n_classes)`.
        """
        return self._select_classes(self._compute_logits(X))

    def predict_proba(self, X: ArrayLike) -> Array:
        """Return the probability of each class, `(n_samples, n_classes)`, in the network's dtype.

        Args:
            X: Features, array or sparse matrix `(n_samples, n_features)`.
        """
        logits = self._compute_logits(X)
        p = self._loss.answers(logits)
        return np.hstack([1 - p, p]) if self._kind == "binary" else p

    def decision_function(self, X: ArrayLike) -> Array:
        """Return the logits.

        Args:
            X: Features, array or sparse matrix `(n_samples, n_features)`.

        Returns:
            Logit of the second class, `(n_samples,)`, if there are two classes; else a logit for
            each class, `(n_samples, n_classes)`.
        """
        logits = self._compute_logits(X)
        return logits[:, 0] if self._kind == "binary" else logits

    def predict_log_proba(self, X: ArrayLike) -> Array:
        """Return the logarithm of the probability of each class, `(n_samples, n_classes)`.

        Args:
            X: Features, array or sparse matrix `(n_samples, n_features)`.
        """
        with np.errstate(divide="ignore"):
            result: Array = np.log(self.predict_proba(X))
        return result

    def _scale_logits(self, logits: Array) -> Array:
        # Callbacks predict before the first fit has ended, when there is none yet.
        temperature = getattr(self, "temperature_", None)
        if temperature is not None:
            logits /= np.asarray(temperature, logits.dtype)
        return logits

    def _fit_calibration(self, validation: TrainingRows | None) -> None:
        self.temperature_: float | Array | None = None
        if not self.calibrate or validation is None:
            return
        n_rows = max(1, MAX_CALIBRATION_LOGITS // self.network_.n_outputs)
        logits = self.network_.logits(validation.features[:n_rows])
        targets = validation.targets[:n_rows].astype(np.int64)
        weights = None if validation.weights is None else validation.weights[:n_rows]
        options: dict[str, Any] = {
            "label_smoothing": self.label_smoothing,
            "fit_bias": False,
            "row_weights": weights,
        }
        if self._kind == "multiclass":
            parts = [fit_calibration(logits, targets, "multiclass", **options)]
        else:  # each label is a task of its own
            parts = [
                fit_calibration(logits[:, [k]], targets[:, k], "binary", **options)
                for k in range(logits.shape[1])
            ]
        temperatures = np.array([part.temperature for part in parts])
        self.temperature_ = temperatures if self._kind == "multilabel" else float(temperatures[0])

    def _select_classes(self, logits: Array) -> Array:
        if self._kind == "multilabel":
            return (logits >= 0).astype(np.int64)
        indices = logits[:, 0] >= 0 if self._kind == "binary" else logits.argmax(axis=1)
        classes: Array = self.classes_[indices.astype(np.int64)]
        return classes

    def _predict(self, network: Network, loss: Loss, X: Array) -> Array:
        return self._select_classes(network.logits(X))

    def _score(self, predictions: Array, y: Array, weights: Array | None) -> float:
        return float(accuracy_score(y, predictions, sample_weight=weights))

    def _encode(
        self, y: Array, *, is_new: bool, classes: ArrayLike | None
    ) -> tuple[Array, Array, Array | None]:
        check_classification_targets(y)
        if type_of_target(y).startswith("multilabel"):
            if is_new:
                self._kind, self.classes_ = "multilabel", np.arange(y.shape[1])
            return y.astype(np.float64), y, None
        y = column_or_1d(y, warn=True)
        if is_new:
            self.classes_ = np.unique(y if classes is None else np.asarray(classes))
            if len(self.classes_) < 2:
                raise ValueError(
                    f"expected at least two classes to tell apart; got one class, "
                    f"{self.classes_[0]!r}"
                )
            self._kind = "binary" if len(self.classes_) == 2 else "multiclass"
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(f"expected classes out of {self.classes_}; got {unknown[:10]} too")
        indices = np.searchsorted(self.classes_, y)
        if self._kind == "binary":
            return indices[:, None].astype(np.float64), y, y
        return indices, y, y

    def _count_outputs(self, targets: Array) -> int:
        return len(self.classes_) if self._kind == "multiclass" else targets.shape[1]

    def _make_loss(self) -> Loss:
        if self._kind == "multiclass":
            return CategoricalCrossEntropy(self.label_smoothing)
        return BinaryCrossEntropy(self.label_smoothing)

    def _apply_class_weights(self, y: Array, weights: Array | None) -> Array | None:
        if self.class_weight is None:
            return weights
        class_weights = self._compute_class_weights(y)
        return class_weights if weights is None else class_weights * weights

    def _compute_class_weights(self, y: Array) -> Array:
        if isinstance(self.class_weight, str) or y.ndim == 2:
            balanced: Array = compute_sample_weight(self.class_weight, y)
            return balanced
        if not isinstance(self.class_weight, Mapping):
            raise ValueError(
                f"expected class_weight balanced, or by class; got {self.class_weight!r}"
            )
        classes = self.classes_.tolist()
        if unknown := [label for label in self.class_weight if label not in classes]:
            raise ValueError(f"expected class_weight of the classes {classes}; got {unknown} too")
        weights = np.ones(len(y))
        for label, weight in self.class_weight.items():
            weights[y == label] = weight
        return weights

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
