"""Mean ranks of contenders, and Nemenyi's critical difference.

After Demšar 2006, "Statistical comparisons of classifiers over multiple data sets", section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

# Critical values of Nemenyi's test at 5 % by number of contenders, of Demšar's table 5 (a): the
# studentized range for infinite degrees of freedom, divided by the square root of 2.
CRITICAL_VALUES = {
    2: 1.960,
    3: 2.343,
    4: 2.569,
    5: 2.728,
    6: 2.850,
    7: 2.949,
    8: 3.031,
    9: 3.102,
    10: 3.164,
}


def compute_mean_ranks(errors: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the mean rank of each contender, 1 for the lowest error on every table.

    Equal errors get the mean of their ranks.

    Args:
        errors: Errors of each contender, one for each table.
    """
    matrix = np.array(list(errors.values()), np.float64)
    # A rank is the number of lower errors, and half of the equal ones, itself among them.
    lower = (matrix[None, :, :] < matrix[:, None, :]).sum(axis=1)
    equal = (matrix[None, :, :] == matrix[:, None, :]).sum(axis=1)
    ranks = lower + (equal + 1) / 2
    return dict(zip(errors, ranks.mean(axis=1).tolist(), strict=True))


def compute_critical_difference(n_contenders: int, n_tables: int) -> float:
    """Return the difference of two mean ranks from which they differ at 5 %.

    CD = q √(k (k + 1) / (6 N)) for k contenders on N tables.

    Args:
        n_contenders: Number of contenders, 2 to 10.
        n_tables: Number of tables.
    """
    variance = n_contenders * (n_contenders + 1) / (6 * n_tables)
    return CRITICAL_VALUES[n_contenders] * math.sqrt(variance)


def compute_friedman_statistic(mean_ranks: Sequence[float], n_tables: int) -> float:
    """Return Friedman's statistic, 12 N / (k (k + 1)) · (Σ R² − k (k + 1)² / 4).

    Args:
        mean_ranks: Mean rank of each of the k contenders.
        n_tables: Number of tables, N.
    """
    k = len(mean_ranks)
    total = sum(rank * rank for rank in mean_ranks)
    return 12 * n_tables / (k * (k + 1)) * (total - k * (k + 1) ** 2 / 4)


def find_equal_groups(
    mean_ranks: Mapping[str, float], critical_difference: float
) -> list[tuple[str, ...]]:
    """Return the largest groups of contenders whose mean ranks do not differ, best rank first.

    Args:
        mean_ranks: Mean rank of each contender.
        critical_difference: Difference from which two mean ranks differ.
    """
    names = sorted(mean_ranks, key=mean_ranks.__getitem__)
    groups: list[tuple[str, ...]] = []
    for start, first in enumerate(names):
        group = tuple(
            name
            for name in names[start:]
            if mean_ranks[name] - mean_ranks[first] < critical_difference
        )
        if len(group) > 1 and not (groups and set(group) <= set(groups[-1])):
            groups.append(group)
    return groups
