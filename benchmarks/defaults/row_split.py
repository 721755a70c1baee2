"""The split of a table's rows into a training part of limited size and a test part."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

MAX_TRAINING_ROWS, MAX_TEST_ROWS = 3000, 5000
TEST_SHARE = 0.25  # of the rows of a table with fewer rows than both limits need


def split_rows(
    target: NDArray[Any], *, is_regression: bool, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split at random, with the same proportions of classes in both parts.

    Args:
        target: Classes or quantities, `(n,)` or `(n, 1)`.
        is_regression: Whether the target is a quantity.
        seed: Seed of the split.

    Returns:
        Row numbers of the training part, a share of 1 - `TEST_SHARE` and at most
        `MAX_TRAINING_ROWS`, and of the test part, the others, at most `MAX_TEST_ROWS`.
    """
    n = len(target)
    n_train = min(MAX_TRAINING_ROWS, n - round(TEST_SHARE * n))
    train, test = train_test_split(
        np.arange(n),
        train_size=n_train,
        test_size=min(MAX_TEST_ROWS, n - n_train),
        random_state=seed,
        stratify=None if is_regression else target,
    )
    return train, test
