"""Checks of an estimator's parameters, before it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np

from trainer.nn import INITIALIZERS, SCHEDULES, Schedule
from trainer.presets import LAYER_RATE_OPTIMIZERS

SOLVERS = ("sgd", "rmsprop", "adam", "adamw", "nadam")
# The first two are scikit-learn's names of schedules that have another name in `trainer.nn`.
LEARNING_RATES = ("invscaling", "adaptive", *SCHEDULES)
# Schedules that depend on the progress of a run, which is unknown in `partial_fit`.
PROGRESS_SCHEDULES = ("step", "exponential", "cosine", "flat_cosine", "one_cycle")
BOOLEAN_PARAMETERS = (
    "shuffle",
    "warm_start",
    "nesterovs_momentum",
    "early_stopping",
    "batch_norm",
    "calibrate",
    "clip_predictions",
)
DATA_INITIALIZER = "data"  # name of the initialization from training rows
# Parameters with a few values, of which the first is the default.
CHOICES: dict[str, tuple[str | None, ...]] = {
    "initializer": (None, DATA_INITIALIZER, *INITIALIZERS),
    "layer_rates": ("equal", "fan_in"),
    "regularization_schedule": ("constant", "flat_cosine"),
    "monitor": ("score", "loss", "squared_error"),
    "target_scaling": (None, "standard"),
}
INTEGER_PARAMETERS = ("max_iter", "n_iter_no_change", "batch_size")
# A further value that a parameter accepts, outside of its range.
SPECIAL_VALUES = {
    "batch_size": "auto",
    "max_iter": "auto",
    "n_iter_no_change": math.inf,
    "max_norm": None,
    "clip_norm": None,
}
# Parameters with the same range: their names, the range in words, and the test for it.
RANGES: tuple[tuple[tuple[str, ...], str, Callable[[Any], bool]], ...] = (
    (("alpha", "power_t", "tol", "l1"), "of at least 0", lambda v: 0 <= v < math.inf),
    (
        ("learning_rate_init", "epsilon", "max_norm", "clip_norm"),
        "above 0",
        lambda v: 0 < v < math.inf,
    ),
    (
        ("momentum", "beta_1", "beta_2", "dropout", "average", "label_smoothing"),
        "in [0, 1)",
        lambda v: 0 <= v < 1,
    ),
)


def check_parameters(parameters: dict[str, Any], *, incremental: bool) -> None:
    """Check the parameters of an estimator.

    Args:
        parameters: Parameters by name, as `get_params` returns them.
        incremental: Whether they are for `partial_fit`.

    Raises:
        ValueError: If a parameter is out of its range; the message names the first.
    """
    _check_names(parameters)
    for name in BOOLEAN_PARAMETERS:
        if not isinstance(parameters.get(name, False), bool | np.bool_):
            raise ValueError(f"expected {name} True or False; got {parameters[name]!r}")
    for name in INTEGER_PARAMETERS:
        value = parameters[name]
        if name in SPECIAL_VALUES and value == SPECIAL_VALUES[name]:
            continue
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"expected {name} of at least 1, a whole number; got {value!r}")
    for names, description, is_in_range in RANGES:
        for name in names:
            # An estimator may lack a parameter; 0.5 is in each of the ranges.
            value = parameters.get(name, 0.5)
            if value is None and name in SPECIAL_VALUES:
                continue
            if not isinstance(value, Real) or not is_in_range(value):
                raise ValueError(f"expected {name} {description}; got {value!r}")
    _check_choices(parameters)
    share: Any = parameters["validation_fraction"]
    is_share = isinstance(share, Real) and 0 < float(share) < 1
    if not is_share and (parameters["early_stopping"] or share != 0):
        raise ValueError(f"expected a validation_fraction in (0, 1); got {share!r}")
    if incremental:
        _check_incremental(parameters)


def _check_names(parameters: dict[str, Any]) -> None:
    solver, rate = parameters["solver"], parameters["learning_rate"]
    if solver == "lbfgs":
        raise ValueError(
            f"expected a solver out of {', '.join(SOLVERS)}; got 'lbfgs', which is not here: it "
            f"steps on all rows at once; use adam, with few rows batch_size=len(X), or "
            f"sklearn.neural_network"
        )
    if solver not in SOLVERS:
        raise ValueError(f"expected a solver out of {', '.join(SOLVERS)}; got {solver!r}")
    if not isinstance(rate, Schedule) and rate not in LEARNING_RATES:
        raise ValueError(
            f"expected a learning_rate out of {', '.join(sorted(LEARNING_RATES))}; got {rate!r}"
        )


def _check_choices(parameters: dict[str, Any]) -> None:
    for name, choices in CHOICES.items():
        value = parameters.get(name, choices[0])
        if not (value is None or isinstance(value, str)) or value not in choices:
            raise ValueError(
                f"expected {name} out of {', '.join(map(str, choices))}; got {value!r}"
            )
    solver = parameters["solver"]
    if parameters["layer_rates"] == "fan_in" and solver not in LAYER_RATE_OPTIMIZERS:
        raise ValueError(
            f"expected the solver {' or '.join(LAYER_RATE_OPTIMIZERS)} for layer_rates 'fan_in'; "
            f"got {solver!r}; set layer_rates='equal'"
        )
    if not parameters["early_stopping"]:
        for name, default in (("monitor", "score"), ("calibrate", False)):
            value = parameters.get(name, default)
            if value != default:
                raise ValueError(
                    f"expected early_stopping=True for {name}, which needs rows that are held out; "
                    f"got {name}={value!r}"
                )
    if parameters.get("calibrate") and parameters["class_weight"] is not None:
        raise ValueError(
            f"expected class_weight=None with calibrate=True, since weighted classes have other "
            f"probabilities; got "
            f"{parameters['class_weight']!r}; leave one of them out"
        )
    if parameters.get("target_scaling") is not None and parameters["loss"] == "poisson":
        raise ValueError(
            "expected target_scaling=None for the loss poisson, whose targets are at least 0; got "
            f"{parameters['target_scaling']!r}"
        )


def _check_incremental(parameters: dict[str, Any]) -> None:
    if parameters["early_stopping"]:
        raise ValueError(
            "expected early_stopping=False for partial_fit, which makes one pass over the rows and "
            "does not support it; got True"
        )
    if parameters.get("class_weight") == "balanced":
        raise ValueError(
            "expected class_weight by class for partial_fit, which does not know how often each "
            "class will come; got 'balanced'; use dict(zip(classes, compute_class_weight("
            "'balanced', classes=classes, y=all_of_y))) of sklearn.utils.class_weight"
        )
    for name, default in (("target_scaling", None), ("clip_predictions", False)):
        if parameters.get(name, default) != default:
            raise ValueError(
                f"expected {name}={default} for partial_fit, which does not know the targets that "
                f"will come; got {parameters[name]!r}; scale them before, or use fit"
            )
    if parameters["regularization_schedule"] in PROGRESS_SCHEDULES:
        raise ValueError(
            f"expected a regularization_schedule constant for partial_fit; got "
            f"{parameters['regularization_schedule']!r}, which follows the progress of a whole fit"
        )
    rate = parameters["learning_rate"]
    name = rate.name if isinstance(rate, Schedule) else rate
    if name in PROGRESS_SCHEDULES:
        raise ValueError(
            f"expected a learning_rate constant, invscaling or adaptive for partial_fit; got "
            f"{rate!r}, which follows the progress of a whole fit"
        )
