"""Checks of an estimator's parameters, before it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np

from trainer.nn import SCHEDULES, Schedule

SOLVERS = ("sgd", "rmsprop", "adam", "adamw", "nadam")
# The first two are scikit-learn's names of schedules that have another name in `trainer.nn`.
LEARNING_RATES = ("invscaling", "adaptive", *SCHEDULES)
# Schedules that depend on the progress of a run, which is unknown in `partial_fit`.
PROGRESS_SCHEDULES = ("step", "exponential", "cosine", "one_cycle")
BOOLEAN_PARAMETERS = ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping", "batch_norm")
INTEGER_PARAMETERS = ("max_iter", "n_iter_no_change", "batch_size")
# A further value that a parameter accepts, outside of its range.
SPECIAL_VALUES = {
    "batch_size": "auto",
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
        if not isinstance(parameters[name], bool | np.bool_):
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
    rate = parameters["learning_rate"]
    name = rate.name if isinstance(rate, Schedule) else rate
    if name in PROGRESS_SCHEDULES:
        raise ValueError(
            f"expected a learning_rate constant, invscaling or adaptive for partial_fit; got "
            f"{rate!r}, which follows the progress of a whole fit"
        )
