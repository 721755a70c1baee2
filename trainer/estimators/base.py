"""What both estimators share: choices under scikit-learn's names, and how they are trained."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from trainer.data.precision import warn_of_losses
from trainer.fit.batches import Rows
from trainer.fit.loop import Callback, Run
from trainer.fit.update import Update
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

Array = NDArray[Any]

LOSSY = (
    "the network was trained on float32 and computes in it; train it on float64, or subtract an "
    "offset from them first"
)
AUTO_BATCH = 200  # rows, as scikit-learn's
SOLVERS = ("sgd", "rmsprop", "adam", "adamw", "nadam")
# scikit-learn's names of activations that have another here.
ACTIVATION_NAMES = {"logistic": "sigmoid"}


class _Watch(Callback):
    """Ends a run that no longer gets better, as scikit-learn does.

    Judged by the training loss, or by the score on validation rows, whose best weights it keeps.
    """

    def __init__(self, estimator: BaseMLP, validation: tuple[Array, Array] | None) -> None:
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
        given = X
        X, y = validate_data(
            self, X, y, multi_output=True, dtype=dtypes, order="C", reset=fresh,
            y_numeric=isinstance(self, RegressorMixin),
        )  # fmt: skip
        if not fresh:
            self._warn_of_losses(given)
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
        found = validate_data(self, X, dtype=self.network_.dtype, order="C", reset=False)
        self._warn_of_losses(X)
        return self.network_.logits(found)

    def _warn_of_losses(self, X: Any) -> None:
        """Warn of features that are rounded to float32, as the network was trained in it."""
        if self.network_.dtype != np.float32:
            return
        rows = np.asarray(X)
        names = getattr(self, "feature_names_in_", [f"x{i}" for i in range(rows.shape[1])])
        warn_of_losses(list(names), rows, LOSSY, stacklevel=4)
