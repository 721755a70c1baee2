"""Fit what is chosen on the validation rows after training: the calibration and the threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.config import Config
from trainer.data.splits import Split, subsample
from trainer.data.tables import Table
from trainer.evaluate.calibration import fit_calibration
from trainer.evaluate.threshold import ThresholdObjective, choose_threshold
from trainer.model import Model

# Number of validation rows above which more of them hardly change the temperature and threshold.
MAX_SCALING_ROWS = 100_000
# Number of logits that a calibration is fitted on. With 1,000 classes and 100,000 rows, each step
# of the fit would take 4 GB of memory and ten seconds.
MAX_CALIBRATION_LOGITS = 4_000_000


class ScaledModel(NamedTuple):
    """A model with its calibration and threshold.

    Attributes:
        model: Model with its temperature, bias and threshold.
        aim_unmet: Reason why no threshold meets the aim, so that the threshold is the default one;
            None if one does, or there is no aim.
    """

    model: Model
    aim_unmet: str | None = None


def fit_output_scaling(model: Model, table: Table, split: Split, config: Config) -> ScaledModel:
    """Fit the calibration, then choose the threshold, each if the options ask for it.

    With class weights, the calibration corrects the probabilities for them. The threshold of a
    binary model is then the positive class's share of the training rows, at which the weighted
    network gave both classes the same probability, unless an aim is given.

    Args:
        model: Trained model.
        table: Data that it was trained on.
        split: Split of the rows. At most `MAX_SCALING_ROWS` of the validation rows are used, and
            fewer for a calibration of very many classes.
        config: Options of the run.
    """
    if config.calibrate:
        model = _calibrate(model, table, split, config)
    if config.aim is None:
        return ScaledModel(model)
    rows = subsample(split.validation, MAX_SCALING_ROWS)
    is_positive = table.target[rows] == model.positive_class
    p = model.answers(table.records.take(rows))["probabilities"][:, model.positive_index]
    try:
        threshold = choose_threshold(ThresholdObjective.parse(config.aim), is_positive, p)
    except ValueError as error:
        return ScaledModel(model, str(error))
    return ScaledModel(replace(model, threshold=threshold))


def _calibrate(model: Model, table: Table, split: Split, config: Config) -> Model:
    classes = np.asarray(model.classes)
    max_rows = max(1, MAX_CALIBRATION_LOGITS // len(classes))
    rows = subsample(subsample(split.validation, MAX_SCALING_ROWS), max_rows)
    weights = compute_class_weights(config, table, split, classes)
    calibration = fit_calibration(
        model.logits(table.records.take(rows)),
        np.searchsorted(classes, table.target[rows]),
        model.task,
        class_weights=weights,
        label_smoothing=config.label_smoothing or 0.0,
        fit_bias=weights is not None,
    )
    bias = calibration.bias.astype(np.float32)
    model = replace(
        model, temperature=calibration.temperature, logit_bias=bias if bias.any() else None
    )
    if weights is not None and model.task == "binary":
        share = float(np.mean(table.target[split.train] == model.positive_class))
        model = replace(model, threshold=float(np.float32(share)))
    return model


def compute_class_weights(
    config: Config, table: Table, split: Split, classes: NDArray[np.generic]
) -> NDArray[np.float64] | None:
    """Return the weight in the loss of a training row of each class.

    Args:
        config: Options of the run.
        table: Data with one of these classes in each row.
        split: Split of the rows; the weights are those of the training rows.
        classes: Names of the classes, `(n_classes,)`.

    Returns:
        The weights, float64 `(n_classes,)`; None if all rows count alike.
    """
    if config.class_weight is None:
        return None
    from sklearn.utils.class_weight import compute_class_weight  # noqa: PLC0415 - slow to import

    target = table.target[split.train]
    weights = compute_class_weight(config.class_weight, classes=classes, y=target)
    return np.asarray(weights, np.float64)
