"""The choice of whole groups of rows for one part of a split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.bundle import pluralize
from trainer.data.data_error import DataError
from trainer.data.targets import class_codes

# Random choices of groups that are tried: fewer, the more there is to count in each.
MAX_TRIES, MIN_TRIES = 200, 10
MAX_COUNTED_CELLS = 20_000_000  # tries × pairs of group and class


def choose_groups(
    groups: NDArray[np.int64],
    codes: NDArray[np.int32] | None,
    size: int,
    n_remaining: int,
    seed: int,
) -> NDArray[np.bool_]:
    """Choose whole groups that have about `size` rows, and each class in its proportion.

    Of several random choices it takes the one with the smallest chi-squared distance,
    ∑ (rows chosen − rows wanted)² / rows wanted over the classes.

    Args:
        groups: Group of each row, int64 `(n,)`.
        codes: Class of each row, int32 `(n,)`; None for quantities.
        size: Number of rows, about.
        n_remaining: Number of groups that must be left over at least.
        seed: Seed of the random numbers.

    Returns:
        Mask of the rows of the chosen groups, bool `(n,)`.
    """
    _, group = class_codes(groups)
    sizes = np.bincount(group)
    if len(sizes) <= n_remaining:
        raise DataError(
            f"expected at least {n_remaining + 1} groups, one for each part; got {len(sizes)} of "
            f"{pluralize(len(groups), 'row')}; choose another column for --group, or leave it out"
        )
    counts = _GroupCounts.of(group, codes)
    wanted = counts.totals * (size / len(groups))
    rng = np.random.default_rng(seed)
    best: NDArray[np.bool_] | None = None
    least = np.inf
    for _ in range(min(MAX_TRIES, max(MIN_TRIES, MAX_COUNTED_CELLS // len(counts.rows)))):
        order = rng.permutation(len(sizes))
        cumulated = np.cumsum(sizes[order])[: len(sizes) - n_remaining]
        is_chosen = np.zeros(len(sizes), dtype=np.bool_)
        is_chosen[order[: 1 + np.argmin(np.abs(cumulated - size))]] = True
        rows = counts.count_classes(is_chosen)
        distance = ((rows - wanted) ** 2 / wanted).sum()
        if distance < least and (rows < counts.totals).all():
            best, least = is_chosen, distance
    if best is None:
        raise DataError(
            f"expected rows of every class to learn from, with each group in one part; got no "
            f"such choice of {len(sizes)} groups, where some class is in only "
            f"{np.bincount(counts.code).min()}; merge rare classes, or leave out --group"
        )
    return best[group]


@dataclass(frozen=True)
class _GroupCounts:
    """Number of rows of each class in each group, without the pairs that have none.

    Attributes:
        group: Group of each pair, int64 `(n_pairs,)`.
        code: Class of each pair, int64 `(n_pairs,)`.
        rows: Number of rows of each pair, int64 `(n_pairs,)`.
        totals: Number of rows of each class, int64 `(n_classes,)`.
    """

    group: NDArray[np.int64]
    code: NDArray[np.int64]
    rows: NDArray[np.int64]
    totals: NDArray[np.int64]

    @classmethod
    def of(cls, group: NDArray[np.int32], codes: NDArray[np.int32] | None) -> _GroupCounts:
        """Count the rows once for all tries; quantities count as one class."""
        pairs = group.astype(np.int64)
        n_classes = 1
        if codes is not None:
            present = np.unique(codes)
            n_classes = len(present)
            pairs *= n_classes
            pairs += np.searchsorted(present, codes)
        pairs.sort()
        starts = np.flatnonzero(np.diff(pairs, prepend=-1))
        rows = np.diff(starts, append=len(pairs))
        group_of_pair, code = np.divmod(pairs[starts], n_classes)
        return cls(group_of_pair, code, rows, np.bincount(code, weights=rows).astype(np.int64))

    def count_classes(self, is_chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the rows of each class in the chosen groups, float64 `(n_classes,)`."""
        rows = self.rows * is_chosen[self.group]
        return np.bincount(self.code, rows, len(self.totals)).astype(np.float64, copy=False)
