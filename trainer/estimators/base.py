"""What both estimators share: choices under scikit-learn's names, and how they are trained."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from trainer.data.precision_loss import warn_of_precision_losses
from trainer.estimators.parameters import check_parameters
from trainer.estimators.sparse_rows import SparseRows
from trainer.nn import (
    SCHEDULES,
    SGD,
    Activation,
    Adam,
    AdamW,
    BatchNorm,
    Dense,
    Dropout,
    InverseScaling,
    Layer,
    Loss,
    MaxNorm,
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
from trainer.training.batches import TrainingRows
from trainer.training.loop import Callback, TrainingRun
from trainer.training.update import UpdateRule

Array = NDArray[Any]

LOSSY = (
    "the network was trained on float32 and computes in it; train it on float64, or subtract an "
    "offset from them first"
)
AUTO_BATCH = 200  # rows, as scikit-learn's
# scikit-learn's names of activations that have another here.
ACTIVATION_NAMES = {"logistic": "sigmoid"}
# What the steps are made of; changed, a network that is there goes on with other steps.
OF_THE_STEPS = (
    "solver",
    "alpha",
    "learning_rate",
    "learning_rate_init",
    "power_t",
    "momentum",
    "nesterovs_momentum",
    "beta_1",
    "beta_2",
    "epsilon",
    "n_iter_no_change",
    "max_norm",
    "clip_norm",
    "average",
)
# What the network is made of, by scikit-learn's names; changed, it would have to be another one.
OF_THE_NETWORK = ("hidden_layer_sizes", "activation", "dropout", "batch_norm", "loss")


class _Watch(Callback):
    """Ends a run that no longer gets better, as scikit-learn does.

    Judged by the training loss, or by the score on validation rows, whose best weights it keeps.
    """

    def __init__(
        self, estimator: BaseMLP, validation: tuple[Any, Array, Array | None] | None
    ) -> None:
        self.estimator, self.validation = estimator, validation
        self.reset()

    def reset(self) -> None:
        self.best, self.waited = -np.inf, 0
        self.scores: list[float] = []
        self.converged = False
        self._kept: dict[str, Array] | None = None

    def on_epoch(self, run: TrainingRun) -> None:
        estimator, loss = self.estimator, run.history[-1].train_loss
        value = -loss
        if self.validation is not None:
            X, y, weights = self.validation
            with run.as_ended():
                value = estimator._score(estimator._predict(run.network, run.loss, X), y, weights)
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

    def on_end(self, run: TrainingRun) -> None:
        if self._kept is not None:
            run.network.restore(self._kept)


class BaseMLP(BaseEstimator):  # type: ignore[misc]
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

    # Of the network that is there: the choices it and its steps were made of, and how many of these
    # its schedule has seen.
    _built_of: dict[str, Any]
    _made_of: dict[str, Any] | None
    _update: UpdateRule
    _steps: int

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

    def _score(self, predicted: Array, y: Array, weights: Array | None) -> float:
        raise NotImplementedError

    def _weights(self, y: Array, given: Array | None) -> Array | None:
        return given

    # Fitting

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on rows X `(n, n_features)` and targets y; with `warm_start`, from where it stands.

        Args:
            X: numbers, all finite; float32 is trained in float32, anything else in float64. Of a
                sparse matrix or array, a batch at a time is made dense.
            y: `(n,)` or `(n, n_outputs)`.
            sample_weight: of the rows, `(n,)`, none below 0; with `early_stopping` also of the
                score on the rows held out.

        Raises:
            ValueError: naming what cannot be trained on.
            TrainingDivergedError: the loss or a weight became infinite or NaN; what was learned
                before is kept.
        """
        again = self.warm_start and hasattr(self, "network_")
        return self._train(X, y, sample_weight, fresh=not again)

    def _train(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        *,
        fresh: bool,
        incremental: bool = False,
        classes: ArrayLike | None = None,
    ) -> Self:
        check_parameters(self.get_params(deep=False), incremental=incremental)
        if not fresh:
            self._require_same_network()
        dtypes = (np.float64, np.float32) if fresh else self.network_.dtype
        received = X
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            dtype=dtypes,
            order="C",
            reset=fresh,
            y_numeric=isinstance(self, RegressorMixin),
        )
        if not fresh:
            self._warn_of_losses(received)
        y = y.toarray() if issparse(y) else y
        X = SparseRows(X) if issparse(X) else X
        targets, truth, strata = self._encode(y, fresh=fresh, classes=classes)
        if targets.dtype.kind == "f":
            targets = targets.astype(X.dtype)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(
                sample_weight, X, dtype=X.dtype, ensure_non_negative=True
            )
        given, weights = weights, self._weights(y, weights)
        rng = check_random_state(self.random_state)
        learned, held_out, watch = TrainingRows(X, targets, weights), None, _Watch(self, None)
        if self.early_stopping:
            parts = train_test_split(
                np.arange(len(X)),
                test_size=self.validation_fraction,
                stratify=strata,
                random_state=rng,
            )
            if len(parts[1]) < 2:
                raise ValueError(
                    f"expected at least 2 rows to hold out; got {len(parts[1])} of {len(X)}; raise "
                    f"validation_fraction"
                )
            learned, held_out = (_part(learned, part) for part in parts)
            counted = None if given is None else given[parts[1]]
            watch = _Watch(self, (held_out.features, truth[parts[1]], counted))
        self._loss = self._make_loss()
        if fresh:
            self._build(X, targets, np.random.default_rng(rng.randint(2**31)))
        self._require_update(anew=fresh or not incremental)
        network, loss, epochs = self.network_, self._loss, 1 if incremental else self.max_iter
        batch = self._batch_rows(len(learned))
        self._update.penalty = self._penalty(learned, batch)
        run = TrainingRun(
            network,
            loss,
            self._update,
            learned,
            epochs=epochs,
            batch_size=batch,
            rng=self._order,
            validation=held_out,
            callbacks=[watch, *self.callbacks],
            shuffle=self.shuffle,
            first_step=self._steps,
        )
        kept = network.snapshot()
        try:
            run.run()
        except ArithmeticError:
            network.restore(kept)
            self._made_of = None  # nor does the optimizer go on with what went wrong
            raise
        self._steps += run.steps
        self._remember(run, watch, anew=fresh or not incremental, rows=len(learned))
        if not incremental and not run.stop:
            warnings.warn(
                f"expected to converge; reached max_iter={self.max_iter} first; raise it, or tol",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _build(self, X: Array, targets: Array, rng: np.random.Generator) -> None:
        weights, self._order = rng.spawn(2)
        layers = [*self._hidden(), Dense(self._logits(targets))]
        self.network_ = Network(X.shape[1], layers, rng=weights, dtype=X.dtype)
        self._built_of = self._network_choices()

    def _network_choices(self) -> dict[str, Any]:
        chosen = {name: getattr(self, name) for name in OF_THE_NETWORK if hasattr(self, name)}
        return {**chosen, "hidden_layer_sizes": self._sizes()}

    def _require_same_network(self) -> None:
        for name, value in self._network_choices().items():
            if value != self._built_of[name]:
                raise ValueError(
                    f"expected the {name} of the network that is there, {self._built_of[name]!r}, "
                    f"to go on with it; got {value!r}; set warm_start=False and fit anew"
                )

    def _require_update(self, *, anew: bool) -> None:
        """Steps as they are chosen now; a `partial_fit` goes on with those it has, if they are."""
        chosen = {name: getattr(self, name) for name in OF_THE_STEPS}
        if not anew and chosen == self._made_of:
            return
        self._made_of = chosen
        self._steps = 0
        self._update = UpdateRule(
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
        if any(not isinstance(size, Integral) for size in sizes):
            raise ValueError(f"expected hidden_layer_sizes of whole numbers; got {sizes}")
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
                own = copy.deepcopy(self.learning_rate)
                own.reset()
                return own
            case "invscaling":
                return InverseScaling(self.power_t)
            case "adaptive":
                return ReduceOnPlateau(patience=self.n_iter_no_change, gamma=0.2)
            case name:
                return SCHEDULES[name]()

    def _penalty(self, rows: TrainingRows, batch: int) -> Penalty | None:
        """scikit-learn's: alpha/2 Σw² over the weight of a batch; adamw decays by itself."""
        weight = len(rows) if rows.weights is None else float(rows.weights.sum())
        of_batch = max(weight * batch / len(rows), 1e-12)
        l2 = 0.0 if self.solver == "adamw" else self.alpha / of_batch
        return Penalty(self.l1 / of_batch, l2) if self.l1 or l2 else None

    def _batch_rows(self, n: int) -> int:
        if self.batch_size == "auto":
            return min(AUTO_BATCH, n)
        if self.batch_size > n:
            warnings.warn(
                f"expected a batch_size of at most the {n} rows; got {self.batch_size}; cut to {n}",
                stacklevel=4,
            )
        return min(self.batch_size, n)

    def _remember(self, run: TrainingRun, watch: _Watch, *, anew: bool, rows: int) -> None:
        if anew:
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
        self._warn_of_losses(X)
        X = validate_data(
            self, X, accept_sparse="csr", dtype=self.network_.dtype, order="C", reset=False
        )
        rows: Any = SparseRows(X) if issparse(X) else X
        return self.network_.logits(rows)

    def _warn_of_losses(self, X: Any) -> None:
        """Warn of features that are rounded to float32, as the network was trained in it."""
        if self.network_.dtype != np.float32 or issparse(X):
            return
        rows = np.asarray(X)
        names = getattr(self, "feature_names_in_", [f"x{i}" for i in range(rows.shape[1])])
        warn_of_precision_losses(list(names), rows, LOSSY, stacklevel=4)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _part(rows: TrainingRows, places: NDArray[np.int64]) -> TrainingRows:
    X: Any = rows.features
    features: Any = X.part(places) if isinstance(X, SparseRows) else X[places]
    weights = None if rows.weights is None else rows.weights[places]
    return TrainingRows(features, rows.targets[places], weights)
