"""Presets: named sets of values for the options that are not given.

The defaults of `fit_options` are those of the preset `balanced`; a preset is the list of its
differences from them. Some options have no value that fits all data, or depend on other options:
their default is None, and they are chosen when the rows and the task are known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

Preset = Literal["fast", "balanced", "best"]
PRESETS: tuple[Preset, ...] = get_args(Preset)

# Optimizers with learning rates of single parameters, which `layer_rates` needs.
LAYER_RATE_OPTIMIZERS = ("adam", "adamw")

DIFFERENCES: Mapping[Preset, Mapping[str, Any]] = MappingProxyType(
    {
        "fast": {
            "hidden": (256,),
            "activation": ("relu",),
            "initializer": None,
            "dropout": 0.0,
            "label_smoothing": 0.0,
            "optimizer": "adam",
            "learning_rate": 0.001,
            "layer_rates": "equal",
            "beta2": 0.999,
            "weight_decay": 0.0,
            "schedule": "constant",
            "regularization_schedule": "constant",
            "average": 0.0,
            "batch_size": 32,
            "epochs": 200,
            "patience": 20,
            "monitor": "loss",
            "calibrate": False,
            "clip_predictions": False,
        },
        "balanced": {},
        "best": {"numbers": "pbld", "members": 2},
    }
)

# Scaling of numbers with periodic embeddings, of which the cosines are made for values near 0.
EMBEDDED_SCALING = "robust_clip"

# Default learning rates. Those of fan_in are divided by the square root of a layer's inputs.
FAN_IN_RATE_CLASSIFICATION, FAN_IN_RATE_REGRESSION, EQUAL_RATE = 0.04, 0.2, 0.001
# Largest norm of a gradient of a regression with fan_in, whose rate is high: without a limit, steps
# from a few extreme targets made runs on large tables diverge for some epochs.
REGRESSION_CLIP_NORM = 3.0
WEIGHT_DECAY = 0.02
LABEL_SMOOTHING = 0.1

# Numbers of epochs if none is given. Small tables get at least MIN_STEPS steps, since a few epochs
# of them are too few; large ones at most MAX_STEPS, but at least one epoch.
SMALL_TABLE_EPOCHS, LARGE_TABLE_EPOCHS, LARGE_TABLE_ROWS = 128, 64, 10_000
MIN_STEPS, MAX_STEPS = 500, 30_000


def add_preset_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with the values of their preset for those that are not given.

    If a learning rate is given, or an optimizer that has one rate for all parameters, all layers
    have that rate. Numbers with periodic embeddings have the scaling that suits these.

    Args:
        options: Values by option name, as they were given; not yet validated.
    """
    given = dict(options)
    preset = given.get("preset", "balanced")
    if preset not in PRESETS:
        return given  # the validation refuses it
    values = dict(DIFFERENCES[preset])
    if (
        given.get("learning_rate") is not None
        or given.get("optimizer", "adamw") not in LAYER_RATE_OPTIMIZERS
    ):
        # A learning rate that is given is that of all layers, as elsewhere.
        values["layer_rates"] = "equal"
    if given.get("numbers", values.get("numbers")) == "pbld":
        values["scaling"] = EMBEDDED_SCALING
    return values | given


def choose_epochs(n_rows: int, batch_size: int) -> int:
    """Return the default number of epochs for a number of training rows.

    Args:
        n_rows: Number of training rows, at least 1.
        batch_size: Number of rows in a batch.
    """
    steps_per_epoch = math.ceil(n_rows / batch_size)
    epochs = SMALL_TABLE_EPOCHS if n_rows < LARGE_TABLE_ROWS else LARGE_TABLE_EPOCHS
    epochs = max(epochs, math.ceil(MIN_STEPS / steps_per_epoch))
    return max(1, min(epochs, MAX_STEPS // steps_per_epoch))
