"""scikit-learn's face: `MLPClassifier` and `MLPRegressor`, drop-in for those of scikit-learn.

Arguments and attributes have scikit-learn's names wherever it has one. Beyond them: class weights,
dropout, batch normalisation, label smoothing, absolute and Huber losses, an activation per layer
and leaky ones, more solvers and schedules, validation-loss curves, and callbacks. The solver lbfgs
is not here.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from trainer.fit.batches import Rows
from trainer.fit.loop import Callback, Run
from trainer.fit.update import Update
from trainer.nn import (
    LOSSES,
    SCHEDULES,
    SGD,
    Activation,
    Adam,
    AdamW,
    BatchNorm,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Dense,
    Dropout,
    InverseScaling,
    Layer,
    Loss,
    MaxNorm,
    MeanSquaredError,
    Momentum,
    Nadam,
    Nesterov,
    Network,
    Optimizer,
    Penalty,
    ReduceOnPlateau,
    RMSprop,
    Schedule,
    WeightAverage,
)

Array = NDArray[Any]

AUTO_BATCH = 200  # rows, as scikit-learn's
SOLVERS = ("sgd", "rmsprop", "adam", "adamw", "nadam")
# scikit-learn's names for what has another here.
ACTIVATION_NAMES = {"logistic": "sigmoid"}
LOSS_NAMES = {"absolute_error": "mae"}


class _Watch(Callback):
    """Ends a run that no longer gets better, as scikit-learn does.

    Judged by the training loss, or by the score on validation rows, whose best weights it keeps.
    """

    def __init__(self, estimator: _MLP, validation: tuple[Array, Array] | None) -> None:
        self.estimator, self.validation = estimator, validation
        self.best, self.waited = -np.inf, 0
        self.scores: list[float] = []
        self.converged = False
        self._kept: dict[str, Array] | None = None

    def on_epoch(self, run: Run) -> None:
        estimator, loss = self.estimator, run.history[-1].train_loss
        value = -loss
        if self.validation is not None:
            X, y = self.validation
            with run.as_ended():
                value = estimator._score(estimator._predict(run.network, run.loss, X), y)
            self.scores.append(value)
        if estimator.verbose:
            print(f"Iteration {run.history[-1].number}, loss = {loss:.8f}")  # noqa: T201
        better = value > self.best + (estimator.tol if np.isfinite(self.best) else 0)
        if value > self.best:
            self.best = value
            if self.validation is not None:
                self._kept = run.snapshot()
        self.waited = 0 if better else self.waited + 1
        if self.waited > estimator.n_iter_no_change:
            self.converged = run.stop = True

    def on_end(self, run: Run) -> None:
        if self._kept is not None:
            run.network.restore(self._kept)


class _MLP(BaseEstimator):  # type: ignore[misc]
    """What the classifier and the regressor share; constructors only store."""

    # Set by the constructors, which scikit-learn reads.
    hidden_layer_sizes: Any
    activation: Any
    solver: str
    alpha: float
    batch_size: int | Literal["auto"]
    learning_rate: str | Schedule
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: bool
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: int
    l1: float
    dropout: float
    batch_norm: bool
    max_norm: float | None
    clip_norm: float | None
    average: float
    callbacks: Sequence[Callback]

    # What the two do differently.

    def _encode(
        self, y: Array, *, fresh: bool, classes: ArrayLike | None
    ) -> tuple[Array, Array, Array | None]:
        """Targets for the loss, targets for the score, and what to stratify by."""
        raise NotImplementedError

    def _make_loss(self) -> Loss:
        raise NotImplementedError

    def _predict(self, network: Network, loss: Loss, X: Array) -> Array:
        raise NotImplementedError

    def _score(self, predicted: Array, y: Array) -> float:
        raise NotImplementedError

    def _weights(self, y: Array, given: Array | None) -> Array | None:
        return given

    # Fitting

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on rows X `(n, n_features)` and targets y; with `warm_start`, from where it stands.

        Args:
            X: numbers, all finite; float32 is trained in float32, anything else in float64.
            y: `(n,)` or `(n, n_outputs)`.
            sample_weight: of the rows, `(n,)`, none below 0.

        Raises:
            ValueError: naming what cannot be trained on.
            TrainingDivergedError: the loss or a weight became infinite or NaN; what was learned
                before is kept.
        """
        again = self.warm_start and hasattr(self, "network_")
        return self._train(X, y, sample_weight, fresh=not again, epochs=self.max_iter)

    def _train(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        *,
        fresh: bool,
        epochs: int,
        classes: ArrayLike | None = None,
    ) -> Self:
        self._check_choices()
        dtypes = (np.float64, np.float32) if fresh else self.network_.dtype
        X, y = validate_data(
            self, X, y, multi_output=True, dtype=dtypes, order="C", reset=fresh,
            y_numeric=isinstance(self, RegressorMixin),
        )  # fmt: skip
        targets, truth, strata = self._encode(y, fresh=fresh, classes=classes)
        if targets.dtype.kind == "f":
            targets = targets.astype(X.dtype)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(
                sample_weight, X, dtype=X.dtype, ensure_non_negative=True
            )
        weights = self._weights(y, weights)
        rng = check_random_state(self.random_state)
        learned, held_out, watch = Rows(X, targets, weights), None, _Watch(self, None)
        if self.early_stopping and epochs > 1:
            parts = train_test_split(
                np.arange(len(X)), test_size=self.validation_fraction, stratify=strata,
                random_state=rng,
            )  # fmt: skip
            learned, held_out = (
                Rows(X[part], targets[part], None if weights is None else weights[part])
                for part in parts
            )
            watch = _Watch(self, (held_out.features, truth[parts[1]]))
        if fresh:
            self._build(X, targets, np.random.default_rng(rng.randint(2**31)))
        network, loss = self.network_, self._loss
        batch = self._batch_rows(len(learned))
        self._update.penalty = self._penalty(learned, batch)
        run = Run(
            network, loss, self._update, learned, epochs=epochs, batch_size=batch,
            rng=self._order, validation=held_out,
            callbacks=[watch, *self.callbacks], shuffle=self.shuffle,
        )  # fmt: skip
        kept = network.snapshot()
        try:
            run.go()
        except ArithmeticError:
            network.restore(kept)
            raise
        self._remember(run, watch, fresh=fresh, rows=len(learned), of_one=epochs == 1)
        if epochs > 1 and not run.stop:
            warnings.warn(
                f"expected to converge; reached max_iter={self.max_iter} first; raise it, or tol",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _build(self, X: Array, targets: Array, rng: np.random.Generator) -> None:
        self._loss = self._make_loss()
        weights, self._order = rng.spawn(2)
        layers = [*self._hidden(), Dense(self._logits(targets))]
        self.network_ = Network(X.shape[1], layers, rng=weights, dtype=X.dtype)
        self._update = Update(
            self._optimizer(),
            schedule=self._schedule(),
            clip_norm=self.clip_norm,
            max_norm=None if self.max_norm is None else MaxNorm(self.max_norm),
            average=WeightAverage(self.average) if self.average else None,
        )

    def _logits(self, targets: Array) -> int:
        return 1 if targets.ndim == 1 else targets.shape[1]

    def _hidden(self) -> list[Layer]:
        sizes = self._sizes()
        given = self.activation
        activations = [given] * len(sizes) if isinstance(given, str | Activation) else list(given)
        if len(activations) != len(sizes):
            raise ValueError(
                f"expected one activation, or {len(sizes)}, one per hidden layer; got "
                f"{len(activations)}"
            )
        layers: list[Layer] = []
        for units, f in zip(sizes, activations, strict=True):
            own = ACTIVATION_NAMES.get(f, f) if isinstance(f, str) else copy.deepcopy(f)
            layers += [Dense(units), BatchNorm(own)] if self.batch_norm else [Dense(units, own)]
            if self.dropout:
                layers.append(Dropout(self.dropout))
        return layers

    def _sizes(self) -> list[int]:
        given = self.hidden_layer_sizes
        sizes = list(given) if hasattr(given, "__iter__") else [given]
        if any(size < 1 for size in sizes):
            raise ValueError(f"expected hidden_layer_sizes of at least 1 unit each; got {sizes}")
        return [int(size) for size in sizes]

    def _optimizer(self) -> Optimizer:
        rate = self.learning_rate_init
        betas = {"beta1": self.beta_1, "beta2": self.beta_2, "epsilon": self.epsilon}
        match self.solver:
            case "adam":
                return Adam(rate, **betas)
            case "adamw":
                return AdamW(rate, weight_decay=self.alpha, **betas)
            case "nadam":
                return Nadam(rate, **betas)
            case "rmsprop":
                return RMSprop(rate, epsilon=self.epsilon)
            case _ if self.momentum == 0:
                return SGD(rate)
            case _:
                kind = Nesterov if self.nesterovs_momentum else Momentum
                return kind(rate, momentum=self.momentum)

    def _schedule(self) -> Schedule:
        match self.learning_rate:
            case Schedule():
                return copy.deepcopy(self.learning_rate)
            case "invscaling":
                return InverseScaling(self.power_t)
            case "adaptive":
                return ReduceOnPlateau(patience=self.n_iter_no_change, gamma=0.2)
            case name:
                return SCHEDULES[name]()

    def _penalty(self, rows: Rows, batch: int) -> Penalty | None:
        """scikit-learn's: alpha/2 Σw² over the weight of a batch; adamw decays by itself."""
        weight = len(rows) if rows.weights is None else float(rows.weights.sum())
        of_batch = max(weight * batch / len(rows), 1e-12)
        l2 = 0.0 if self.solver == "adamw" else self.alpha / of_batch
        return Penalty(self.l1 / of_batch, l2) if self.l1 or l2 else None

    def _batch_rows(self, n: int) -> int:
        if self.batch_size == "auto":
            return min(AUTO_BATCH, n)
        if self.batch_size < 1:
            raise ValueError(f"expected a batch_size of at least 1; got {self.batch_size}")
        if self.batch_size > n:
            warnings.warn(
                f"expected a batch_size of at most the {n} rows; got {self.batch_size}; cut to {n}",
                stacklevel=4,
            )
        return min(self.batch_size, n)

    def _check_choices(self) -> None:
        if self.solver not in SOLVERS:
            raise ValueError(f"expected a solver out of {', '.join(SOLVERS)}; got {self.solver!r}")
        known = {"invscaling", "adaptive", *SCHEDULES}
        if not isinstance(self.learning_rate, Schedule) and self.learning_rate not in known:
            raise ValueError(
                f"expected a learning_rate out of {', '.join(sorted(known))}; got "
                f"{self.learning_rate!r}"
            )
        for name in ("max_iter", "n_iter_no_change"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1; got {getattr(self, name)}")
        if self.early_stopping and not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"expected a validation_fraction in (0, 1); got {self.validation_fraction}"
            )

    def _remember(self, run: Run, watch: _Watch, *, fresh: bool, rows: int, of_one: bool) -> None:
        if fresh or not of_one:
            self.loss_curve_: list[float] = []
            self.n_iter_ = self.t_ = 0
        self.loss_curve_ += [epoch.train_loss for epoch in run.history]
        self.loss_ = self.loss_curve_[-1]
        self.n_iter_ += len(run.history)
        self.t_ += rows * len(run.history)
        self.best_loss_ = None if watch.validation is not None else min(self.loss_curve_)
        self.validation_scores_ = watch.scores or None
        self.best_validation_score_ = max(watch.scores) if watch.scores else None
        losses = [epoch.validation_loss for epoch in run.history]
        self.validation_loss_curve_ = losses if watch.scores else None
        self.n_outputs_ = self.network_.n_outputs
        self.n_layers_ = len(self.coefs_) + 1
        names = {"identity": "identity", "exp": "exp", "sigmoid": "logistic", "softmax": "softmax"}
        self.out_activation_ = names[run.loss.link]

    @property
    def coefs_(self) -> list[Array]:
        """The weight matrices, `(n_in, n_out)` each, views of the network's."""
        return [W for W, _ in self.network_.weights()]

    @property
    def intercepts_(self) -> list[Array]:
        """The biases, `(n_out,)` each, views of the network's."""
        return [layer.b for layer in self.network_.layers if isinstance(layer, Dense)]

    def _raw(self, X: Any) -> Array:
        check_is_fitted(self, "network_")
        X = validate_data(self, X, dtype=self.network_.dtype, order="C", reset=False)
        return self.network_.logits(X)


class MLPClassifier(ClassifierMixin, _MLP):  # type: ignore[misc]
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
        class_weight: `balanced`, or a weight for each class.
        label_smoothing: share of certainty spread over all classes.
        l1: L1 penalty, divided by the rows of a batch.
        dropout: share of each hidden layer silenced in training.
        batch_norm: normalise each hidden layer over the batch.
        max_norm: bound on the weights into a unit.
        clip_norm: longest gradient.
        average: decay of a moving average of the weights, which replaces them at the end.
        callbacks: of `trainer.fit.loop`, called during training.

    Attributes:
        classes_: sorted, `(n_classes,)`.
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
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """One epoch over these rows, from where it stands; the first call names all `classes`."""
        fresh = not hasattr(self, "network_")
        if fresh and classes is None:
            raise ValueError("expected classes, all there will be, at the first partial_fit")
        return self._train(X, y, sample_weight, fresh=fresh, epochs=1, classes=classes)

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

    def _score(self, predicted: Array, y: Array) -> float:
        return float(accuracy_score(y, predicted))

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
        own: Array = compute_sample_weight(self.class_weight, y)
        return own if given is None else own * given

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _MLP):  # type: ignore[misc]
    """A multilayer perceptron for values, one or several.

    Arguments and attributes are those of `MLPClassifier` but for its classes and labels, and:

    Args:
        loss: `squared_error`, `absolute_error`, `huber` or `poisson`.
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
        """One epoch over these rows, from where it stands."""
        fresh = not hasattr(self, "network_")
        return self._train(X, y, sample_weight, fresh=fresh, epochs=1)

    def predict(self, X: ArrayLike) -> Array:
        """The value of each row, `(n,)`, or `(n, n_outputs)` if it was trained on several."""
        outputs = self._raw(X)
        return self._shaped(self._loss.answers(outputs))

    def _shaped(self, values: Array) -> Array:
        return values[:, 0] if self._flat else values

    def _predict(self, network: Network, loss: Loss, X: Array) -> Array:
        return self._shaped(loss.answers(network.logits(X)))

    def _score(self, predicted: Array, y: Array) -> float:
        return float(r2_score(y, predicted))

    def _encode(
        self, y: Array, *, fresh: bool, classes: ArrayLike | None
    ) -> tuple[Array, Array, Array | None]:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if fresh:
            self._flat = y.ndim == 1
        return y.reshape(len(y), -1).astype(np.float64), y, None

    def _make_loss(self) -> Loss:
        names = {"squared_error", "absolute_error", "huber", "poisson"}
        if self.loss not in names:
            raise ValueError(
                f"expected a loss out of {', '.join(sorted(names))}; got {self.loss!r}"
            )
        if self.loss == "squared_error":
            return MeanSquaredError(0.5)  # as scikit-learn's
        return LOSSES[LOSS_NAMES.get(self.loss, self.loss)]()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
