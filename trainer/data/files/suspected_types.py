"""Suspects: columns of texts that are meant for numbers or dates, with the cells that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa

from serving.bundle import pluralize
from trainer.data.column_names import column_option
from trainer.data.files import cell_parsing
from trainer.data.files.cell_texts import EITHER, NOTATIONS, Notation, matches, to_points
from trainer.data.files.file_sources import FileSource
from trainer.data.read_options import ColumnProfile, ReadOptions, SuspectedType

FEWEST_DIFFERENT = 3  # numbers or dates; fewer are codes of a category
MEANT = 0.5  # share of values from which on a column is meant for them
FEW, FEW_DIFFERENT = 0.1, 3  # odd values: their share of all, or how many are different
SHOWN = 3  # cells that are named by value and row

READ = {
    "number": Notation("numbers", r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", ""),
    "date": Notation("ISO 8601 dates", r"\d{4}-\d{2}-\d{2}([T ]\d.*)?", ""),
}
ODD = Notation("neither", "", "")


def suspect(
    source: FileSource, inferred: Sequence[ColumnProfile], reading: ReadOptions
) -> list[ColumnProfile]:
    """Return what was inferred, with a suspicion where texts are meant for something else.

    Args:
        source: Read once more, if the different texts of a column look like it.
        inferred: Profiles of its columns, as `infer` returns them.
        reading: Columns whose kind it says are what they are said to be.
    """
    said = reading.kinds()
    counts: dict[str, _Count] = {}
    for column in inferred:
        if column.kind == "category" and column.name not in said:
            words = pa.array(column.words, pa.string())
            for count in (_Count(words, "number", reading.decimal), _Count(words, "date")):
                if count.is_possible:
                    counts[column.name] = count
    if not counts:
        return list(inferred)
    row = 0
    for batch in source.batches():
        for name, count in counts.items():
            count.see(batch[name], row, source.gaps)
        row += batch.num_rows
    found = {name: count.result(name, source) for name, count in counts.items()}
    return [replace(column, suspicion=found.get(column.name)) for column in inferred]


class _Count:
    """How many values of a column are read, are written in another way, and are neither."""

    def __init__(
        self, words: pa.Array, kind: Literal["number", "date"], decimal: str | None = None
    ) -> None:
        """Sort the different texts.

        Args:
            words: Different texts of the column.
            kind: Kind that the texts may be meant for.
            decimal: Decimal sign of numbers; None for a plain point.
        """
        self._kind, self._words = kind, words
        # Dates that are written otherwise are for `date_proposals`.
        others = NOTATIONS if kind == "number" else ()
        self._notations = (READ[kind], *others, ODD)
        self._places = np.full(len(words), len(others) + 1)  # among the notations
        for place in range(len(others), -1, -1):
            plain = words if place or decimal is None else to_points(words, decimal)
            is_written = matches(plain, self._notations[place])
            self._places[is_written.to_numpy(zero_copy_only=False)] = place
        self._rows = np.zeros(len(self._notations), np.int64)
        self._first: list[list[tuple[int, str]]] = [[] for _ in self._notations]

    @property
    def is_possible(self) -> bool:
        """Whether enough of the different texts are read, or are written in another way."""
        meant = len(self._places) - self._n_odd
        return meant >= FEWEST_DIFFERENT and (self._n_odd <= max(FEW_DIFFERENT, meant))

    @property
    def _n_odd(self) -> int:
        return int(np.count_nonzero(self._places == len(self._notations) - 1))

    def see(self, array: pa.Array, row: int, gaps: Sequence[str]) -> None:
        """Count a batch's values, after `row` rows; texts in `gaps` are none."""
        codes = cell_parsing.codes(array, self._words, gaps)
        rows = np.flatnonzero(codes >= 0)
        places = self._places[codes[rows]]
        self._rows += np.bincount(places, minlength=len(self._rows))
        for place, first in enumerate(self._first):
            for at in rows[places == place][: SHOWN - len(first)].tolist():
                first.append((row + at, str(array[at].as_py()).strip()))

    def result(self, name: str, source: FileSource) -> SuspectedType | None:
        """Return what is to be known of the column, if it is meant for numbers or dates."""
        total, read, odd = int(self._rows.sum()), int(self._rows[0]), int(self._rows[-1])
        few = odd <= FEW * total or self._n_odd <= FEW_DIFFERENT
        if not few or total - odd < MEANT * total:
            return None
        detail = f"{name}: {total - read:,} of {pluralize(total, 'value')} are no "
        detail += self._notations[0].called
        if total - read - odd > read:
            place = self._commonest()
            (row, text), notation = self._first[place][0], self._notations[place]
            (called,) = source.row_names(row)
            detail += f" as they are written: {text[:40]!r} in {called} has {notation.called}"
            return SuspectedType(name, detail, notation.remedy)
        strange = sorted(cell for first in self._first[1:] for cell in first)[:SHOWN]
        rows = source.row_names(*(row for row, _ in strange))
        shown = [f"{text[:40]!r} in {row}" for (_, text), row in zip(strange, rows, strict=True)]
        more = " and others" if total - read > len(strange) else ""
        remedy = (
            f"correct them, or say with --missing what stands for a gap; say "
            f"{column_option('category', [name])} if it is a category, "
            f"{column_option(self._kind, [name])} to refuse what is none"
        )
        return SuspectedType(name, f"{detail}: {', '.join(shown)}{more}", remedy)

    def _commonest(self) -> int:
        """Return the place of the notation that most values have which are not read.

        Where a comma may be either sign, values that have but one meaning decide.
        """
        others = self._rows.copy()
        others[[0, -1]] = 0
        place = int(others.argmax())
        if self._notations[place] is EITHER:
            others[place] = 0
            place = int(others.argmax()) or place
        return place
