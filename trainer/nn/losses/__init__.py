"""Losses: cross-entropies for classes and losses for values and counts."""

from trainer.nn.losses.cross_entropies import BinaryCrossEntropy, CategoricalCrossEntropy
from trainer.nn.losses.loss import Loss, check_pairing
from trainer.nn.losses.regression import Huber, MeanAbsoluteError, MeanSquaredError, Poisson

LOSSES: dict[str, type[Loss]] = {
    loss.name: loss
    for loss in (
        MeanSquaredError,
        MeanAbsoluteError,
        Huber,
        Poisson,
        BinaryCrossEntropy,
        CategoricalCrossEntropy,
    )
}

__all__ = [
    "LOSSES",
    "BinaryCrossEntropy",
    "CategoricalCrossEntropy",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Poisson",
    "check_pairing",
]
