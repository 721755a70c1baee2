"""Reading: what is said of a file's columns beforehand, and what is found in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from trainer.data.column_names import resolve
from trainer.data.records import Kind

LISTS = ("drop", "number", "boolean", "category", "date")  # of names of columns


@dataclass(frozen=True)
class Reading:
    """How a file is to be read; each name is one of its columns.

    Attributes:
        target: the column to predict; by default the last one.
        task: `classification` or `regression`; by default inferred (see `make_table`).
        names: of the columns, in order, for a file without a header.
        drop: columns that are no features.
        number: columns that hold numbers, whatever they look like; likewise those below.
        boolean: of true and false, or 1 and 0.
        category: of texts.
        date: of ISO 8601 dates, or dates and times.
        group: whose row each is; no feature.
        time: when each row came about, a date or a number; a feature unless dropped.
        delimiter: Character between two cells of a CSV file [default: a comma].
        decimal: Decimal sign of numbers in texts, `.` or `,`, which may then have thousands
            separators too; by default a point, without them.
        encoding: Encoding of a CSV file [default: UTF-8].
        index: Columns that only number the rows, and are left out; found in the file, never said.
    """

    target: str | None = None
    task: str | None = None
    names: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    number: tuple[str, ...] = ()
    boolean: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    index: tuple[str, ...] = ()

    def resolved(self, columns: Sequence[str]) -> Reading:
        """Return the reading with columns whose names hold commas as the file spells them."""
        lists: dict[str, Any] = {name: resolve(getattr(self, name), columns) for name in LISTS}
        return replace(self, **lists)

    def kinds(self) -> dict[str, Kind]:
        """The kind of each column of which one is said."""
        said: dict[str, Kind] = {}
        said |= dict.fromkeys(self.number, "number")
        said |= dict.fromkeys(self.boolean, "boolean")
        said |= dict.fromkeys(self.category, "category")
        said |= dict.fromkeys(self.date, "date")
        return said


@dataclass(frozen=True)
class Suspicion:
    """What says that a column of texts is meant for numbers or dates.

    Attributes:
        name: Name of the column.
        detail: What was found, with its numbers and some cells.
        remedy: What to do.
    """

    name: str
    detail: str
    remedy: str


@dataclass(frozen=True)
class Inferred:
    """What one look at all rows found in a column.

    Attributes:
        name: as in the header.
        kind: what its values are.
        rows: how many there are, gaps among them.
        gaps: rows without a value.
        first_gap: the first such row, from 1; 0 if there is none.
        distinct: different values; None for more than were counted.
        example: a value, as it is written.
        minimum: of numbers and dates (seconds since 1970-01-01 UTC); None for other kinds.
        maximum: likewise.
        whole: whether all are whole numbers.
        words: of a category, its texts, sorted.
        oddity: the value, and its row, for which numbers, dates or truth values became texts.
        suspicion: What says that its texts are meant for numbers or dates, if anything does.
    """

    name: str
    kind: Kind
    rows: int
    gaps: int
    first_gap: int
    distinct: int | None
    example: str
    minimum: float | None = None
    maximum: float | None = None
    whole: bool = False
    words: tuple[str, ...] = ()
    oddity: str = ""
    suspicion: Suspicion | None = None
