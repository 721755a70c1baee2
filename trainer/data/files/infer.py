"""Inference: what each column of a file holds, found by one look at all of its rows.

A column is of a kind if all its values are; the rows that come last count like the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainer.data.column_names import column_option
from trainer.data.files import cells
from trainer.data.files.numerals import advice
from trainer.data.files.roles import Roles, roles
from trainer.data.files.source import Source
from trainer.data.reading import Inferred, Reading
from trainer.data.records import Kind
from trainer.data.tables import DataError, listed

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
            source,
            name,
            said.get(name),
            decimal=reading.decimal,
            words=name == found.target,
            unbounded=name == found.group,
        )
        for name in source.columns
        if name in found.used
    }
    _show(source, list(watches.values()))
    late = {
        name: _Watch(source, name, "category", odd=watch.odd)
        for name, watch in watches.items()
        if watch.odd and watch.more and name != found.group
    }
    if late:
        _show(source, list(late.values()))
    _refuse_empty(source, [watch for watch in watches.values() if watch.is_empty], found)
    return _results([(watches | late)[name] for name in watches], source)


def _refuse_empty(source: Source, empty: Sequence[_Watch], found: Roles) -> None:
    """Refuse columns without a single value, all at once."""
    names = [watch.name for watch in empty]
    roles = {"target": found.target, "group": found.group, "time": found.time}
    for role, name in roles.items():
        if name in names:
            raise DataError(
                f"{source.name}: expected values in the {role} {name!r}; got no value at all; say "
                f"another column with --{role}"
            )
    if names:
        raise DataError(
            f"{source.name}: expected values in {listed(names)}; got no value at all; leave "
            f"{'it' if len(names) == 1 else 'them'} out with {column_option('drop', names)}"
        )


def _results(watches: Sequence[_Watch], source: Source) -> list[Inferred]:
    """Return what was found, with the rows of odd values called as the source calls them."""
    odd = [watch.odd for watch in watches if watch.odd is not None]
    called = iter(source.row_names(*(cell.row for cell in odd)))
    return [
        watch.result("" if watch.odd is None else watch.odd.said(next(called))) for watch in watches
    ]


class _Odd(NamedTuple):
    """The first value for which a column is not of the kind that those before it are.

    Attributes:
        kind: That kind.
        text: The value.
        row: Place of its row, from 0.
    """

    kind: Kind
    text: str
    row: int

    def said(self, row: str) -> str:
        """Return it in words, of a row that is called so."""
        return f"expected {CALLED[self.kind]}; got {self.text!r} in {row}"


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
        source: Source,
        name: str,
        kind: Kind | None,
        *,
        words: bool = False,
        unbounded: bool = False,
        decimal: str | None = None,
        odd: _Odd | None = None,
    ) -> None:
        """Begin.

        Args:
            source: Where the column is, for messages.
            name: the column's.
            kind: said to be its; else inferred.
            words: take truth values for texts.
            unbounded: any number of different texts will do; they are not kept.
            decimal: Decimal sign of numbers in texts; None for a plain point.
            odd: Why it is no column of numbers, where that is known.
        """
        self.name, self.kind, self.odd = name, kind, odd
        self.more = False  # different values than are in `distinct`
        self._file, self._source, self._said = source, source.name, kind is not None
        self._parsers = cells.parsers(decimal)
        self._words, self._unbounded = words, unbounded
        self._distinct = pa.array([], pa.string())
        self._rows = self._gaps = self._first_gap = 0
        self._low, self._high, self._whole = np.inf, -np.inf, True
        self._infinite: tuple[str, int] | None = None  # and its row

    @property
    def is_empty(self) -> bool:
        """Whether there was no value at all."""
        return self.kind is None or self._gaps == self._rows

    def see(self, array: pa.Array, row: int) -> None:
        """Take in a batch's values, after `row` rows."""
        if self.kind is None:
            self.kind = self._kind_of(array)
        elif not row:
            self._kind_of(array)  # refuses types that are none
        values = None if self.kind is None else self._parsed(array, row)
        if values is not None:
            self._see_values(array, values, row)
        self._see_gaps(cells.missing(array) if values is None else np.isnan(values), row)
        self._count(array, row)

    def result(self, oddity: str) -> Inferred:
        """All that was found in a column with values.

        Args:
            oddity: The odd value in words.

        Raises:
            DataError: there was an infinite one.
        """
        kind: Kind = self.kind or "category"
        if self._infinite and kind == "number":
            text, row = self._infinite
            raise DataError(
                f"{self._source}: expected finite numbers in {self.name!r}; got {text!r} in "
                f"{self._row(row)}; leave that cell empty, or drop the row"
            )
        texts = self._texts().to_pylist()
        if kind == "category" and any("\0" in text for text in texts):
            raise DataError(
                f"{self._source}: expected text without NUL characters in {self.name!r}; got one "
                f"with; is it a binary file?"
            )
        values = None if kind == "category" else self._parsers[kind](self._texts())
        distinct = len(texts if values is None else np.unique(values))  # 1 and 1.0 are one
        ranged = kind in ("number", "date")
        return Inferred(
            name=self.name,
            kind=kind,
            rows=self._rows,
            gaps=self._gaps,
            first_gap=self._first_gap,
            distinct=None if self.more else distinct,
            example=texts[0],
            minimum=float(self._low) if ranged else None,
            maximum=float(self._high) if ranged else None,
            whole=kind == "number" and self._whole,
            words=tuple(sorted(texts)) if kind == "category" and not self._unbounded else (),
            oddity=oddity,
        )

    def _kind_of(self, array: pa.Array) -> Kind | None:
        typed = array.type
        if pa.types.is_string(typed):
            first = cells.texts(array.unique()).drop_null()[:1]
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
            f"{typed}; convert it, or leave it out with {column_option('drop', [self.name])}"
        )

    def _kind_of_text(self, text: pa.Array) -> Kind:
        if cells.truths(text) is not None:
            return "category" if self._words else "boolean"
        if self._parsers["number"](text) is not None:
            return "number"
        return "category" if cells.dates(text) is None else "date"

    def _parsed(self, array: pa.Array, row: int) -> NDArray[np.float64] | None:
        """The values, or None of a category, which it is from the first odd value on."""
        if self.kind is None or self.kind == "category":
            return None
        # That ones and zeros are truth values has to be said.
        strict = self.kind == "boolean" and not self._said
        parse = cells.truths if strict else self._parsers[self.kind]
        values = parse(array)
        if values is None:
            place, text = cells.first_odd(array, parse)
            if self._said:
                raise DataError(
                    f"{self._source}: expected {CALLED[self.kind]} in {self.name!r}; got {text!r} "
                    f"in {self._row(row + place)}; "
                    f"{advice(text) or 'correct it or leave that cell empty'}"
                )
            self.odd = _Odd(self.kind, text, row + place)
            self.kind = "category"
        return values

    def _see_values(self, array: pa.Array, values: NDArray[np.float64], row: int) -> None:
        there = values[~np.isnan(values)]
        if not there.size:
            return
        self._low, self._high = min(self._low, there.min()), max(self._high, there.max())
        if np.isinf([self._low, self._high]).any() and not self._infinite:
            place = int(np.isinf(values).argmax())
            self._infinite = str(array[place].as_py()).strip(), row + place
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
            new = new.cast(pa.string())
        self._distinct = pa.concat_arrays([self._distinct, new]).unique()
        if self.kind != "category" or self._unbounded:
            if len(self._distinct) > COUNTED:
                self.more = True
                self._distinct = pa.array(self._texts()[:1].to_pylist())  # an example
        elif len(self._distinct) > MOST_WORDS or self._distinct.nbytes > MOST_TEXT:
            last = self._texts()[-1].as_py()[:40]
            numeral = advice(last)
            raise DataError(
                f"{self._source}: expected at most {MOST_WORDS} different texts in {self.name!r}, "
                f"of {MOST_TEXT} bytes together; got more up to {self._row(row + len(array) - 1)}, "
                f"such as {last!r}; {numeral or 'it looks like an identifier or free text'}"
                f"{'; or' if numeral else ':'} leave it out with "
                f"{column_option('drop', [self.name])}{self._correction()}"
            )

    def _texts(self) -> pa.Array:
        return cells.texts(self._distinct).drop_null().unique()

    def _correction(self) -> str:
        if self.odd is None:
            return ""
        return f", or correct it if it is not one: {self.odd.said(self._row(self.odd.row))}"

    def _row(self, place: int) -> str:
        (called,) = self._file.row_names(place)
        return called
