"""Reading: what is said of a file's columns beforehand, and what is found in them."""

from __future__ import annotations

from dataclasses import dataclass

from serving.bundle.date_formats import ISO8601
from trainer.data.precision import Loss
from trainer.data.records import Kind


@dataclass(frozen=True)
class Reading:
    """How a file is to be read; each name is one of its columns.

    Attributes:
        target: the column to predict; by default the last one.
        task: `classification` or `regression`; by default inferred (see `make_table`).
        names: of the columns, in order, for a file without a header.
        drop: columns that are no features.
        number: columns that hold numbers, whatever they look like; likewise those below. They are
            kept in float32 even where it cannot tell their values apart.
        precise: of numbers that are kept in float64.
        boolean: of true and false, or 1 and 0.
        category: of texts.
        date: of dates, or dates and times: texts of ISO 8601, its basic form `20230318` among
            them, or numbers of seconds, milliseconds, microseconds or nanoseconds since 1970.
        group: whose row each is; no feature.
        time: when each row came about, a date or a number; a feature unless dropped.
    """

    target: str | None = None
    task: str | None = None
    names: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    number: tuple[str, ...] = ()
    precise: tuple[str, ...] = ()
    boolean: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None

    def columns_of_kinds(self) -> dict[Kind, tuple[str, ...]]:
        """The columns of which a kind is said, by that kind."""
        return {
            "number": self.number,
            "precise": self.precise,
            "boolean": self.boolean,
            "category": self.category,
            "date": self.date,
        }

    def kinds(self) -> dict[str, Kind]:
        """The kind of each column of which one is said."""
        return {name: kind for kind, names in self.columns_of_kinds().items() for name in names}


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
        loss: of numbers, what float32 makes of their different values; None where it was not asked.
        format: of a date, how it is written, as in the manifest.
        looks_like: of numbers, the format of date that they may be meant for; "" if none.
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
    loss: Loss | None = None
    format: str = ISO8601
    looks_like: str = ""
