"""Toys: the classic sets in the plane, generated, to see a network learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Toy = tuple[NDArray[Any], NDArray[np.int64]]

ROWS = 500


def moons(rows: int = ROWS, noise: float = 0.2, seed: int = 0) -> Toy:
    """Two interleaving half circles: features float64 `(rows, 2)`, classes 0 and 1."""
    from sklearn import datasets  # noqa: PLC0415 - slow to import

    X, y = datasets.make_moons(rows, noise=noise, random_state=seed)
    return X, y.astype(np.int64)


def circles(rows: int = ROWS, noise: float = 0.05, seed: int = 0) -> Toy:
    """A circle of half the radius within another: features float64 `(rows, 2)`, classes 0, 1."""
    from sklearn import datasets  # noqa: PLC0415 - slow to import

    X, y = datasets.make_circles(rows, noise=noise, factor=0.5, random_state=seed)
    return X, y.astype(np.int64)


def xor(rows: int = ROWS, noise: float = 0.2, seed: int = 0) -> Toy:
    """Clouds around the corners of a square, of class 1 where one coordinate is 1, not both.

    Args:
        rows: four of them without noise are exclusive or itself.
        noise: standard deviation of a cloud.
        seed: of the noise.
    """
    corners = np.resize([[0, 0], [0, 1], [1, 0], [1, 1]], (rows, 2))
    X = corners + np.random.default_rng(seed).normal(scale=noise, size=corners.shape)
    return X, (corners[:, 0] ^ corners[:, 1]).astype(np.int64)


def spirals(rows: int = ROWS, noise: float = 0.1, seed: int = 0) -> Toy:
    """Two arms around each other, one and a half turns: features float64 `(rows, 2)`, classes 0, 1.

    Lang and Witbrock 1988 posed it, with three turns.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    angle = 3 * np.pi * np.sqrt(rng.uniform(0.01, 1, rows))
    arm = angle + np.pi * y
    X = np.column_stack([angle * np.cos(arm), angle * np.sin(arm)]) / np.pi
    return X + rng.normal(scale=noise, size=X.shape), y.astype(np.int64)


TOYS: dict[str, Callable[..., Toy]] = {f.__name__: f for f in (moons, circles, xor, spirals)}
