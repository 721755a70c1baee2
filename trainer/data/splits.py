"""Splits: rows to learn from, rows to choose with, rows to be judged on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import pluralize
from trainer.data.tables import SLICE_BYTES, DataError, Table

# Ways to share out groups that are tried, the fewer the more there is to count in each.
MOST_TRIES, FEWEST_TRIES = 200, 10
MAX_COUNTED_CELLS = 20_000_000

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts, each int64 `(n_part,)`; together every row once."""

    train: Rows
    validation: Rows
    test: Rows


def subsample(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Those rows, or so many of them, evenly spaced and in ascending order, as files are read."""
    if len(rows) <= most:
        return rows
    return np.sort(rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)])


def split_table(table: Table, *, validation: float, test: float, seed: int) -> Split:
    """Split at random, with the classes in the same proportions in each part.

    Where the table has groups, each is in one part as a whole, and shares and proportions are as
    near to those asked for as groups allow. Where it has times, the latest rows are the test rows,
    those before them the validation rows, and rows of equal time are never parted.

    Beside the table it takes memory for a few row numbers a row.

    Args:
        table: the rows.
        validation: share of all rows kept for choosing, in (0, 1).
        test: share of all rows kept for judging, in (0, 1); not asked where the table says which.
        seed: same seed, same split; below 2³².

    Raises:
        DataError: too few rows are left to learn from, or none of some class; groups or times
            cannot be shared out in such parts; the table has both.
    """
    n, rows, cuts = len(table), np.arange(len(table)), _cuts(table, seed)
    if table.judged:
        rest, judged = np.split(rows, [n - table.judged])
        _check_judged(table)
    else:
        rest, judged = cuts.cut(rows, round(test * n), leave=2)
    learned, chosen = cuts.cut(rest, round(validation * n), leave=1)
    return Split(train=learned, validation=chosen, test=judged)


def hold_out(table: Table, rows: Rows, *, share: float, seed: int) -> tuple[Rows, Rows]:
    """Part some rows of a table in two, as `split` does all of them.

    Args:
        table: the rows.
        rows: numbers of those that are parted, int64 `(n,)`.
        share: of these rows, the part that is held out, in (0, 1).
        seed: same seed, same parts; below 2³².

    Returns:
        The rows that are left to learn from, and those held out.

    Raises:
        DataError: as `split` does.
    """
    return _cuts(table, seed).cut(rows, round(share * len(rows)), leave=1)


def class_codes(target: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """The distinct classes in order, and each row's place among them, int32 `(n,)`.

    As `numpy.unique` with `return_inverse`, but it never sorts or copies all of the texts.
    """
    slices = range(0, len(target), SLICE_BYTES)
    classes = np.unique(np.concatenate([np.unique(target[at : at + SLICE_BYTES]) for at in slices]))
    codes = np.empty(len(target), np.int32)
    for at in slices:
        codes[at : at + SLICE_BYTES] = np.searchsorted(classes, target[at : at + SLICE_BYTES])
    return classes, codes


def class_shares(table: Table, rows: NDArray[np.int64]) -> list[float]:
    """Return the share of each class of the table among some of its rows, in sorted order."""
    classes, codes = class_codes(table.target)
    counts = np.bincount(codes[rows], minlength=len(classes))
    shares: list[float] = (counts / max(len(rows), 1)).tolist()
    return shares


def _cuts(table: Table, seed: int) -> _Cuts:
    _check(table)
    return _Cuts(table, None if table.task == "regression" else class_codes(table.target), seed)


def _check(table: Table) -> None:
    if table.groups is not None and table.times is not None:
        raise DataError(
            "expected rows that belong together by group or that follow one another in time; got "
            "both, and a group that goes on for long fits no part; leave out --group or --time"
        )
    if table.times is not None and np.isnan(table.times).any():
        raise DataError(
            f"expected a time in every row; got none in {np.count_nonzero(np.isnan(table.times))} "
            f"of {len(table)}; fill them in, drop those rows, or leave out --time"
        )


def _check_judged(table: Table) -> None:
    """Of the rows to be judged on, none may be of a group or time that is learned from."""
    start = len(table) - table.judged
    if table.groups is not None:
        shared = np.intersect1d(table.groups[:start], table.groups[start:])
        if shared.size:
            raise DataError(
                f"expected no group among both the rows to learn from and those to be judged on; "
                f"got {len(shared)} in both; move their rows to one of the two, or leave out "
                f"--group"
            )
    if table.times is not None:
        early = np.count_nonzero(table.times[start:] <= table.times[:start].max())
        if early:
            raise DataError(
                f"expected the rows to be judged on to be later than all the others; got {early} "
                f"of {table.judged} that are not; move them, or leave out --time"
            )


@dataclass(frozen=True)
class _Cuts:
    """What tells how rows may be parted.

    Attributes:
        table: the rows.
        classes: the distinct ones, and each row's place among them; None for quantities.
        seed: of all that is drawn.
    """

    table: Table
    classes: tuple[NDArray[Any], NDArray[np.int32]] | None
    seed: int

    def cut(self, rows: Rows, size: int, leave: int) -> tuple[Rows, Rows]:
        """`rows` in two; the second gets about `size` of them, the first is for `leave` parts."""
        codes = None if self.classes is None else self.classes[1][rows]
        counts = None if codes is None else np.bincount(codes)
        # Each class once; of quantities two, lest there be nothing to explain.
        fewest = 2 if counts is None else int(np.count_nonzero(counts))
        size = max(size, fewest)
        if len(rows) - size < fewest:
            raise DataError(
                f"expected at least {pluralize(fewest, 'row')} to learn from; got "
                f"{len(rows) - size} of {len(self.table)}; ask for smaller shares of validation "
                f"and test rows"
            )
        if self.table.times is not None:
            second = _latest(self.table.times[rows], size, leave)
        elif self.table.groups is not None:
            second = _whole_groups(self.table.groups[rows], codes, size, leave, self.seed)
        else:
            first, last = _at_random(len(rows), codes, size, self.seed)
            self._check_lost(codes, first)
            return rows[first], rows[last]
        _check_shares(second, size)
        self._check_lost(codes, ~second)
        # In no order, as the rows of the other way are: who takes the first few takes fair ones.
        rng = np.random.default_rng(self.seed)
        return rng.permutation(rows[~second]), rng.permutation(rows[second])

    def _check_lost(self, codes: NDArray[np.int32] | None, first: NDArray[Any]) -> None:
        if codes is None or self.classes is None:
            return
        lost = np.setdiff1d(codes, codes[first])
        if lost.size:
            raise DataError(
                f"expected rows of every class to learn from; got none of "
                f"{', '.join(map(str, self.classes[0][lost[:10]]))}; ask for smaller shares of "
                f"validation and test rows, or merge rare classes"
            )


def _check_shares(second: NDArray[np.bool_], size: int) -> None:
    got, n = int(np.count_nonzero(second)), len(second)
    if 2 * got < size or 2 * (n - got) < n - size:
        raise DataError(
            f"expected to keep about {size} of {n} rows to choose with or to be judged on; got "
            f"{got} as the nearest number when rows of one group or time are not parted; ask for "
            f"other shares, or leave out --group or --time"
        )


def _at_random(n: int, codes: NDArray[np.int32] | None, size: int, seed: int) -> tuple[Rows, Rows]:
    """Places of the first and the second part, each in random order.

    To the last bit what `train_test_split` of scikit-learn 1.9 gives, without its lists of Python
    objects, one a row. Models are reproduced by it, so it draws from the same, frozen, generator.
    """
    rng = np.random.RandomState(seed)
    if codes is None:
        whole: Rows = rng.permutation(n)
        return whole[size:], whole[:size]
    counts = np.bincount(codes)
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
    present = np.flatnonzero(counts)
    kept = _shares(counts[present], n - size, rng)
    taken = _shares(counts[present] - kept, size, rng)
    first, second = [], []
    for at, k, t in zip(present, kept, taken, strict=True):
        mixed = members[at][rng.permutation(counts[at])]
        first.append(mixed[:k])
        second.append(mixed[k : k + t])
    one, other = np.concatenate(first), np.concatenate(second)
    rng.shuffle(one)
    rng.shuffle(other)
    return one, other


def _shares(counts: Rows, draws: int, rng: np.random.RandomState) -> Rows:
    """How many of each class are among `draws`: its share, rounded by largest remainder."""
    exact = counts / counts.sum() * draws
    whole: NDArray[np.float64] = np.floor(exact)
    left, remainder = int(draws - whole.sum()), exact - whole
    for value in np.unique(remainder)[::-1]:
        if left <= 0:
            break
        (tied,) = np.where(remainder == value)
        tied = rng.choice(tied, size=min(len(tied), left), replace=False)
        whole[tied] += 1
        left -= len(tied)
    return whole.astype(np.int64)


def _latest(times: NDArray[np.float64], size: int, leave: int) -> NDArray[np.bool_]:
    """Which rows are the latest, about `size` of them, none as late as any other."""
    ordered = np.sort(times)
    starts = np.flatnonzero(ordered[1:] > ordered[:-1]) + 1  # of each time but the earliest
    if len(starts) < leave:
        raise DataError(
            f"expected rows of at least {leave + 1} different times, one for each part; got "
            f"{len(starts) + 1} in {pluralize(len(times), 'row')}; leave out --time"
        )
    starts = starts[leave - 1 :]
    start = starts[np.argmin(np.abs(starts - (len(times) - size)))]
    late: NDArray[np.bool_] = times >= ordered[start]
    return late


def _whole_groups(
    groups: NDArray[np.int64], codes: NDArray[np.int32] | None, size: int, leave: int, seed: int
) -> NDArray[np.bool_]:
    """Which rows are of the groups that together have about `size` rows and each class's share.

    Of random choices of groups it is the one with the smallest chi-squared distance,
    ∑ (rows got − rows wanted)² / rows wanted over the classes.
    """
    _, group = class_codes(groups)
    sizes = np.bincount(group)
    if len(sizes) <= leave:
        raise DataError(
            f"expected at least {leave + 1} groups, one for each part; got {len(sizes)} of "
            f"{pluralize(len(groups), 'row')}; choose another column for --group, or leave it out"
        )
    tally = _Tally.of(group, codes)
    wanted = tally.totals * (size / len(groups))
    rng = np.random.default_rng(seed)
    best: NDArray[np.bool_] | None = None
    least = np.inf
    for _ in range(min(MOST_TRIES, max(FEWEST_TRIES, MAX_COUNTED_CELLS // len(tally.rows)))):
        order = rng.permutation(len(sizes))
        reached = np.cumsum(sizes[order])[: len(sizes) - leave]
        tried = np.zeros(len(sizes), dtype=np.bool_)
        tried[order[: 1 + np.argmin(np.abs(reached - size))]] = True
        got = tally.count(tried)
        distance = ((got - wanted) ** 2 / wanted).sum()
        if distance < least and (got < tally.totals).all():
            best, least = tried, distance
    if best is None:
        raise DataError(
            f"expected rows of every class to learn from, with each group in one part; got no "
            f"such choice of {len(sizes)} groups, where some class is in only "
            f"{np.bincount(tally.code).min()}; merge rare classes, or leave out --group"
        )
    return best[group]


@dataclass(frozen=True)
class _Tally:
    """Rows of each class in each group that has any: `rows` of class `code` in `group`."""

    group: Rows
    code: Rows
    rows: Rows
    totals: Rows

    @classmethod
    def of(cls, group: NDArray[np.int32], codes: NDArray[np.int32] | None) -> _Tally:
        """Count once what every try asks for; quantities count as one class."""
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
        of_group, code = np.divmod(pairs[starts], n_classes)
        return cls(of_group, code, rows, np.bincount(code, weights=rows).astype(np.int64))

    def count(self, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Rows of each class in the chosen groups."""
        rows = self.rows * chosen[self.group]
        return np.bincount(self.code, rows, len(self.totals)).astype(np.float64, copy=False)
