"""The base class of both estimators: validation of the data, training, fitted attributes."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from trainer.data.precision_loss import warn_of_precision_losses
from trainer.estimators.components import ComponentsMixin
from trainer.estimators.convergence import ConvergenceMonitor
from trainer.estimators.parameters import DATA_INITIALIZER, check_parameters
from trainer.estimators.preset_parameters import list_preset_parameters
from trainer.estimators.sparse_rows import SparseRows
from trainer.nn import Dense, Loss, Network, initialize_from_rows
from trainer.training.batches import TrainingRows
from trainer.training.loop import TrainingRun
from trainer.training.update import UpdateRule

Array = NDArray[Any]

PRECISION_ADVICE = (
    "the network was trained on float32 and computes in it; train it on float64, or subtract an "
    "offset from them first"
)
MAX_INITIALIZATION_ROWS = 1024  # training rows that the initial weights are computed from
# scikit-learn's names of the output activations, by the link of the loss.
OUTPUT_ACTIVATIONS = {
    "identity": "identity",
    "exp": "exp",
    "sigmoid": "logistic",
    "softmax": "softmax",
}


class BaseMLP(ComponentsMixin, BaseEstimator):  # type: ignore[misc]
    """Base class of the classifier and the regressor."""

    # Parameters with which the network and its update rule were made. The second is None if the
    # rule must not be used any more. Then the rule, and the number of steps it has made.
    _network_parameters: dict[str, Any]
    _update_parameters: dict[str, Any] | None
    _update: UpdateRule
    _n_steps: int

    # Methods that the classifier and the regressor implement.

    def _encode(
        self, y: Array, *, is_new: bool, classes: ArrayLike | None
    ) -> tuple[Array, Array, Array | None]:
        """Return targets for the loss, labels for the score, and labels to stratify by or None.

        Args:
            y: Targets, `(n,)` or `(n, n_outputs)`.
            is_new: Whether a new network is trained.
            classes: All classes, `(n_classes,)`; None if they are those of `y`.
        """
        raise NotImplementedError

    def _make_loss(self) -> Loss:
        raise NotImplementedError

    def _predict(self, network: Network, loss: Loss, X: Array) -> Array:
        raise NotImplementedError

    def _score(self, predictions: Array, y: Array, weights: Array | None) -> float:
        raise NotImplementedError

    def _apply_class_weights(self, y: Array, weights: Array | None) -> Array | None:
        return weights

    def _count_outputs(self, targets: Array) -> int:
        return 1 if targets.ndim == 1 else targets.shape[1]

    def _scale_targets(self, rows: TrainingRows, *, is_new: bool) -> None:
        """Choose the scaling of the targets from the training rows, if there is one."""

    def _apply_target_scaling(self, rows: TrainingRows) -> TrainingRows:
        return rows

    def _fit_calibration(self, validation: TrainingRows | None) -> None:
        """Choose the calibration of the logits from the validation rows, if there is one."""

    @classmethod
    def from_preset(cls, preset: str, **parameters: Any) -> Self:
        """Return an estimator with the parameters of `trainer fit --preset PRESET`.

        The features must be scaled, and without gaps; categories must be encoded as numbers:

        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> from trainer import MLPClassifier
        >>> model = make_pipeline(StandardScaler(), MLPClassifier.from_preset("balanced"))

        `validation_fraction` of the rows are held out, by which the best epoch is chosen and
        probabilities are calibrated. Such an estimator has no `partial_fit`. With `warm_start`,
        each `fit` goes through the whole schedule again.

        Args:
            preset: Name of the preset: fast (one hidden layer of 256 units) or balanced (three of
                128 units, with dropout, weight decay and a learning rate for each layer).
            **parameters: Parameters of the constructor, in place of the preset's. With a
                `learning_rate_init`, or a `solver` other than adam and adamw, all layers have one
                rate. With `class_weight`, or without `early_stopping`, probabilities are not
                calibrated. Without calibration, labels are not smoothed.

        Raises:
            ValueError: If there is no such preset.
            TypeError: If there is no such parameter.
        """
        is_regression = issubclass(cls, RegressorMixin)
        values = list_preset_parameters(preset, parameters, is_regression=is_regression)
        return cls(**(values | parameters))

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network. With `warm_start=True`, training continues from the current weights.

        Args:
            X: Features, array or sparse matrix `(n_samples, n_features)`, finite. If float32, the
                network is trained in float32, otherwise in float64.
            y: Classes or values, `(n_samples,)` or `(n_samples, n_outputs)`.
            sample_weight: Weight of each row, `(n_samples,)`, at least 0 [default: None, all 1].
                With `early_stopping` it also applies to the validation score.

        Returns:
            The estimator itself.

        Raises:
            ValueError: If a parameter or an array is invalid.
            TrainingDivergedError: If the loss or a weight became infinite or NaN. The network then
                has the weights that it had before the call.
        """
        should_continue = self.warm_start and hasattr(self, "network_")
        return self._train(X, y, sample_weight, is_new=not should_continue)

    def _train(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        *,
        is_new: bool,
        incremental: bool = False,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Train the network; see `fit`.

        Args:
            X: Features, as for `fit`.
            y: Targets, as for `fit`.
            sample_weight: Weights of the rows, as for `fit`.
            is_new: Whether a new network is made.
            incremental: Whether one epoch is trained, for `partial_fit`.
            classes: All classes, `(n_classes,)`; None if they are those of `y`.
        """
        check_parameters(self.get_params(deep=False), incremental=incremental)
        if not is_new:
            self._require_same_network()
        original_X = X
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            dtype=(np.float64, np.float32) if is_new else self.network_.dtype,
            order="C",
            reset=is_new,
            y_numeric=isinstance(self, RegressorMixin),
        )
        if not is_new:
            self._warn_of_precision_losses(original_X)
        y = y.toarray() if issparse(y) else y
        X = SparseRows(X) if issparse(X) else X
        targets, labels, strata = self._encode(y, is_new=is_new, classes=classes)
        if targets.dtype.kind == "f":
            targets = targets.astype(X.dtype)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(
                sample_weight, X, dtype=X.dtype, ensure_non_negative=True
            )
        rng = check_random_state(self.random_state)
        training = TrainingRows(X, targets, self._apply_class_weights(y, weights))
        validation, monitor = None, ConvergenceMonitor(self, None)
        if self.early_stopping:
            training, validation, monitor = self._split(training, labels, strata, weights, rng)
        self._scale_targets(training, is_new=is_new)
        training = self._apply_target_scaling(training)
        if validation is not None:
            validation = self._apply_target_scaling(validation)
        self._loss = self._make_loss()
        if is_new:
            n_outputs = self._count_outputs(targets)
            self._build(training, n_outputs, np.random.default_rng(rng.randint(2**31)))
        is_new_fit = is_new or not incremental
        self._prepare_update(should_reset=is_new_fit)
        batch_rows = self._get_batch_rows(len(training))
        self._update.penalty = self._make_penalty(training, batch_rows)
        epochs = 1 if incremental else self._count_epochs(len(training), batch_rows)
        run = self._run(training, validation, monitor, epochs=epochs, batch_rows=batch_rows)
        self._fit_calibration(validation)
        self._set_fitted_attributes(run, monitor, should_reset=is_new_fit, n_rows=len(training))
        # A number of epochs that the estimator has chosen is no limit that was reached too early.
        if not incremental and not run.stop and self.max_iter != "auto":
            warnings.warn(
                f"expected to converge; reached max_iter={self.max_iter} first; raise it, or tol",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _split(
        self,
        rows: TrainingRows,
        labels: Array,
        strata: Array | None,
        weights: Array | None,
        rng: np.random.RandomState,
    ) -> tuple[TrainingRows, TrainingRows, ConvergenceMonitor]:
        """Split validation rows off, and return the monitor that measures their score.

        Args:
            rows: All rows.
            labels: Labels for the score, `(n,)` or `(n, n_outputs)`.
            strata: Labels to stratify by, `(n,)`; None for a simple random split.
            weights: Sample weights, without those of the classes, `(n,)` or None.
            rng: Generator of the split.
        """
        indices = train_test_split(
            np.arange(len(rows)),
            test_size=self.validation_fraction,
            stratify=strata,
            random_state=rng,
        )
        if len(indices[1]) < 2:
            raise ValueError(
                f"expected at least 2 rows to hold out; got {len(indices[1])} of {len(rows)}; "
                f"raise validation_fraction"
            )
        training, validation = (_select_rows(rows, part) for part in indices)
        labels = labels[indices[1]]
        score_weights = None if weights is None else weights[indices[1]]

        def score(run: TrainingRun) -> float:
            predictions = self._predict(run.network, run.loss, validation.features)
            return self._score(predictions, labels, score_weights)

        return training, validation, ConvergenceMonitor(self, score)

    def _build(self, rows: TrainingRows, n_outputs: int, rng: np.random.Generator) -> None:
        """Make a new network for the rows, and the generator of the order of its rows."""
        # Separate generators, so that a change of the draws in one does not change the others.
        weights_rng, self._order_rng, data_rng = rng.spawn(3)
        layers = [*self._make_hidden_layers(), Dense(n_outputs)]
        X = rows.features
        self.network_ = Network(X.shape[1], layers, rng=weights_rng, dtype=X.dtype)
        if self.initializer == DATA_INITIALIZER:
            indices = data_rng.permutation(len(rows))[:MAX_INITIALIZATION_ROWS]
            initialize_from_rows(self.network_, X[indices], data_rng)
        self._network_parameters = self._get_network_parameters()

    def _require_same_network(self) -> None:
        for name, value in self._get_network_parameters().items():
            if value != self._network_parameters[name]:
                raise ValueError(
                    f"expected the {name} of the network that is there, "
                    f"{self._network_parameters[name]!r}, to continue its training; got {value!r}; "
                    f"set warm_start=False and fit again"
                )

    def _prepare_update(self, *, should_reset: bool) -> None:
        """Make a new update rule if it should be reset or its parameters have changed."""
        parameters = self._get_update_parameters()
        if not should_reset and parameters == self._update_parameters:
            return
        self._update_parameters = parameters
        self._n_steps = 0
        self._update = self._make_update()

    def _run(
        self,
        training: TrainingRows,
        validation: TrainingRows | None,
        monitor: ConvergenceMonitor,
        *,
        epochs: int,
        batch_rows: int,
    ) -> TrainingRun:
        """Train the network and return the run; if it diverges, restore the weights of before."""
        run = TrainingRun(
            self.network_,
            self._loss,
            self._update,
            training,
            epochs=epochs,
            batch_size=batch_rows,
            rng=self._order_rng,
            validation=validation,
            callbacks=[monitor, *self.callbacks],
            shuffle=self.shuffle,
            first_step=self._n_steps,
            measure_error=validation is not None and self.monitor == "squared_error",
        )
        weights = run.network.snapshot()
        try:
            run.run()
        except ArithmeticError:
            run.network.restore(weights)
            self._update_parameters = None  # the state of the optimizer may hold NaN as well
            raise
        self._n_steps += run.steps
        return run

    def _set_fitted_attributes(
        self, run: TrainingRun, monitor: ConvergenceMonitor, *, should_reset: bool, n_rows: int
    ) -> None:
        if should_reset:
            self.loss_curve_: list[float] = []
            self.n_iter_ = self.t_ = 0
        self.loss_curve_ += [epoch.train_loss for epoch in run.history]
        self.loss_ = self.loss_curve_[-1]
        self.n_iter_ += len(run.history)
        self.t_ += n_rows * len(run.history)
        self.best_loss_ = None if run.validation is not None else min(self.loss_curve_)
        self.validation_scores_ = monitor.scores or None
        self.best_validation_score_ = max(monitor.scores) if monitor.scores else None
        losses = [epoch.validation_loss for epoch in run.history]
        self.validation_loss_curve_ = losses if monitor.scores else None
        self.n_outputs_ = self.network_.n_outputs
        self.n_layers_ = len(self.coefs_) + 1
        self.out_activation_ = OUTPUT_ACTIVATIONS[run.loss.link]

    @property
    def coefs_(self) -> list[Array]:
        """Weight matrix of each layer, `(n_in, n_out)`, a view of the network's parameters."""
        return [W for W, _ in self.network_.weights()]

    @property
    def intercepts_(self) -> list[Array]:
        """Bias of each layer, `(n_out,)`, a view of the network's parameters."""
        return [layer.b for layer in self.network_.layers if isinstance(layer, Dense)]

    def _compute_logits(self, X: Any) -> Array:
        """Return the outputs of the last layer, `(n, n_outputs)`."""
        check_is_fitted(self, "network_")
        self._warn_of_precision_losses(X)
        X = validate_data(
            self, X, accept_sparse="csr", dtype=self.network_.dtype, order="C", reset=False
        )
        rows: Any = SparseRows(X) if issparse(X) else X
        return self._scale_logits(self.network_.logits(rows))

    def _scale_logits(self, logits: Array) -> Array:
        """Return the logits with the calibration of a classifier; they may be overwritten."""
        return logits

    def _warn_of_precision_losses(self, X: Any) -> None:
        """Warn if the network is float32 and rounding the features to it merges values."""
        if self.network_.dtype != np.float32 or issparse(X):
            return
        rows = np.asarray(X)
        names = getattr(self, "feature_names_in_", [f"x{i}" for i in range(rows.shape[1])])
        warn_of_precision_losses(list(names), rows, PRECISION_ADVICE, stacklevel=4)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _select_rows(rows: TrainingRows, indices: NDArray[np.int64]) -> TrainingRows:
    X: Any = rows.features
    features: Any = X.select(indices) if isinstance(X, SparseRows) else X[indices]
    weights = None if rows.weights is None else rows.weights[indices]
    return TrainingRows(features, rows.targets[indices], weights)
