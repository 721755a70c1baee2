"""The networks that all contenders serve, as bundles, and the rows that are sent to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Bundle
from trainer.config import Config
from trainer.pipeline import fit

FEATURES = 784
HIDDEN_UNITS = {"light": (128, 64), "heavy": (2048, 2048)}
CLASSES = 10
# Rows of noise to train on, for one epoch. The weights mean nothing and take as long to run.
TRAINING_ROWS = 512


def write_network(name: str, models: Path) -> Bundle:
    """Write the bundle of a network to `models/<name>/1/`.

    Args:
        name: Name of the network, a key of `HIDDEN_UNITS`.
        models: Model repository.
    """
    data = models.parent / "noise.npz"
    np.savez(data, X=draw_rows(TRAINING_ROWS), y=np.arange(TRAINING_ROWS) % CLASSES)
    config = Config(
        data=str(data),
        name=name,
        models=models,
        runs=models.parent / "runs",
        hidden=HIDDEN_UNITS[name],
        scaling="range",
        epochs=1,
        skip_baselines=True,
    )
    return fit(config)[0]


def draw_rows(count: int) -> NDArray[np.float32]:
    """Draw rows like pixels: numbers from 0 to 1 with four decimals, float32 `(count, 784)`."""
    rng = np.random.default_rng(count)
    return rng.random((count, FEATURES)).round(4).astype(np.float32)
