"""Infer the kind of each column of a file by reading all of its rows once.

A value in the last row decides as much as one in the first. A second step looks at the categories:
it suspects those whose texts are mostly numbers or dates, and names the cells that are not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa

from serving.bundle import ISO8601, pluralize
from trainer.data.column_names import format_column_option
from trainer.data.files.cell_texts import (
    AMBIGUOUS_COMMA,
    NUMBER_NOTATIONS,
    Notation,
    match_notation,
    replace_decimal_sign,
    to_codes,
)
from trainer.data.files.column_kinds import ColumnRule
from trainer.data.files.column_observer import ColumnObserver
from trainer.data.files.column_roles import ColumnRoles, assign_roles
from trainer.data.files.file_sources import FileSource
from trainer.data.precision_loss import DistinctNumbers
from trainer.data.read_options import ColumnProfile, ReadOptions, SuspectedType
from trainer.data.tables import DataError, join_names

# A column of texts is suspected if it has enough numbers or dates: at least this many distinct ones
# (fewer are probably codes of a category), and at least this share of all values.
MIN_SUSPECTED_TEXTS = 3
MIN_SUSPECTED_SHARE = 0.5
# Its other values have to be few: at most this share of all values, or this many distinct texts.
MAX_ODD_SHARE = 0.1
MAX_ODD_TEXTS = 3
MAX_SHOWN_CELLS = 3
MAX_SHOWN_CHARACTERS = 40

READABLE_NOTATIONS = {
    "number": Notation("numbers", r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", ""),
    "date": Notation("ISO 8601 dates", r"\d{4}-\d{2}-\d{2}([T ]\d.*)?", ""),
}
ODD_NOTATION = Notation("neither", "", "")


def infer_columns(source: FileSource, options: ReadOptions) -> list[ColumnProfile]:
    """Return the profile of each column that has a role, in the order of the file.

    A column of texts is of numbers, truth values or dates if all of its values are, and else a
    category; see `decide_kind` for pairs of words that are truth values, such as yes and no, and
    for other date formats. If the file stores a type for a column, the type decides its kind. A
    target of truth values is a category, so that the classes are the words of the file. A feature
    of numbers is `precise` if float32 would merge many of its values (see
    `PrecisionLoss.needs_float64`), unless an option says that it is a number.

    Args:
        source: The file. It is read once, and once more if a column of numbers or dates turns out
            late to contain other texts.
        options: Options for reading it.

    Raises:
        DataError: If there are no rows, or if a column has no value, an infinite one, one that is
            not of the kind that an option gives, an unsupported type, or too many distinct texts.
    """
    roles = assign_roles(source, options)
    observers = _create_observers(source, options, roles)
    _observe_rows(source, list(observers.values()))
    # Columns that became categories after some of their texts were no longer counted.
    recounting_observers = {
        name: ColumnObserver(
            source,
            ColumnRule(
                name,
                "category",
                gaps=source.gaps,
                refuse_gap_texts=options.missing is None and name == roles.target,
                decimal=options.decimal,
            ),
            odd_value=observer.odd_value,
        )
        for name, observer in observers.items()
        if observer.odd_value and observer.has_uncounted_values and name != roles.group
    }
    if recounting_observers:
        _observe_rows(source, list(recounting_observers.values()))
    _refuse_empty(source, [o.name for o in observers.values() if o.is_empty], roles)
    return _create_profiles(source, list((observers | recounting_observers).values()))


def _create_observers(
    source: FileSource, options: ReadOptions, roles: ColumnRoles
) -> dict[str, ColumnObserver]:
    """Return an observer for each column that has a role, by name, in the order of the file."""
    kinds, date_formats = options.map_kinds(), options.map_date_formats()
    if kinds.get(roles.target) == "precise":
        kinds[roles.target] = "number"
    text_categories, features = set(options.text_categories), set(roles.features)
    # Texts that stand for gaps by default may be values of these columns.
    doubtful_columns = {roles.target, roles.group, *options.category}
    observers = {}
    for name in source.columns:
        if name not in roles.columns:
            continue
        rule = ColumnRule(
            name,
            kinds.get(name),
            format=date_formats.get(name, ISO8601),
            keep_truth_words=name == roles.target,
            keep_texts=name in text_categories,
            is_group=name == roles.group,
            gaps=source.gaps,
            refuse_gap_texts=options.missing is None and name in doubtful_columns,
            decimal=options.decimal,
        )
        precision = DistinctNumbers.of_table(len(source.columns)) if name in features else None
        observers[name] = ColumnObserver(source, rule, precision=precision)
    return observers


def _observe_rows(source: FileSource, observers: Sequence[ColumnObserver]) -> None:
    """Show all rows to the observers.

    Raises:
        DataError: If there are no rows, or an observer refuses a value.
    """
    row = 0
    for batch in source.iter_batches():
        for observer in observers:
            observer.observe(batch[observer.name], row)
        row += batch.num_rows
    if not row:
        raise DataError(f"{source.name}: expected rows under the header; got none")


def _refuse_empty(source: FileSource, names: Sequence[str], roles: ColumnRoles) -> None:
    """Refuse columns without a single value, all at once.

    Args:
        source: The file.
        names: Names of these columns.
        roles: Roles of all columns.

    Raises:
        DataError: If there are such columns.
    """
    for role in ("target", "group", "time"):
        name = getattr(roles, role)
        if name in names:
            raise DataError(
                f"{source.name}: expected values in the {role} {name!r}; got no value at all; "
                f"choose another column with --{role}"
            )
    if names:
        raise DataError(
            f"{source.name}: expected values in {join_names(names)}; got no value at all; leave "
            f"{'it' if len(names) == 1 else 'them'} out with {format_column_option('drop', names)}"
        )


def _create_profiles(
    source: FileSource, observers: Sequence[ColumnObserver]
) -> list[ColumnProfile]:
    """Return the profiles of the columns, after finding the rows of all odd values at once."""
    odd_values = [observer.odd_value for observer in observers]
    rows = [odd_value.row for odd_value in odd_values if odd_value is not None]
    row_names = iter(source.name_rows(*rows))
    return [
        observer.create_profile("" if odd_value is None else odd_value.describe(next(row_names)))
        for observer, odd_value in zip(observers, odd_values, strict=True)
    ]


def add_suspicions(
    source: FileSource, profiles: Sequence[ColumnProfile], options: ReadOptions
) -> list[ColumnProfile]:
    """Return the profiles, with a suspicion for texts that are meant to be numbers or dates.

    Args:
        source: The file. It is read once more if the distinct texts of a column raise a suspicion.
        profiles: Profiles of its columns, from `infer_columns`.
        options: Options for reading it; a column whose kind an option gives is not suspected.
    """
    kinds = options.map_kinds()
    counters: dict[str, _NotationCounter] = {}
    for profile in profiles:
        if profile.kind == "category" and profile.name not in kinds:
            words = pa.array(profile.words, pa.string())
            for counter in (
                _NotationCounter(words, "number", options.decimal),
                _NotationCounter(words, "date"),
            ):
                if counter.is_plausible:
                    counters[profile.name] = counter
    if not counters:
        return list(profiles)
    row = 0
    for batch in source.iter_batches():
        for name, counter in counters.items():
            counter.add(batch[name], row, source.gaps)
        row += batch.num_rows
    suspicions = {name: c.create_suspicion(name, source) for name, c in counters.items()}
    return [replace(p, suspicion=suspicions.get(p.name)) for p in profiles]


class _NotationCounter:
    """Counts the values of a column by the notation of their texts.

    The first notation can be read as it is; the last one stands for texts that are no numbers or
    dates at all. Those in between are numbers that need an option to be read, or cannot be read.

    Args:
        words: Distinct texts of the column, `(n,)`.
        kind: Kind that the texts may be meant for.
        decimal: Decimal sign of numbers; None for a plain point.
    """

    def __init__(
        self, words: pa.Array, kind: Literal["number", "date"], decimal: str | None = None
    ) -> None:
        self._kind, self._words = kind, words
        # Dates in other formats are left to `propose_date_formats`.
        other_notations = NUMBER_NOTATIONS if kind == "number" else ()
        self._notations = (READABLE_NOTATIONS[kind], *other_notations, ODD_NOTATION)
        n_notations = len(self._notations)
        # Index of the notation of each word. The first notation that matches counts.
        self._word_notations = np.full(len(words), n_notations - 1)
        for index in range(n_notations - 2, -1, -1):
            texts = words if index or decimal is None else replace_decimal_sign(words, decimal)
            is_match = match_notation(texts, self._notations[index])
            self._word_notations[is_match.to_numpy(zero_copy_only=False)] = index
        self._n_odd_words = int(np.count_nonzero(self._word_notations == n_notations - 1))
        self._counts = np.zeros(n_notations, np.int64)  # rows of each notation
        # Row and text of the first cells of each notation.
        self._first_cells: list[list[tuple[int, str]]] = [[] for _ in self._notations]

    @property
    def is_plausible(self) -> bool:
        """Whether enough distinct texts are numbers or dates, in any notation."""
        n_regular = len(self._words) - self._n_odd_words
        return n_regular >= MIN_SUSPECTED_TEXTS and (
            self._n_odd_words <= max(MAX_ODD_TEXTS, n_regular)
        )

    def add(self, array: pa.Array, row: int, gaps: Collection[str]) -> None:
        """Count the values of a batch.

        Args:
            array: Column of the batch, `(n,)`.
            row: Number of rows before the batch.
            gaps: Lower-case texts that stand for a gap.
        """
        codes = to_codes(array, self._words, gaps)
        rows = np.flatnonzero(codes >= 0)
        notations = self._word_notations[codes[rows]]
        self._counts += np.bincount(notations, minlength=len(self._counts))
        for index, cells in enumerate(self._first_cells):
            for place in rows[notations == index][: MAX_SHOWN_CELLS - len(cells)].tolist():
                cells.append((row + place, str(array[place].as_py()).strip()))

    def create_suspicion(self, name: str, source: FileSource) -> SuspectedType | None:
        """Return the suspicion about a column; None if its values raise none.

        Args:
            name: Name of the column.
            source: The file.
        """
        n_values, n_readable = int(self._counts.sum()), int(self._counts[0])
        n_odd = int(self._counts[-1])
        has_few_odd = n_odd <= MAX_ODD_SHARE * n_values or self._n_odd_words <= MAX_ODD_TEXTS
        if not has_few_odd or n_values - n_odd < MIN_SUSPECTED_SHARE * n_values:
            return None
        detail = (
            f"{name}: {n_values - n_readable:,} of {pluralize(n_values, 'value')} are not "
            f"{self._notations[0].description}"
        )
        if n_values - n_readable - n_odd > n_readable:
            index = self._find_commonest_notation()
            (row, text), notation = self._first_cells[index][0], self._notations[index]
            (row_name,) = source.name_rows(row)
            detail += (
                f" as they are written: {text[:MAX_SHOWN_CHARACTERS]!r} in {row_name} has "
                f"{notation.description}"
            )
            return SuspectedType(name, detail, notation.remedy)
        cells = sorted(cell for first in self._first_cells[1:] for cell in first)[:MAX_SHOWN_CELLS]
        row_names = source.name_rows(*(row for row, _ in cells))
        examples = [
            f"{text[:MAX_SHOWN_CHARACTERS]!r} in {row_name}"
            for (_, text), row_name in zip(cells, row_names, strict=True)
        ]
        more = " and others" if n_values - n_readable > len(cells) else ""
        remedy = (
            f"correct them, or list with --missing the texts that stand for a gap; use "
            f"{format_column_option('category', [name])} if it is a category, "
            f"{format_column_option(self._kind, [name])} to refuse other values"
        )
        return SuspectedType(name, f"{detail}: {', '.join(examples)}{more}", remedy)

    def _find_commonest_notation(self) -> int:
        """Return the index of the commonest notation between the first and the last one.

        Where a comma may be a decimal sign or a thousands separator, values whose comma can only be
        one of them decide.
        """
        counts = self._counts.copy()
        counts[[0, -1]] = 0
        index = int(counts.argmax())
        if self._notations[index] is AMBIGUOUS_COMMA:
            counts[index] = 0
            index = int(counts.argmax()) or index
        return index
