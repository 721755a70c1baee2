"""The options of a training run, and the layers, loss and update rule that they describe."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import ModelWrapValidatorHandler, model_validator

from serving.bundle import find_positive_index
from trainer.data.preprocess import Encoding
from trainer.data.read_options import ReadOptions
from trainer.data.tables import DataError, Task
from trainer.fit_options import (
    DATA_INITIALIZER,
    DataOptions,
    EvaluationOptions,
    NetworkOptions,
    OutputOptions,
    PreprocessingOptions,
    TrainingOptions,
)
from trainer.nn import (
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    BatchNorm,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Dense,
    Dropout,
    Layer,
    Loss,
    MaxNorm,
    Members,
    Penalty,
    WeightAverage,
)
from trainer.presets import (
    EQUAL_RATE,
    FAN_IN_RATE_CLASSIFICATION,
    FAN_IN_RATE_REGRESSION,
    LABEL_SMOOTHING,
    LAYER_RATE_OPTIMIZERS,
    REGRESSION_CLIP_NORM,
    WEIGHT_DECAY,
    add_preset_values,
    choose_epochs,
)
from trainer.training.update import UpdateRule

# Options that do not change the trained weights. A run may resume from the checkpoint of a run
# with other values of them.
OPTIONS_WITHOUT_EFFECT_ON_WEIGHTS = frozenset(
    {
        "models",
        "runs",
        "name",
        "skip_baselines",
        "aim",
        "positive",
        "calibrate",
        "clip_predictions",
        "preset",
    }
)


# Pydantic lists the fields of the last base class first: here from the data to the output.
class Config(
    OutputOptions,
    EvaluationOptions,
    TrainingOptions,
    NetworkOptions,
    PreprocessingOptions,
    DataOptions,
):
    """All options of a training run: the keys of a TOML file, the options of `trainer fit`.

    An option that is not given has the value of its preset. `model_fields_set` has only those that
    were given.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _apply_preset(cls, options: Any, validate: ModelWrapValidatorHandler[Config]) -> Config:
        if not isinstance(options, Mapping):
            return validate(options)
        config = validate(add_preset_values(options))
        config.model_fields_set.intersection_update(options)
        return config

    @model_validator(mode="after")
    def _check_combinations(self) -> Config:
        self.get_read_options().map_date_formats()  # refuses formats that contradict each other
        if len(self.activation) not in (1, len(self.hidden)):
            raise ValueError(
                f"activation: expected one activation for all hidden layers, or one for each of "
                f"the {len(self.hidden)}; got {len(self.activation)}"
            )
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError(
                f"weight_decay: expected the optimizer adamw for a weight decay; got "
                f"{self.optimizer}; choose adamw, or use l2 instead"
            )
        if self.layer_rates == "fan_in" and self.optimizer not in LAYER_RATE_OPTIMIZERS:
            raise ValueError(
                f"layer_rates: expected the optimizer {' or '.join(LAYER_RATE_OPTIMIZERS)} for "
                f"learning rates by layer; got {self.optimizer}; say equal"
            )
        if self.target_scaling == "log" and self.loss == "poisson":
            raise ValueError(
                "target_scaling: expected standard for the loss poisson, whose predictions are "
                "exponentials already; got log; leave it out"
            )
        if self.batch_norm and self.batch_size < 2:
            raise ValueError("batch_size: expected at least 2 for batch norm; got 1")
        return self

    def resolve(self, task: Task, n_rows: int) -> Config:
        """Return the options with a value for each one that depends on the data.

        Args:
            task: Kind of the target.
            n_rows: Number of training rows.

        Raises:
            DataError: If an option does not apply to the task.
        """
        self._check_task(task)
        is_regression = task == "regression"
        calibrate = not is_regression if self.calibrate is None else self.calibrate
        rate = EQUAL_RATE
        if self.layer_rates == "fan_in":
            rate = FAN_IN_RATE_REGRESSION if is_regression else FAN_IN_RATE_CLASSIFICATION
        # Smoothed labels make a better classifier of many classes, but gain nothing with two.
        smoothing = LABEL_SMOOTHING if calibrate and task == "multiclass" else 0.0
        defaults = {
            "learning_rate": rate,
            "weight_decay": WEIGHT_DECAY if self.optimizer == "adamw" else 0.0,
            "epochs": choose_epochs(n_rows, self.batch_size),
            "monitor": "squared_error" if self.loss == "mse" else "loss",
            "label_smoothing": smoothing,
            "calibrate": calibrate,
            "clip_predictions": is_regression,
        }
        if is_regression and self.layer_rates == "fan_in":
            defaults["clip_norm"] = REGRESSION_CLIP_NORM
        # Mark the layer rates as given too. The learning rate now is, so that all layers would have
        # it (see `add_preset_values`) if these options were validated again.
        missing = {name: v for name, v in defaults.items() if getattr(self, name) is None}
        return self.model_copy(update={"layer_rates": self.layer_rates, **missing})

    def get_resolved(self, name: str) -> Any:
        """Return the value of an option that `resolve` chooses if it is not given.

        Args:
            name: Name of the option.

        Raises:
            ValueError: If the option has no value yet.
        """
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"expected a value of {name}; got none; call Config.resolve first")
        return value

    def get_read_options(self) -> ReadOptions:
        """Return how the data are read."""
        names = {f.name for f in fields(ReadOptions)} & set(Config.model_fields)
        return ReadOptions(**{name: getattr(self, name) for name in names})

    def get_encoding(self) -> Encoding:
        """Return how columns are encoded as inputs of the network."""
        # A category that the served model refuses must not be merged with others in training.
        rare = 1 if self.unseen == "refuse" else self.rare
        return Encoding(self.scaling, rare, self.one_hot, fill_all=self.gaps == "impute")

    def build_layers(self, n_outputs: int) -> list[Layer]:
        """Return new layers of the network, of which the last has `n_outputs` outputs."""
        if self.members == 1:
            return self._build_member(n_outputs)
        return [Members(*(self._build_member(n_outputs) for _ in range(self.members)))]

    def _build_member(self, n_outputs: int) -> list[Layer]:
        activations = self.activation * (len(self.hidden) if len(self.activation) == 1 else 1)
        initializer = None if self.initializer == DATA_INITIALIZER else self.initializer
        layers: list[Layer] = [Dropout(self.input_dropout)] if self.input_dropout else []
        for units, activation in zip(self.hidden, activations, strict=True):
            if self.batch_norm:
                layers += [Dense(units, initializer=initializer), BatchNorm(activation)]
            else:
                layers.append(Dense(units, activation, initializer=initializer))
            if self.dropout:
                layers.append(Dropout(self.dropout))
        return [*layers, Dense(n_outputs)]

    def build_loss(self, task: Task) -> Loss:
        """Return a new loss for a task.

        Raises:
            DataError: If an option does not apply to the task.
        """
        self._check_task(task)
        if task == "regression":
            return LOSSES[self.loss]()
        loss_class = BinaryCrossEntropy if task == "binary" else CategoricalCrossEntropy
        return loss_class(self.label_smoothing or 0.0)

    def _check_task(self, task: Task) -> None:
        if self.aim and task != "binary":
            raise DataError(
                f"expected two classes for the aim {self.aim}; got a {task} task; leave it out"
            )
        if self.positive is not None and task != "binary":
            raise DataError(
                f"expected two classes for the positive class {self.positive}; got a {task} task; "
                f"leave it out"
            )
        if task == "regression":
            if self.class_weight or self.label_smoothing or self.calibrate:
                raise DataError(
                    "expected a classification task for class_weight, label_smoothing and "
                    "calibrate; got a regression task; leave them out"
                )
            return
        if self.clip_predictions:
            raise DataError(
                "expected a regression task for clip_predictions; got a classification task; "
                "leave it out"
            )
        if self.target_scaling != "standard":
            raise DataError(
                "expected a regression task for target_scaling; got a classification task; leave "
                "it out"
            )
        if self.loss != "mse":
            raise DataError(
                f"expected a regression task for the loss {self.loss}; got a classification task; "
                f"leave it out"
            )

    def find_positive_index(self, classes: list[int] | list[str]) -> int:
        """Return the index, 0 or 1, of the positive class of a binary task.

        Args:
            classes: Both classes, in the order of the model.

        Raises:
            DataError: If `positive` is neither of them, or if an aim is given but no positive
                class, and the names of the classes do not tell which one is positive.
        """
        try:
            index = find_positive_index(classes, self.positive)
        except ValueError as error:
            raise DataError(f"--positive: {error}") from error
        if index is None and self.aim:
            first, second = classes
            raise DataError(
                f"expected to know which class the aim {self.aim} is for; got {first} and "
                f"{second}; say --positive {shlex.quote(str(first))} or --positive "
                f"{shlex.quote(str(second))}"
            )
        return 1 if index is None else index

    def build_update_rule(self) -> UpdateRule:
        """Return a new update rule, which changes the network after each batch.

        Raises:
            ValueError: If the learning rate or the weight decay has no value yet; see `resolve`.
        """
        options: dict[str, Any] = {}
        if self.optimizer == "adamw":
            options["weight_decay"] = self.get_resolved("weight_decay")
        if self.optimizer in ("adam", "adamw", "nadam"):
            options["beta2"] = self.beta2
        return UpdateRule(
            OPTIMIZERS[self.optimizer](self.get_resolved("learning_rate"), **options),
            regularization_schedule=SCHEDULES[self.regularization_schedule](),
            has_layer_rates=self.layer_rates == "fan_in",
            schedule=SCHEDULES[self.schedule](),
            penalty=Penalty(self.l1, self.l2) if self.l1 or self.l2 else None,
            clip_norm=self.clip_norm,
            clip_value=self.clip_value,
            max_norm=None if self.max_norm is None else MaxNorm(self.max_norm),
            average=WeightAverage(self.average) if self.average else None,
        )


def normalize_run_identity(identity: str) -> str:
    """Return the identity of a run with only what decides its weights.

    A checkpoint of an earlier version lacks the options that were added since; they get their
    values in the preset `fast`, the defaults at that time.

    Args:
        identity: Fingerprint of the data, a space, and the options as JSON.
    """
    fingerprint, _, text = identity.partition(" ")
    try:
        saved_options = dict(json.loads(text))
    except (TypeError, ValueError):
        return identity
    options = Config(data="any", preset="fast").model_dump(mode="json") | saved_options
    relevant = {
        name: value
        for name, value in options.items()
        if name not in OPTIONS_WITHOUT_EFFECT_ON_WEIGHTS
    }
    return f"{fingerprint} {json.dumps(relevant, sort_keys=True)}"
