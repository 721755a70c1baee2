"""Inference: what each column of a file holds, found by one look at all of its rows.

A column is of a kind if all its values are; the rows that come last count like the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from serving.bundle import ISO8601, TRUTH_WORD_PAIRS, parse_date_numbers
from trainer.data.column_names import column_option
from trainer.data.files import cell_parsing
from trainer.data.files.date_numbers import are_days, format_of
from trainer.data.files.date_formats import Proposal, propose
from trainer.data.files.cell_texts import advice
from trainer.data.files.column_roles import Roles, roles
from trainer.data.files.file_sources import FileSource
from trainer.data.precision_loss import DistinctNumbers
from trainer.data.read_options import ColumnProfile, ReadOptions
from trainer.data.records import Kind
from trainer.data.tables import DataError, join_names

MOST_WORDS = 100_000  # different texts of a category
MOST_TEXT = 2**24  # bytes, of all of them together
COUNTED = 1000  # different values of other columns are counted up to here
CALLED = {
    "number": "numbers",
    "precise": "numbers",
    "boolean": "truth values",
    "date": "ISO 8601 dates",
}


def infer_columns(source: FileSource, reading: ReadOptions) -> list[ColumnProfile]:
    """What is found in the columns of `source`, in order; those dropped are left out.

    Text is a number, a truth value or a date if all values of its column are, and else a category;
    Y and N, and other words in pairs, are truth values, and so are dates those that are written in
    exactly one of the common formats. Typed columns are what their type says. A target of truth
    values is a category, so that the classes keep the words of the file. A feature of numbers of
    which float32 would lose more than `precision.LOST` of the different values is precise, unless
    it is said to be a number.

    Args:
        source: read once, batch by batch, and once more if numbers turn to text late.
        reading: says what columns there are for, and the kinds of some.

    Raises:
        DataError: a column has no value, an infinite one, one that is not of the kind said, a type
            that is none of a table's, or too many different texts; or there are no rows.
    """
    found = roles(source, reading)
    said, formats = reading.kinds(), reading.formats()
    if said.get(found.target) == "precise":
        said[found.target] = "number"
    watches = {
        name: _Watch(
            source,
            name,
            said.get(name),
            format=formats.get(name, ISO8601),
            decimal=reading.decimal,
            words=name == found.target,
            unread=name in reading.unread,
            unbounded=name == found.group,
            gaps=source.gaps,
            # A word may be a value of theirs, unless it is said to stand for a gap.
            doubted=reading.missing is None
            and name in (found.target, found.group, *reading.category),
            precision=DistinctNumbers.of_table(len(source.columns))
            if name in found.features
            else None,
        )
        for name in source.columns
        if name in found.used
    }
    _show(source, list(watches.values()))
    late = {
        name: _Watch(
            source,
            name,
            "category",
            decimal=reading.decimal,
            odd=watch.odd,
            gaps=source.gaps,
            doubted=reading.missing is None and name == found.target,
        )
        for name, watch in watches.items()
        if watch.odd and watch.more and name != found.group
    }
    if late:
        _show(source, list(late.values()))
    _refuse_empty(source, [watch for watch in watches.values() if watch.is_empty], found)
    return _results([(watches | late)[name] for name in watches], source)


def _refuse_empty(source: FileSource, empty: Sequence[_Watch], found: Roles) -> None:
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
            f"{source.name}: expected values in {join_names(names)}; got no value at all; leave "
            f"{'it' if len(names) == 1 else 'them'} out with {column_option('drop', names)}"
        )


def _results(watches: Sequence[_Watch], source: FileSource) -> list[ColumnProfile]:
    """Return what was found, with the rows of odd values called as the source calls them."""
    odd = [watch.odd for watch in watches if watch.odd is not None]
    called = iter(source.row_names(*(cell.row for cell in odd)))
    return [
        watch.result("" if watch.odd is None else watch.odd.said(next(called))) for watch in watches
    ]


class _Odd(NamedTuple):
    """The first value for which a column is not of the kind that those before it are.

    Attributes:
        kind: Kind of the values before it.
        text: The value.
        row: Place of its row, from 0.
    """

    kind: Kind
    text: str
    row: int

    def said(self, row: str) -> str:
        """Return it in words, of a row that is called so."""
        return f"expected {CALLED[self.kind]}; got {self.text!r} in {row}"


def _show(source: FileSource, watches: Sequence[_Watch]) -> None:
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
        source: FileSource,
        name: str,
        kind: Kind | None,
        *,
        format: str = ISO8601,  # noqa: A002
        words: bool = False,
        unread: bool = False,
        unbounded: bool = False,
        gaps: Sequence[str] = (),
        doubted: bool = False,
        decimal: str | None = None,
        odd: _Odd | None = None,
        precision: DistinctNumbers | None = None,
    ) -> None:
        """Begin.

        Args:
            source: File of the column, for messages.
            name: the column's.
            kind: said to be its; else inferred.
            format: Date format of its texts, if they are dates.
            words: take truth values for texts.
            unread: Take texts for nothing else than texts.
            unbounded: any number of different texts will do; they are not kept.
            gaps: texts that stand for a gap.
            doubted: refuse a text that does, for it may be a value.
            decimal: Decimal sign of numbers in texts; None for a plain point.
            odd: First value that is no number, if it is known.
            precision: Counts what float32 tells apart, where that is asked.
        """
        self.name, self.kind, self.odd = name, kind, odd
        self.more = False  # different values than are in `distinct`
        self._file, self._source, self._said = source, source.name, kind is not None
        self._decimal = decimal
        self._words, self._unbounded = words, unbounded
        self._format, self._unread = format, unread or words
        self._gap_words, self._doubted = tuple(gaps), doubted
        self._doubtful: Counter[str] = Counter()
        self._distinct = pa.array([], pa.string())
        self._rows = self._gaps = self._first_gap = 0
        self._low, self._high, self._whole = np.inf, -np.inf, True
        self._infinite: tuple[str, int] | None = None  # and its row
        self._precision = precision
        # A date of which it is said that it is one, and that is written in numbers.
        self._is_numeric_date = False
        self._days = True  # whether all numbers may be days such as 20230318
        self._zero_padded = ""  # the first text such as 01234, if it is asked for

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
        if self._doubted:
            self._doubtful.update(cell_parsing.spelled_gaps(array, self._gap_words).to_pylist())
        self._see_gaps(
            cell_parsing.missing(array, self._gap_words) if values is None else np.isnan(values),
            row,
        )
        self._count(array, row)

    def result(self, oddity: str) -> ColumnProfile:
        """All that was found in a column with values.

        Args:
            oddity: The odd value in words.

        Raises:
            DataError: If a value is infinite.
        """
        if self._doubtful:
            self._refuse_doubtful()
        if self._infinite and self.kind in ("number", "precise"):
            text, row = self._infinite
            raise DataError(
                f"{self._source}: expected finite numbers in {self.name!r}; got {text!r} in "
                f"{self._row(row)}; leave that cell empty, or drop the row"
            )
        texts = self._texts().to_pylist()
        if self.kind == "category" and any("\0" in text for text in texts):
            raise DataError(
                f"{self._source}: expected text without NUL characters in {self.name!r}; got one "
                f"with; is it a binary file?"
            )
        if self._is_numeric_date:
            self._format = self._date_format()
        proposal = propose(texts) if self.kind == "category" and not self._is_fixed else None
        kind, truths, written = self._read_words(texts, proposal)
        loss = None
        if kind in ("number", "precise") and self._precision is not None:
            loss = self._precision.loss(self.name)
            if kind == "number" and not self._said and loss.needs_float64:
                kind = "precise"
        found = ColumnProfile(
            name=self.name,
            kind=kind,
            rows=self._rows,
            gaps=self._gaps,
            first_gap=self._first_gap,
            distinct=None,
            example=texts[0],
            whole=kind in ("number", "precise") and self._whole,
            words=tuple(sorted(texts)) if kind == "category" and not self._unbounded else (),
            oddity=oddity,
            texts=truths,
            format=written,
            proposal=proposal.advice(self.name) if proposal else "",
            loss=loss,
            looks_like=self._looks_like() if loss is not None and not self._said else "",
            zero_padded=self._zero_padded if kind in ("number", "precise") else "",
        )
        parse = cell_parsing.parser(found, self._gap_words, self._decimal)
        values = None if kind == "category" else parse(self._texts())
        if values is not None:
            values = values[~np.isnan(values)]
        if not self.more:  # 1 and 1.0 are one
            different = len(texts if values is None else np.unique(values))
            found = replace(found, distinct=different)
        if kind not in ("number", "precise", "date"):
            return found
        low, high = self._low, self._high
        if self._is_numeric_date:
            low, high = parse_date_numbers(np.array([low, high]), written)
        if self.kind == "category" and values is not None:
            low, high = values.min(), values.max()
        return replace(found, minimum=float(low), maximum=float(high))

    @property
    def _is_fixed(self) -> bool:
        """Whether texts are to be categories whatever they look like."""
        return self._said or self._unread or self._unbounded

    def _read_words(
        self, texts: list[str], proposal: Proposal | None
    ) -> tuple[Kind, dict[str, bool], str]:
        """The kind of the column now that all of its texts are known, and how they are written."""
        assert self.kind is not None  # noqa: S101
        if self.kind == "boolean":
            met = {text.lower() for text in texts}
            spelled = {
                w: t for pair in TRUTH_WORD_PAIRS for w, t in pair.items() if met & set(pair)
            }
            if self._words and spelled:
                return "category", {}, ISO8601  # so that the classes keep the words of the file
            return "boolean", spelled, ISO8601
        if self.kind != "category" or self._is_fixed:
            return self.kind, {}, self._format
        if truths := cell_parsing.truths_of(texts):
            return "boolean", truths, ISO8601
        if proposal and proposal.is_certain:
            return "date", {}, proposal.formats[0]
        return "category", {}, ISO8601

    def _date_format(self) -> str:
        """How a column of dates writes its numbers.

        Raises:
            DataError: If the numbers are dates in no unit.
        """
        found = format_of(self._low, self._high, days=self._days)
        if found is None:
            raise DataError(
                f"{self._source}: expected {CALLED['date']}, days such as 20230318, or seconds, "
                f"milliseconds, microseconds or nanoseconds since 1970 of the years 1990 to 2099 "
                f"in {self.name!r}; got numbers from {self._low:g} to {self._high:g}; correct "
                f"them, or leave {column_option('date', [self.name])} out"
            )
        return found

    def _looks_like(self) -> str:
        """The format of date that a column of numbers may be meant for; "" if none."""
        if not self._whole or self._low == self._high:
            return ""
        return format_of(self._low, self._high, days=self._days) or ""

    def _kind_of(self, array: pa.Array) -> Kind | None:
        typed = array.type
        if pa.types.is_string(typed):
            first = cell_parsing.texts(array.unique(), self._gap_words).drop_null()[:1]
            return self._kind_of_text(first) if len(first) else None
        if pa.types.is_null(typed):
            return None
        if pa.types.is_boolean(typed):
            return "category" if self._words else "boolean"
        if cell_parsing.numbers(array[:0]) is not None:
            return "number"
        if cell_parsing.dates(array[:0]) is not None:
            return "date"
        raise DataError(
            f"{self._source}: expected numbers, truth values, text or dates in {self.name!r}; got "
            f"{typed}; convert it, or leave it out with {column_option('drop', [self.name])}"
        )

    def _kind_of_text(self, text: pa.Array) -> Kind:
        if cell_parsing.truths(text, ()) is not None:
            return "category" if self._words else "boolean"
        if cell_parsing.numbers(text, (), self._decimal) is not None:
            return "number"
        return "category" if cell_parsing.dates(text, ()) is None else "date"

    def _parsed(self, array: pa.Array, row: int) -> NDArray[np.float64] | None:
        """The values, or None of a category, which it is from the first odd value on."""
        if self.kind is None or self.kind == "category":
            return None
        parse = self._parser(array)
        values = parse(array)
        if values is None:
            place, text = cell_parsing.first_odd(array, parse)
            if self._said:
                called = CALLED[self.kind]
                if self._format != ISO8601:
                    called = f"dates written {self._format}, or in ISO 8601,"
                raise DataError(
                    f"{self._source}: expected {called} in {self.name!r}; got {text!r} in "
                    f"{self._row(row + place)}; "
                    f"{advice(text) or 'correct it or leave that cell empty'}"
                )
            self.odd = _Odd(self.kind, text, row + place)
            self.kind = "category"
        return values

    def _parser(self, array: pa.Array) -> cell_parsing.Parser:
        """What reads the column's values as what it is, beginning with those of a batch."""
        gaps, decimal = self._gap_words, self._decimal
        numbers = partial(cell_parsing.numbers, gaps=gaps, decimal=decimal)
        if self.kind == "boolean":
            # That ones and zeros are truth values has to be said.
            if not self._said:
                return partial(cell_parsing.truths, gaps=gaps)
            return partial(
                cell_parsing.booleans, gaps=gaps, decimal=decimal, truths=cell_parsing.SPELLED
            )
        if self.kind != "date":
            return numbers
        dates = partial(cell_parsing.dates, gaps=gaps, format=self._format, decimal=decimal)
        # As numbers, if it is said to be a column of dates and begins with one.
        if self._said and self._format == ISO8601 and self._low > self._high:
            self._is_numeric_date = dates(array) is None and numbers(array) is not None
        return numbers if self._is_numeric_date else dates

    def _see_values(self, array: pa.Array, values: NDArray[np.float64], row: int) -> None:
        there = values[~np.isnan(values)]
        if not there.size:
            return
        self._low, self._high = min(self._low, there.min()), max(self._high, there.max())
        if np.isinf([self._low, self._high]).any() and not self._infinite:
            place = int(np.isinf(values).argmax())
            self._infinite = str(array[place].as_py()).strip(), row + place
        self._whole = self._whole and bool((there == np.floor(there)).all())
        self._days = self._days and self._whole and are_days(there)
        if self._precision is not None and self.kind in ("number", "precise"):
            self._precision.add(there)
            if not (self._said or self._zero_padded):
                self._zero_padded = cell_parsing.first_zero_padded(array)

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
            new = cell_parsing.texts(new)
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
                f"{column_option('drop', [self.name])}{self._correction()}{self._proposal()}"
            )

    def _texts(self) -> pa.Array:
        return cell_parsing.texts(self._distinct, self._gap_words).drop_null().unique()

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

    def _proposal(self) -> str:
        """How to have texts read as dates that are too many for a category."""
        found = None if self._is_fixed else propose(self._texts().to_pylist())
        return f"; {found.advice(self.name)}" if found else ""

    def _correction(self) -> str:
        if self.odd is None:
            return ""
        return f", or correct it if it is not one: {self.odd.said(self._row(self.odd.row))}"

    def _row(self, place: int) -> str:
        (called,) = self._file.row_names(place)
        return called
