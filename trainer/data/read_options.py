"""Reading: what is said of a file's columns beforehand, and what is found in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from serving.bundle import ISO8601, canonicalize_text, require_date_format, to_nfc
from trainer.data.column_names import resolve_names
from trainer.data.precision_loss import PrecisionLoss
from trainer.data.records import Kind

LISTS = ("drop", "number", "precise", "boolean", "category", "date")  # of names of columns


@dataclass(frozen=True)
class ReadOptions:
    """How a file is to be read; each name is one of its columns.

    Attributes:
        target: the column to predict; by default the last one.
        task: `classification` or `regression`; by default inferred (see `make_table`).
        names: of the columns, in order, for a file without a header.
        drop: columns that are no features.
        number: columns that hold numbers, whatever they look like; likewise those below. They are
            kept in float32 even where it cannot tell their values apart.
        precise: Columns of numbers that are kept in float64.
        boolean: of true and false, or 1 and 0.
        category: of texts.
        date: of dates, or dates and times: texts of ISO 8601, its basic form `20230318` among
            them, or numbers of seconds, milliseconds, microseconds or nanoseconds since 1970.
        date_format: How texts write dates beside ISO 8601, each `COLUMN=FORMAT`, or one `FORMAT`
            for all columns of dates; see `require_date_format`.
        unread: Columns whose texts are categories even if they look like dates or truth values.
        group: whose row each is; no feature.
        time: when each row came about, a date or a number; a feature unless dropped.
        missing: texts of a CSV file that stand for a gap, in any case, beside the empty cell; None
            for all of `GAPS`.
        delimiter: Character between two cells of a CSV file [default: a comma].
        decimal: Decimal sign of numbers in texts, `.` or `,`, which may then have thousands
            separators too; by default a point, without them.
        encoding: Encoding of a CSV file [default: UTF-8].
        index: Columns that only number the rows, and are left out; found in the file, never said.

    Names may be in any of Unicode's normal forms; here they are in NFC, as a source has them.
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
    date_format: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None
    missing: tuple[str, ...] | None = None
    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    index: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Write names, and the words for gaps, in one way."""
        for each in fields(self):
            said = getattr(self, each.name)
            if isinstance(said, str):
                object.__setattr__(self, each.name, to_nfc(said))
            elif isinstance(said, tuple):
                object.__setattr__(self, each.name, tuple(map(to_nfc, said)))
        if self.missing is not None:
            words = dict.fromkeys(canonicalize_text(word.lower()) for word in self.missing)
            object.__setattr__(self, "missing", tuple(filter(None, words)))

    def resolved(self, columns: Sequence[str]) -> ReadOptions:
        """Return the reading with columns whose names hold commas as the file spells them."""
        lists: dict[str, Any] = {
            name: resolve_names(getattr(self, name), columns) for name in LISTS
        }
        return replace(self, **lists)

    def columns_of_kinds(self) -> dict[Kind, tuple[str, ...]]:
        """The columns of which a kind is said, by that kind."""
        return {
            "number": self.number,
            "precise": self.precise,
            "boolean": self.boolean,
            "category": self.category,
            "date": self.dates(),
        }

    def kinds(self) -> dict[str, Kind]:
        """The kind of each column of which one is said."""
        return {name: kind for kind, names in self.columns_of_kinds().items() for name in names}

    def dates(self) -> tuple[str, ...]:
        """Return the columns that are said to be dates, each once."""
        return tuple(dict.fromkeys([*self.date, *self.formats()]))

    def formats(self) -> dict[str, str]:
        """Return the format of each column of dates for which one is said.

        Raises:
            ValueError: If a format is unknown, said twice for a column, or of no column.
        """
        own: dict[str, str] = {}
        common: list[str] = []
        for entry in self.date_format:
            column, written = split_format(entry)
            if column is None:
                common.append(written)
            elif own.setdefault(column, written) != written:
                raise ValueError(f"expected one date format for {column!r}; got two")
        if len(set(common)) > 1:
            raise ValueError(
                f"expected one date format for all columns, or COLUMN=FORMAT; got "
                f"{' and '.join(map(repr, common))}"
            )
        others = {*self.number, *self.precise, *self.boolean, *self.category}
        dates = [*self.date, *([] if self.time is None or self.time in others else [self.time])]
        if common and not dates:
            raise ValueError(
                f"expected COLUMN={common[0]}, or the columns of dates with --date; got the date "
                f"format alone"
            )
        return dict.fromkeys(dates, common[0]) | own if common else own


def split_format(entry: str) -> tuple[str | None, str]:
    """Return the column, None for all of them, and the format of an entry of `date_format`.

    Raises:
        ValueError: If it is no format.
    """
    column, sign, _ = entry.partition("%")[0].rpartition("=")
    written = entry[len(column) + len(sign) :]
    require_date_format(written)
    return (column if sign else None), written


@dataclass(frozen=True)
class SuspectedType:
    """What says that a column of texts is meant for numbers or dates.

    Attributes:
        name: Name of the column.
        detail: Sentence with the numbers of odd cells and some of them.
        remedy: Advice, with the option to use.
    """

    name: str
    detail: str
    remedy: str


@dataclass(frozen=True)
class ColumnProfile:
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
        texts: Truth value of each text, in lower case, beside `true` and `false`.
        format: Date format beside ISO 8601, as `Date.format` of the manifest.
        proposal: Options by which texts that look like dates, or were taken for them without being
            asked, are read as such; empty where there is nothing to propose.
        loss: Distinct numbers that float32 cannot tell apart; None if they were not counted.
        looks_like: Date format that the numbers may be meant for; empty if none.
        zero_padded: Of numbers, the first text with leading zeros, such as `01234`, as codes have
            them; empty if there is none, or if the column is said to hold numbers.
        suspicion: Cells by which the texts seem to be numbers or dates; None if there are none.
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
    texts: Mapping[str, bool] = field(default_factory=dict)
    format: str = ISO8601
    proposal: str = ""
    loss: PrecisionLoss | None = None
    looks_like: str = ""
    zero_padded: str = ""
    suspicion: SuspectedType | None = None
