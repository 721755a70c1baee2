"""The parameters that both estimators have, and the network components made from them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

from trainer.estimators.parameters import DATA_INITIALIZER
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
    MaxNorm,
    Momentum,
    Nadam,
    Nesterov,
    Optimizer,
    Penalty,
    ReduceOnPlateau,
    RMSprop,
    Schedule,
    WeightAverage,
)
from trainer.presets import choose_epochs
from trainer.training.batches import TrainingRows
from trainer.training.loop import Callback
from trainer.training.update import UpdateRule

# The batch size `auto` means this number of rows, as in scikit-learn.
AUTO_BATCH_ROWS = 200
# scikit-learn's names of activations that have another name in `trainer.nn`.
ACTIVATION_NAMES = {"logistic": "sigmoid"}
# Parameters of the network itself. If one of them changes, training cannot be continued.
NETWORK_PARAMETERS = (
    "hidden_layer_sizes",
    "activation",
    "initializer",
    "dropout",
    "batch_norm",
    "loss",
    "target_scaling",
)
# Parameters of the update rule. If one of them changes, training continues with a new rule.
UPDATE_PARAMETERS = (
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
    "layer_rates",
    "regularization_schedule",
)


class ComponentsMixin:
    """Methods that make the layers, the optimizer and its schedule from the parameters.

    The constructors of the estimators set the parameters; see `MLPClassifier` for their meaning.
    """

    hidden_layer_sizes: Any
    activation: Any
    solver: str
    alpha: float
    batch_size: int | Literal["auto"]
    learning_rate: str | Schedule
    learning_rate_init: float
    power_t: float
    max_iter: int | Literal["auto"]
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
    initializer: str | None
    layer_rates: Literal["equal", "fan_in"]
    regularization_schedule: Literal["constant", "flat_cosine"]
    monitor: Literal["score", "loss", "squared_error"]
    callbacks: Sequence[Callback]

    def _get_network_parameters(self) -> dict[str, Any]:
        parameters = {
            name: getattr(self, name) for name in NETWORK_PARAMETERS if hasattr(self, name)
        }
        return {**parameters, "hidden_layer_sizes": self._get_layer_sizes()}

    def _get_update_parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in UPDATE_PARAMETERS}

    def _get_layer_sizes(self) -> list[int]:
        """Return the number of units of each hidden layer."""
        value = self.hidden_layer_sizes
        sizes = list(value) if hasattr(value, "__iter__") else [value]
        if any(not isinstance(size, Integral) for size in sizes):
            raise ValueError(f"expected hidden_layer_sizes of whole numbers; got {sizes}")
        if any(size < 1 for size in sizes):
            raise ValueError(f"expected hidden_layer_sizes of at least 1 unit each; got {sizes}")
        return [int(size) for size in sizes]

    def _make_hidden_layers(self) -> list[Layer]:
        sizes, value = self._get_layer_sizes(), self.activation
        activations = [value] * len(sizes) if isinstance(value, str | Activation) else list(value)
        if len(activations) != len(sizes):
            raise ValueError(
                f"expected one activation, or {len(sizes)}, one per hidden layer; got "
                f"{len(activations)}"
            )
        # A network from training rows is initialized when all of its layers are there.
        initializer = None if self.initializer == DATA_INITIALIZER else self.initializer
        layers: list[Layer] = []
        for units, f in zip(sizes, activations, strict=True):
            own = ACTIVATION_NAMES.get(f, f) if isinstance(f, str) else copy.deepcopy(f)
            if self.batch_norm:
                layers += [Dense(units, initializer=initializer), BatchNorm(own)]
            else:
                layers.append(Dense(units, own, initializer=initializer))
            if self.dropout:
                layers.append(Dropout(self.dropout))
        return layers

    def _make_update(self) -> UpdateRule:
        return UpdateRule(
            self._make_optimizer(),
            schedule=self._make_schedule(),
            clip_norm=self.clip_norm,
            max_norm=None if self.max_norm is None else MaxNorm(self.max_norm),
            average=WeightAverage(self.average) if self.average else None,
            regularization_schedule=SCHEDULES[self.regularization_schedule](),
            has_layer_rates=self.layer_rates == "fan_in",
        )

    def _make_optimizer(self) -> Optimizer:
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

    def _make_schedule(self) -> Schedule:
        match self.learning_rate:
            case Schedule():
                own = copy.deepcopy(self.learning_rate)
                own.reset()
                return own
            case "invscaling":
                return InverseScaling(self.power_t)
            case "adaptive":
                # scikit-learn divides the learning rate by 5.
                return ReduceOnPlateau(patience=self.n_iter_no_change, gamma=0.2)
            case name:
                return SCHEDULES[name]()

    def _make_penalty(self, rows: TrainingRows, batch_rows: int) -> Penalty | None:
        """Return the penalty on the weights, which is scikit-learn's: alpha/2 Σw² per batch.

        It is divided by the sum of the row weights of an average batch, since the loss is their
        weighted mean. With `adamw`, alpha is the weight decay of the optimizer instead.
        """
        weight_sum = len(rows) if rows.weights is None else float(rows.weights.sum())
        batch_weight = max(weight_sum * batch_rows / len(rows), 1e-12)
        l2 = 0.0 if self.solver == "adamw" else self.alpha / batch_weight
        return Penalty(self.l1 / batch_weight, l2) if self.l1 or l2 else None

    def _get_batch_rows(self, n_rows: int) -> int:
        """Return the number of rows per batch, at most `n_rows`."""
        if self.batch_size == "auto":
            return min(AUTO_BATCH_ROWS, n_rows)
        if self.batch_size > n_rows and self.max_iter != "auto":  # "auto" adapts to the rows
            warnings.warn(
                f"expected a batch_size of at most the {n_rows} rows; got {self.batch_size}; cut "
                f"to {n_rows}",
                stacklevel=4,  # the line that calls `fit` or `partial_fit`
            )
        return min(self.batch_size, n_rows)

    def _count_epochs(self, n_rows: int, batch_rows: int) -> int:
        """Return the maximum number of epochs of a fit.

        Args:
            n_rows: Number of training rows.
            batch_rows: Number of rows per batch.
        """
        return choose_epochs(n_rows, batch_rows) if self.max_iter == "auto" else self.max_iter
