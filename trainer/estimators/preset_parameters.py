"""The parameters of an estimator that has the preset of `trainer fit`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from trainer.config import Config

# Presets that arrays of features have as well.
ARRAY_PRESETS = ("fast", "balanced")
# scikit-learn's names of losses that `trainer fit` calls otherwise.
LOSS_NAMES = {"squared_error": "mse", "absolute_error": "mae"}


def list_preset_parameters(
    preset: str, parameters: Mapping[str, Any], *, is_regression: bool
) -> dict[str, Any]:
    """Return the parameters that a preset sets, by name.

    Args:
        preset: Name of the preset.
        parameters: Parameters that are given, on which some of the others depend.
        is_regression: Whether they are of the regressor.

    Raises:
        ValueError: If there is no such preset for arrays.
    """
    if preset not in ARRAY_PRESETS:
        raise ValueError(
            f"expected the preset {' or '.join(ARRAY_PRESETS)} for an estimator; got {preset!r}"
        )
    config = _resolve_options(preset, parameters, is_regression=is_regression)
    values: dict[str, Any] = {
        "hidden_layer_sizes": config.hidden,
        "activation": config.activation[0] if len(config.activation) == 1 else config.activation,
        "initializer": config.initializer,
        "dropout": config.dropout,
        "solver": config.optimizer,
        "alpha": config.weight_decay,
        "learning_rate": config.schedule,
        "learning_rate_init": config.learning_rate,
        "layer_rates": config.layer_rates,
        "beta_2": config.beta2,
        "regularization_schedule": config.regularization_schedule,
        "clip_norm": config.clip_norm,
        "average": config.average,
        "batch_size": config.batch_size,
        # The number of epochs depends on that of rows, unless the preset says it.
        "max_iter": config.epochs or "auto",
        "early_stopping": True,
        "validation_fraction": config.validation,
        "monitor": config.monitor,
        # The estimators stop after one epoch more than n_iter_no_change, as scikit-learn does.
        "n_iter_no_change": config.patience - 1,
        "tol": 0.0,
    }
    if is_regression:
        has_scale = parameters.get("loss", "squared_error") != "poisson"
        values["target_scaling"] = "standard" if has_scale else None
        values["clip_predictions"] = config.clip_predictions
    else:
        values["label_smoothing"] = config.label_smoothing
        values["calibrate"] = config.calibrate
    if not parameters.get("early_stopping", True):
        # Without rows that are held out, the whole schedule is gone through.
        values |= {"monitor": "score", "n_iter_no_change": math.inf}
    return values


def _resolve_options(preset: str, parameters: Mapping[str, Any], *, is_regression: bool) -> Config:
    """Return the options of `trainer fit`, with a value for each but the number of epochs."""
    names = {"solver": "optimizer", "learning_rate_init": "learning_rate"}
    names |= {"loss": "loss"} if is_regression else {"calibrate": "calibrate"}
    given = {option: parameters[name] for name, option in names.items() if name in parameters}
    if "loss" in given:
        given["loss"] = LOSS_NAMES.get(given["loss"], given["loss"])
    if not is_regression:
        has_weights = parameters.get("class_weight") is not None
        if has_weights or not parameters.get("early_stopping", True):
            given.setdefault("calibrate", False)
    try:
        config = Config(data="any", preset=preset, **given)
    except ValidationError:
        # `fit` refuses the value, under the name of the parameter.
        config = Config(data="any", preset=preset)
    task: Literal["regression", "multiclass"] = "regression" if is_regression else "multiclass"
    return config.resolve(task, n_rows=1).model_copy(update={"epochs": config.epochs})
