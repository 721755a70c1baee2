"""Toy data: classic generated sets of points in the plane that show how a network learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Toy = tuple[NDArray[Any], NDArray[np.int64]]  # features float64 `(rows, 2)`, classes `(rows,)`

ROWS = 500


def moons(rows: int = ROWS, noise: float = 0.2, seed: int = 0) -> Toy:
    """Generate two interleaving half circles: features float64 `(rows, 2)`, classes 0 and 1.

    Args:
        rows: Number of points.
        noise: Standard deviation of the noise; the radius is 1.
        seed: Seed of the noise.
    """
    from sklearn import datasets  # noqa: PLC0415 - slow to import

    X, y = datasets.make_moons(rows, noise=noise, random_state=seed)
    return X, y.astype(np.int64)


def circles(rows: int = ROWS, noise: float = 0.05, seed: int = 0) -> Toy:
    """Generate a circle of half the radius in another: features float64 `(rows, 2)`, classes 0, 1.

    Args:
        rows: Number of points.
        noise: Standard deviation of the noise; the outer radius is 1.
        seed: Seed of the noise.
    """
    from sklearn import datasets  # noqa: PLC0415 - slow to import

    X, y = datasets.make_circles(rows, noise=noise, factor=0.5, random_state=seed)
    return X, y.astype(np.int64)


def xor(rows: int = ROWS, noise: float = 0.2, seed: int = 0) -> Toy:
    """Generate clouds around the corners of a square: features float64 `(rows, 2)`, classes 0, 1.

    A corner is of class 1 if exactly one of its coordinates is 1.

    Args:
        rows: Number of points; four of them without noise are the function XOR itself.
        noise: Standard deviation of a cloud; the sides of the square are 1.
        seed: Seed of the noise.
    """
    corners = np.resize([[0, 0], [0, 1], [1, 0], [1, 1]], (rows, 2))
    X = corners + np.random.default_rng(seed).normal(scale=noise, size=corners.shape)
    return X, (corners[:, 0] ^ corners[:, 1]).astype(np.int64)


def spirals(rows: int = ROWS, noise: float = 0.1, seed: int = 0) -> Toy:
    """Generate two spirals of one and a half turns: features float64 `(rows, 2)`, classes 0 and 1.

    After Lang and Witbrock 1988, whose spirals have three turns.

    Args:
        rows: Number of points.
        noise: Standard deviation of the noise; the outer radius is 3.
        seed: Seed of points and noise.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    angle = 3 * np.pi * np.sqrt(rng.uniform(0.01, 1, rows))
    arm = angle + np.pi * y
    X = np.column_stack([angle * np.cos(arm), angle * np.sin(arm)]) / np.pi
    return X + rng.normal(scale=noise, size=X.shape), y.astype(np.int64)


TOYS: dict[str, Callable[..., Toy]] = {f.__name__: f for f in (moons, circles, xor, spirals)}
