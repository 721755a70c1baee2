"""`MLPClassifier`: two classes, several, or several labels at once."""

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
from trainer.nn import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Loss,
    Network,
    Schedule,
)
from trainer.training.loop import Callback

Array = NDArray[Any]


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """A multilayer perceptron for classes: two, several, or several at once (multilabel).

    Args:
        hidden_layer_sizes: units of each hidden layer.
        activation: of the hidden layers, a name (scikit-learn's `logistic` too) or an activation
            of `trainer.nn`; or one for each.
        solver: `sgd`, `rmsprop`, `adam`, `adamw` or `nadam`.
        alpha: L2 penalty, divided by the rows of a batch; `adamw` takes it as its decay.
        batch_size: rows per step; `auto` is min(200, n).
        learning_rate: scikit-learn's `constant`, `invscaling`, `adaptive`, a name or a schedule of
            `trainer.nn`.
        learning_rate_init: the full size of a step.
        power_t: of `invscaling`.
        max_iter: the most epochs.
        shuffle: a new order of rows each epoch.
        random_state: of the weights, the order and the split.
        tol: what counts as better.
        verbose: print the loss of each epoch.
        warm_start: `fit` goes on from where the last one ended.
        momentum: of `sgd`.
        nesterovs_momentum: whether it looks ahead.
        early_stopping: stop by the accuracy on held-out rows, and keep the best weights.
        validation_fraction: the share of rows held out.
        beta_1: of the Adam family.
        beta_2: of the Adam family.
        epsilon: of the Adam family and `rmsprop`.
        n_iter_no_change: epochs without getting better by `tol` before it stops.
        class_weight: `balanced`, or a weight for each class; `predict_proba` is then of classes so
            weighted: wrap it in scikit-learn's `CalibratedClassifierCV` for those of the rows.
        label_smoothing: share of certainty spread over all classes.
        l1: L1 penalty, divided by the rows of a batch.
        dropout: Share of each hidden layer's units dropped in training, 0 to 1.
        batch_norm: normalise each hidden layer over the batch.
        max_norm: bound on the weights into a unit.
        clip_norm: longest gradient.
        average: decay of a moving average of the weights, which replaces them at the end.
        callbacks: of `trainer.training.loop`, called during training.

    Attributes:
        classes_: sorted, `(n_classes,)`; of two, the second is the positive one, as everywhere in
            scikit-learn.
        network_: the trained `trainer.nn.Network`.
        coefs_, intercepts_: its weights and biases.
        loss_curve_: training loss of each epoch.
        validation_loss_curve_, validation_scores_: with `early_stopping`, of each epoch.
        n_iter_: epochs run.
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
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        label_smoothing: float = 0.0,
        l1: float = 0.0,
        dropout: float = 0.0,
        batch_norm: bool = False,
        max_norm: float | None = None,
        clip_norm: float | None = None,
        average: float = 0.0,
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
        self.callbacks = callbacks

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """One epoch over these rows, from where it stands; the first call names all `classes`."""
        fresh = not hasattr(self, "network_")
        if fresh and classes is None:
            raise ValueError("expected classes, all there will be, at the first partial_fit")
        if (
            not fresh
            and classes is not None
            and not np.array_equal(self.classes_, np.unique(np.asarray(classes)))
        ):
            raise ValueError(
                f"expected the classes of the first partial_fit, {self.classes_}; got "
                f"{np.unique(np.asarray(classes))}"
            )
        return self._train(X, y, sample_weight, fresh=fresh, incremental=True, classes=classes)

    def predict(self, X: ArrayLike) -> Array:
        """The class of each row, `(n,)`; multilabel 0 or 1 for each, `(n, n_classes)`."""
        return self._choose(self._raw(X))

    def predict_proba(self, X: ArrayLike) -> Array:
        """The probability of each class, `(n, n_classes)`."""
        logits = self._raw(X)
        p = self._loss.answers(logits)
        return np.hstack([1 - p, p]) if self._kind == "binary" else p

    def decision_function(self, X: ArrayLike) -> Array:
        """The logits: `(n,)` for two classes, above 0 for the second, else `(n, n_classes)`."""
        logits = self._raw(X)
        return logits[:, 0] if self._kind == "binary" else logits

    def predict_log_proba(self, X: ArrayLike) -> Array:
        """The logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            result: Array = np.log(self.predict_proba(X))
        return result

    def _choose(self, logits: Array) -> Array:
        if self._kind == "multilabel":
            return (logits >= 0).astype(np.int64)
        choice = logits[:, 0] >= 0 if self._kind == "binary" else logits.argmax(axis=1)
        chosen: Array = self.classes_[choice.astype(np.int64)]
        return chosen

    def _predict(self, network: Network, loss: Loss, X: Array) -> Array:
        return self._choose(network.logits(X))

    def _score(self, predicted: Array, y: Array, weights: Array | None) -> float:
        return float(accuracy_score(y, predicted, sample_weight=weights))

    def _encode(
        self, y: Array, *, fresh: bool, classes: ArrayLike | None
    ) -> tuple[Array, Array, Array | None]:
        check_classification_targets(y)
        if type_of_target(y).startswith("multilabel"):
            if fresh:
                self._kind, self.classes_ = "multilabel", np.arange(y.shape[1])
            return y.astype(np.float64), y, None
        y = column_or_1d(y, warn=True)
        if fresh:
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
        places = np.searchsorted(self.classes_, y)
        if self._kind == "binary":
            return places[:, None].astype(np.float64), y, y
        return places, y, y

    def _logits(self, targets: Array) -> int:
        return len(self.classes_) if self._kind == "multiclass" else targets.shape[1]

    def _make_loss(self) -> Loss:
        if self._kind == "multiclass":
            return CategoricalCrossEntropy(self.label_smoothing)
        return BinaryCrossEntropy(self.label_smoothing)

    def _weights(self, y: Array, given: Array | None) -> Array | None:
        if self.class_weight is None:
            return given
        own = self._class_weights(y)
        return own if given is None else own * given

    def _class_weights(self, y: Array) -> Array:
        if isinstance(self.class_weight, str) or y.ndim == 2:
            balanced: Array = compute_sample_weight(self.class_weight, y)
            return balanced
        if not isinstance(self.class_weight, Mapping):
            raise ValueError(
                f"expected class_weight balanced, or by class; got {self.class_weight!r}"
            )
        known = self.classes_.tolist()
        if strange := [name for name in self.class_weight if name not in known]:
            raise ValueError(f"expected class_weight of the classes {known}; got {strange} too")
        weights = np.ones(len(y))
        for name, weight in self.class_weight.items():
            weights[y == name] = weight
        return weights

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
