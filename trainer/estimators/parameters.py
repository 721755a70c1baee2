"""The choices of an estimator: what each may be, said before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np

from trainer.nn import SCHEDULES, Schedule

SOLVERS = ("sgd", "rmsprop", "adam", "adamw", "nadam")
# scikit-learn's names of schedules, which have another here.
LEARNING_RATES = ("invscaling", "adaptive", *SCHEDULES)
# Schedules that follow the progress of a run, which a partial_fit does not know.
OF_A_WHOLE_RUN = ("step", "exponential", "cosine", "one_cycle")
BOOLEANS = ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping", "batch_norm")
INTEGERS = ("max_iter", "n_iter_no_change", "batch_size")
INSTEAD_OF = {
    "batch_size": "auto",
    "n_iter_no_change": math.inf,
    "max_norm": None,
    "clip_norm": None,
}
# Each number's bounds: at least, or above; and below.
AT_LEAST_0 = ("alpha", "power_t", "tol", "l1")
ABOVE_0 = ("learning_rate_init", "epsilon", "max_norm", "clip_norm")
BELOW_1 = ("momentum", "beta_1", "beta_2", "dropout", "average", "label_smoothing")
RANGES: tuple[tuple[tuple[str, ...], str, Callable[[Any], bool]], ...] = (
    (AT_LEAST_0, "of at least 0", lambda v: 0 <= v < math.inf),
    (ABOVE_0, "above 0", lambda v: 0 < v < math.inf),
    (BELOW_1, "in [0, 1)", lambda v: 0 <= v < 1),
)


def check_parameters(choices: dict[str, Any], *, incremental: bool) -> None:
    """Refuse by name what an estimator cannot be trained with.

    Args:
        choices: the parameters of an estimator.
        incremental: whether they are for `partial_fit`.

    Raises:
        ValueError: If a parameter is out of its range; the message names the first.
    """
    _check_names(choices)
    for name in BOOLEANS:
        if not isinstance(choices[name], bool | np.bool_):
            raise ValueError(f"expected {name} True or False; got {choices[name]!r}")
    for name in INTEGERS:
        value = choices[name]
        if name in INSTEAD_OF and value == INSTEAD_OF[name]:
            continue
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"expected {name} of at least 1, a whole number; got {value!r}")
    for names, words, fits in RANGES:
        for name in names:
            value = choices.get(name, 0.5)
            if value is None and name in INSTEAD_OF:
                continue
            if not isinstance(value, Real) or not fits(value):
                raise ValueError(f"expected {name} {words}; got {value!r}")
    share: Any = choices["validation_fraction"]
    is_share = isinstance(share, Real) and 0 < float(share) < 1
    if not is_share and (choices["early_stopping"] or share != 0):
        raise ValueError(f"expected a validation_fraction in (0, 1); got {share!r}")
    if incremental:
        _check_incremental(choices)


def _check_names(choices: dict[str, Any]) -> None:
    solver, rate = choices["solver"], choices["learning_rate"]
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


def _check_incremental(choices: dict[str, Any]) -> None:
    if choices["early_stopping"]:
        raise ValueError(
            "expected early_stopping=False for partial_fit, which does not support it: it makes "
            "one pass, after which nothing stops; got True"
        )
    if choices.get("class_weight") == "balanced":
        raise ValueError(
            "expected class_weight by class for partial_fit, which does not know how often each "
            "class will come; got 'balanced'; use dict(zip(classes, compute_class_weight("
            "'balanced', classes=classes, y=all_of_y))) of sklearn.utils.class_weight"
        )
    rate = choices["learning_rate"]
    name = rate.name if isinstance(rate, Schedule) else rate
    if name in OF_A_WHOLE_RUN:
        raise ValueError(
            f"expected a learning_rate constant, invscaling or adaptive for partial_fit; got "
            f"{rate!r}, which follows the progress of a whole fit"
        )
