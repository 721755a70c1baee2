"""Inference: what each column of a file holds, found by one look at all of its rows.

A column is of a kind if all its values are; the rows that come last count like the first.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainer.data.files import cells
from trainer.data.files.roles import roles
from trainer.data.files.source import Source
from trainer.data.reading import Inferred, Reading
from trainer.data.records import Kind
from trainer.data.tables import DataError

MOST_WORDS = 100_000  # different texts of a category
MOST_TEXT = 2**24  # bytes, of all of them together
COUNTED = 1000  # different values of other columns are counted up to here
CALLED = {"number": "numbers", "boolean": "truth values", "date": "ISO 8601 dates"}


def infer(source: Source, reading: Reading) -> list[Inferred]:
    """What is found in the columns of `source`, in order; those dropped are left out.

    Text is a number, a truth value or a date if all values of its column are, and else a category;
    typed columns are what their type says. A target of truth values is a category, so that the
    classes keep the words of the file.

    Args:
        source: read once, batch by batch, and once more if numbers turn to text late.
        reading: says what columns there are for, and the kinds of some.

    Raises:
        DataError: a column has no value, an infinite one, one that is not of the kind said, a type
            that is none of a table's, or too many different texts; or there are no rows.
    """
    found = roles(source, reading)
    said = reading.kinds()
    watches = {
        name: _Watch(
            source.name,
            name,
            said.get(name),
            words=name == found.target,
            unbounded=name == found.group,
            gaps=source.gaps,
            # A word may be a value of theirs, unless it is said to stand for a gap.
            doubted=reading.missing is None
            and name in (found.target, found.group, *reading.category),
        )
        for name in source.columns
        if name in found.used
    }
    _show(source, list(watches.values()))
    late = {
        name: _Watch(
            source.name,
            name,
            "category",
            oddity=watch.oddity,
            gaps=source.gaps,
            doubted=reading.missing is None and name == found.target,
        )
        for name, watch in watches.items()
        if watch.oddity and watch.more and name != found.group
    }
    if late:
        _show(source, list(late.values()))
    return [(watches | late)[name].result() for name in watches]


def _show(source: Source, watches: Sequence[_Watch]) -> None:
    row = 0
    for batch in source.batches():
        for watch in watches:
            watch.see(batch[watch.name], row)
        row += batch.num_rows
    if not row:
        raise DataError(f"{source.name}: expected rows under the header; got none")


class _Watch:
    """What has been seen of a column so far."""

    def __init__(
        self,
        source: str,
        name: str,
        kind: Kind | None,
        *,
        words: bool = False,
        unbounded: bool = False,
        oddity: str = "",
        gaps: Sequence[str] = (),
        doubted: bool = False,
    ) -> None:
        """Begin.

        Args:
            source: for messages.
            name: the column's.
            kind: said to be its; else inferred.
            words: take truth values for texts.
            unbounded: any number of different texts will do; they are not kept.
            oddity: why it is no column of numbers, where that is known.
            gaps: texts that stand for a gap.
            doubted: refuse a text that does, for it may be a value.
        """
        self.name, self.kind, self.oddity = name, kind, oddity
        self.more = False  # different values than are in `distinct`
        self._source, self._said = source, kind is not None
        self._words, self._unbounded = words, unbounded
        self._gap_words, self._doubted = tuple(gaps), doubted
        self._doubtful: Counter[str] = Counter()
        self._distinct = pa.array([], pa.string())
        self._rows = self._gaps = self._first_gap = 0
        self._low, self._high, self._whole = np.inf, -np.inf, True
        self._infinite = ""

    def see(self, array: pa.Array, row: int) -> None:
        """Take in a batch's values, after `row` rows."""
        if self.kind is None:
            self.kind = self._kind_of(array)
        elif not row:
            self._kind_of(array)  # refuses types that are none
        values = None if self.kind is None else self._parsed(array, row)
        if values is not None:
            self._see_values(array, values, row)
        if self._doubted:
            self._doubtful.update(cells.spelled_gaps(array, self._gap_words).to_pylist())
        self._see_gaps(
            cells.missing(array, self._gap_words) if values is None else np.isnan(values), row
        )
        self._count(array, row)

    def result(self) -> Inferred:
        """All that was found.

        Raises:
            DataError: there was no value at all, or an infinite one.
        """
        if self._doubtful:
            self._refuse_doubtful()
        if self.kind is None or self._gaps == self._rows:
            raise DataError(
                f"{self._source}: expected values in {self.name!r}; got no value at all; "
                f"leave it out with --drop {shlex.quote(self.name)}"
            )
        if self._infinite and self.kind == "number":
            raise DataError(
                f"{self._source}: expected finite numbers in {self.name!r}; got {self._infinite}; "
                f"leave that cell empty, or drop the row"
            )
        texts = self._texts().to_pylist()
        if self.kind == "category" and any("\0" in text for text in texts):
            raise DataError(
                f"{self._source}: expected text without NUL characters in {self.name!r}; got one "
                f"with; is it a binary file?"
            )
        values = None if self.kind == "category" else cells.PARSERS[self.kind](self._texts(), ())
        distinct = len(texts if values is None else np.unique(values))  # 1 and 1.0 are one
        ranged = self.kind in ("number", "date")
        return Inferred(
            name=self.name,
            kind=self.kind,
            rows=self._rows,
            gaps=self._gaps,
            first_gap=self._first_gap,
            distinct=None if self.more else distinct,
            example=texts[0],
            minimum=float(self._low) if ranged else None,
            maximum=float(self._high) if ranged else None,
            whole=self.kind == "number" and self._whole,
            words=tuple(sorted(texts)) if self.kind == "category" and not self._unbounded else (),
            oddity=self.oddity,
        )

    def _kind_of(self, array: pa.Array) -> Kind | None:
        typed = array.type
        if pa.types.is_string(typed):
            first = cells.texts(array.unique(), self._gap_words).drop_null()[:1]
            return self._kind_of_text(first) if len(first) else None
        if pa.types.is_null(typed):
            return None
        if pa.types.is_boolean(typed):
            return "category" if self._words else "boolean"
        if cells.numbers(array[:0]) is not None:
            return "number"
        if cells.dates(array[:0]) is not None:
            return "date"
        raise DataError(
            f"{self._source}: expected numbers, truth values, text or dates in {self.name!r}; got "
            f"{typed}; convert it, or leave it out with --drop {shlex.quote(self.name)}"
        )

    def _kind_of_text(self, text: pa.Array) -> Kind:
        if cells.truths(text, ()) is not None:
            return "category" if self._words else "boolean"
        if cells.numbers(text, ()) is not None:
            return "number"
        return "category" if cells.dates(text, ()) is None else "date"

    def _parsed(self, array: pa.Array, row: int) -> NDArray[np.float64] | None:
        """The values, or None of a category, which it is from the first odd value on."""
        if self.kind is None or self.kind == "category":
            return None
        # That ones and zeros are truth values has to be said.
        strict = self.kind == "boolean" and not self._said
        parse = partial(cells.truths if strict else cells.PARSERS[self.kind], gaps=self._gap_words)
        values = parse(array)
        if values is None:
            place, text = cells.first_odd(array, parse)
            odd = f"{text!r} in row {row + place + 1}"
            if self._said:
                raise DataError(
                    f"{self._source}: expected {CALLED[self.kind]} in {self.name!r}; got {odd}; "
                    f"correct it or leave that cell empty"
                )
            self.oddity = f"expected {CALLED[self.kind]}; got {odd}"
            self.kind = "category"
        return values

    def _see_values(self, array: pa.Array, values: NDArray[np.float64], row: int) -> None:
        there = values[~np.isnan(values)]
        if not there.size:
            return
        self._low, self._high = min(self._low, there.min()), max(self._high, there.max())
        if np.isinf([self._low, self._high]).any() and not self._infinite:
            place = int(np.isinf(values).argmax())
            self._infinite = f"{str(array[place].as_py()).strip()!r} in row {row + place + 1}"
        self._whole = self._whole and bool((there == np.floor(there)).all())

    def _see_gaps(self, gaps: NDArray[np.bool_], row: int) -> None:
        if not self._first_gap and gaps.any():
            self._first_gap = row + int(gaps.argmax()) + 1
        self._gaps += int(np.count_nonzero(gaps))
        self._rows += len(gaps)

    def _count(self, array: pa.Array, row: int) -> None:
        if self.more:
            return
        new = array.unique()
        if not pa.types.is_string(array.type):
            new = cells.texts(new)
        self._distinct = pa.concat_arrays([self._distinct, new]).unique()
        if self.kind != "category" or self._unbounded:
            if len(self._distinct) > COUNTED:
                self.more = True
                self._distinct = pa.array(self._texts()[:1].to_pylist())  # an example
        elif len(self._distinct) > MOST_WORDS or self._distinct.nbytes > MOST_TEXT:
            raise DataError(
                f"{self._source}: expected at most {MOST_WORDS} different texts in {self.name!r}, "
                f"of {MOST_TEXT} bytes together; got more up to row {row + len(array)}, such as "
                f"{self._texts()[-1].as_py()[:40]!r}; it looks like an identifier or free text: "
                f"leave it out with --drop {shlex.quote(self.name)}{self._correction()}"
            )

    def _texts(self) -> pa.Array:
        return cells.texts(self._distinct, self._gap_words).drop_null().unique()

    def _refuse_doubtful(self) -> NoReturn:
        words = ", ".join(f"{word!r} ({count})" for word, count in sorted(self._doubtful.items()))
        remedy = (
            "drop those rows"
            if self._words or self._unbounded
            else "leave those cells empty or name the texts with --missing"
        )
        raise DataError(
            f"{self._source}: expected values, or empty cells for gaps, in {self.name!r}; got "
            f"{words}, which may be values or stand for gaps; if values, say with --missing which "
            f"texts do stand for gaps, --missing '' for none; if gaps, {remedy}"
        )

    def _correction(self) -> str:
        return f", or correct it if it is not one: {self.oddity}" if self.oddity else ""
