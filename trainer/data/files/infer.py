"""Inference: what each column of a file holds, found by one look at all of its rows.

A column is of a kind if all its values are; the rows that come last count like the first.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from serving.bundle import ISO8601
from trainer.data.files import cells
from trainer.data.files.date_proposals import Proposal, propose
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
    Y and N, and other words in pairs, are truth values, and so are dates those that are written in
    exactly one of the common formats. Typed columns are what their type says. A target of truth
    values is a category, so that the classes keep the words of the file.

    Args:
        source: read once, batch by batch, and once more if numbers turn to text late.
        reading: says what columns there are for, and the kinds of some.

    Raises:
        DataError: a column has no value, an infinite one, one that is not of the kind said, a type
            that is none of a table's, or too many different texts; or there are no rows.
    """
    found = roles(source, reading)
    said, formats = reading.kinds(), reading.formats()
    watches = {
        name: _Watch(
            source.name,
            name,
            said.get(name),
            format=formats.get(name, ISO8601),
            words=name == found.target,
            unread=name in reading.unread,
            unbounded=name == found.group,
        )
        for name in source.columns
        if name in found.used
    }
    _show(source, list(watches.values()))
    late = {
        name: _Watch(source.name, name, "category", oddity=watch.oddity)
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
        format: str = ISO8601,  # noqa: A002
        words: bool = False,
        unread: bool = False,
        unbounded: bool = False,
        oddity: str = "",
    ) -> None:
        """Begin.

        Args:
            source: for messages.
            name: the column's.
            kind: said to be its; else inferred.
            format: How its texts write dates, where they are dates.
            words: take truth values for texts.
            unread: Take texts for nothing else than texts.
            unbounded: any number of different texts will do; they are not kept.
            oddity: why it is no column of numbers, where that is known.
        """
        self.name, self.kind, self.oddity = name, kind, oddity
        self.more = False  # different values than are in `distinct`
        self._source, self._said = source, kind is not None
        self._words, self._unbounded = words, unbounded
        self._format, self._unread = format, unread or words
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
        self._see_gaps(cells.missing(array) if values is None else np.isnan(values), row)
        self._count(array, row)

    def result(self) -> Inferred:
        """All that was found.

        Raises:
            DataError: there was no value at all, or an infinite one.
        """
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
        proposal = propose(texts) if self.kind == "category" and not self._is_fixed else None
        kind, truths, written = self._read_words(texts, proposal)
        found = Inferred(
            name=self.name,
            kind=kind,
            rows=self._rows,
            gaps=self._gaps,
            first_gap=self._first_gap,
            distinct=None,
            example=texts[0],
            whole=kind == "number" and self._whole,
            words=tuple(sorted(texts)) if kind == "category" and not self._unbounded else (),
            oddity=self.oddity,
            texts=truths,
            format=written,
            proposal=proposal.advice(self.name) if proposal else "",
        )
        values = None if kind == "category" else cells.parser(found)(self._texts())
        if not self.more:  # 1 and 1.0 are one
            different = len(texts if values is None else np.unique(values))
            found = replace(found, distinct=different)
        if kind not in ("number", "date"):
            return found
        low, high = self._low, self._high
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
            spelled = {w: t for pair in cells.PAIRS for w, t in pair.items() if met & set(pair)}
            if self._words and spelled:
                return "category", {}, ISO8601  # so that the classes keep the words of the file
            return "boolean", spelled, ISO8601
        if self.kind != "category" or self._is_fixed:
            return self.kind, {}, self._format
        if truths := cells.truths_of(texts):
            return "boolean", truths, ISO8601
        if proposal and proposal.is_certain:
            return "date", {}, proposal.formats[0]
        return "category", {}, ISO8601

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
            f"{typed}; convert it, or leave it out with --drop {shlex.quote(self.name)}"
        )

    def _kind_of_text(self, text: pa.Array) -> Kind:
        if cells.truths(text) is not None:
            return "category" if self._words else "boolean"
        if cells.numbers(text) is not None:
            return "number"
        return "category" if cells.dates(text) is None else "date"

    def _parsed(self, array: pa.Array, row: int) -> NDArray[np.float64] | None:
        """The values, or None of a category, which it is from the first odd value on."""
        if self.kind is None or self.kind == "category":
            return None
        parse: cells.Parser
        if self.kind == "boolean":
            # That ones and zeros are truth values has to be said.
            parse = partial(cells.booleans, truths=cells.SPELLED) if self._said else cells.truths
        elif self.kind == "date":
            parse = partial(cells.dates, format=self._format)
        else:
            parse = cells.numbers
        values = parse(array)
        if values is None:
            place, text = cells.first_odd(array, parse)
            odd = f"{text!r} in row {row + place + 1}"
            if self._said:
                called = CALLED[self.kind]
                if self._format != ISO8601:
                    called = f"dates written {self._format}, or in ISO 8601,"
                raise DataError(
                    f"{self._source}: expected {called} in {self.name!r}; got {odd}; "
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
            new = new.cast(pa.string())
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
                f"{self._proposal()}"
            )

    def _texts(self) -> pa.Array:
        return cells.texts(self._distinct).drop_null().unique()

    def _proposal(self) -> str:
        """How to have texts read as dates that are too many for a category."""
        found = None if self._is_fixed else propose(self._texts().to_pylist())
        return f"; {found.advice(self.name)}" if found else ""

    def _correction(self) -> str:
        return f", or correct it if it is not one: {self.oddity}" if self.oddity else ""
