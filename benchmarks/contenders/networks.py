"""The networks that are served, as real bundles, and the rows they are asked about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Bundle
from trainer.config import Config
from trainer.pipeline import fit

FEATURES = 784
HIDDEN = {"light": (128, 64), "heavy": (2048, 2048)}
CLASSES = 10
LEARNED = 512  # rows of noise, in one epoch: the weights mean nothing, and take as long to run


def write(name: str, models: Path) -> Bundle:
    """Write the bundle of a network, `models/<name>/1/`.

    Args:
        name: one of `HIDDEN`.
        models: a repository.
    """
    source = models.parent / "noise.npz"
    np.savez(source, X=rows(LEARNED), y=np.arange(LEARNED) % CLASSES)
    config = Config(
        data=str(source),
        name=name,
        models=models,
        runs=models.parent / "runs",
        hidden=HIDDEN[name],
        scaling="range",
        epochs=1,
        skip_baselines=True,
    )
    return fit(config)[0]


def rows(count: int) -> NDArray[np.float32]:
    """Rows as a client sends pixels: float32 `(count, 784)` from 0 to 1, of 4 decimals."""
    rng = np.random.default_rng(count)
    return rng.random((count, FEATURES)).round(4).astype(np.float32)
