"""Options for reading a file, and the profile of each column that was found in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from serving.bundle import ISO8601, canonicalize_text, require_date_format, to_nfc
from trainer.data.column_names import resolve_names
from trainer.data.precision_loss import PrecisionLoss
from trainer.data.records import Kind

# The options that are lists of column names.
COLUMN_LISTS = ("drop", "number", "precise", "boolean", "category", "date")


@dataclass(frozen=True)
class ReadOptions:
    """Options for reading a file. A column that no option names gets its kind from its values.

    Column names may be in any of Unicode's normal forms. They are converted to NFC, as those of a
    `FileSource` are.

    Attributes:
        target: Column to predict [default: the last one].
        task: `classification` or `regression`; None to infer it, see `make_table`.
        names: Names of the columns, in order, for a file without a header.
        drop: Columns that are not features.
        number: Columns of numbers in float32, even where it merges different values.
        precise: Columns of numbers in float64.
        boolean: Columns of true and false, or 1 and 0.
        category: Columns of categories.
        date: Columns of dates, or dates and times: texts of ISO 8601, numbers such as 20230318, or
            numbers of seconds, milliseconds, microseconds or nanoseconds since 1970.
        date_format: Date formats of texts that are not ISO 8601, each `COLUMN=FORMAT`, or one
            `FORMAT` for all columns of dates; see `require_date_format`.
        text_categories: Columns whose texts are categories even if they look like dates or truth
            values.
        group: Column whose equal values mark the rows of one group; it is not a feature.
        time: Column of the time of each row, a date or a number. It is a feature unless dropped.
        missing: Texts of a CSV file that stand for a gap, in any case; an empty cell always does.
            None for `DEFAULT_GAP_TEXTS`.
        delimiter: Character between two cells of a CSV file [default: a comma].
        decimal: Decimal sign of numbers in texts, `.` or `,`; the numbers may then have thousands
            separators, too. None for a point without thousands separators.
        encoding: Encoding of a CSV file [default: UTF-8].
        index: Columns that only number the rows, and are left out. `read_file` sets them.
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
    text_categories: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None
    missing: tuple[str, ...] | None = None
    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    index: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Convert names to NFC, and the texts of gaps to lower case."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, str):
                object.__setattr__(self, each.name, to_nfc(value))
            elif isinstance(value, tuple):
                object.__setattr__(self, each.name, tuple(map(to_nfc, value)))
        if self.missing is not None:
            texts = dict.fromkeys(canonicalize_text(text.lower()) for text in self.missing)
            object.__setattr__(self, "missing", tuple(filter(None, texts)))

    def resolve_columns(self, columns: Sequence[str]) -> ReadOptions:
        """Return the options with names that contain commas put together again.

        Args:
            columns: Names of all columns of the file; see `resolve_names`.
        """
        lists: dict[str, Any] = {
            option: resolve_names(getattr(self, option), columns) for option in COLUMN_LISTS
        }
        return replace(self, **lists)

    def group_by_kind(self) -> dict[Kind, tuple[str, ...]]:
        """Return the columns whose kind is an option, by that kind."""
        return {
            "number": self.number,
            "precise": self.precise,
            "boolean": self.boolean,
            "category": self.category,
            "date": self.list_date_columns(),
        }

    def map_kinds(self) -> dict[str, Kind]:
        """Return the kind of each column whose kind is an option."""
        return {name: kind for kind, names in self.group_by_kind().items() for name in names}

    def list_date_columns(self) -> tuple[str, ...]:
        """Return the columns that are dates by an option, each once.

        Raises:
            ValueError: If a date format is invalid; see `map_date_formats`.
        """
        return tuple(dict.fromkeys([*self.date, *self.map_date_formats()]))

    def map_date_formats(self) -> dict[str, str]:
        """Return the date format of each column for which `date_format` has one.

        Raises:
            ValueError: If a format is unknown or applies to no column, or if a column has two.
        """
        own_formats: dict[str, str] = {}
        common_formats: list[str] = []
        for entry in self.date_format:
            column, date_format = split_date_format(entry)
            if column is None:
                common_formats.append(date_format)
            elif own_formats.setdefault(column, date_format) != date_format:
                raise ValueError(f"expected one date format for {column!r}; got two")
        if len(set(common_formats)) > 1:
            raise ValueError(
                f"expected one date format for all columns, or COLUMN=FORMAT; got "
                f"{' and '.join(map(repr, common_formats))}"
            )
        if not common_formats:
            return own_formats
        columns = [*self.date]
        # A time without another kind can only be a date in this format.
        other_kinds = {*self.number, *self.precise, *self.boolean, *self.category}
        if self.time is not None and self.time not in other_kinds:
            columns.append(self.time)
        if not columns:
            raise ValueError(
                f"expected COLUMN={common_formats[0]}, or the columns of dates with --date; got "
                f"the date format alone"
            )
        return dict.fromkeys(columns, common_formats[0]) | own_formats


def split_date_format(entry: str) -> tuple[str | None, str]:
    """Return the column, None for all columns, and the format of an entry of `date_format`.

    Args:
        entry: `COLUMN=FORMAT` or `FORMAT`.

    Raises:
        ValueError: If the format is unknown.
    """
    column, sign, _ = entry.partition("%")[0].rpartition("=")
    date_format = entry[len(column) + len(sign) :]
    require_date_format(date_format)
    return (column if sign else None), date_format


@dataclass(frozen=True)
class SuspectedType:
    """The evidence that a column of texts is meant to be numbers or dates.

    Attributes:
        name: Name of the column.
        detail: Sentence with the number of cells that cannot be parsed, and some of them.
        remedy: Advice, with the option to use.
    """

    name: str
    detail: str
    remedy: str


@dataclass(frozen=True)
class ColumnProfile:
    """The kind and the statistics of a column, found by reading all of its rows once.

    Attributes:
        name: Name of the column in the header.
        kind: Kind of its values.
        rows: Number of rows, with and without a value.
        gaps: Number of rows without a value.
        first_gap: Number of the first row without a value, from 1; 0 if there is none.
        distinct: Number of distinct values; None if there are too many to count.
        example: A value as the file writes it.
        minimum: Lowest number, or date in seconds since 1970-01-01 UTC; None for other kinds.
        maximum: Highest number or date; None for other kinds.
        is_whole: Whether all values are whole numbers.
        words: Texts of a category, sorted; empty for other kinds.
        oddity: Sentence with the first value that is not of the kind of those before it, because
            of which the column is a category; empty if there is none.
        texts: Truth value of each lower-case text of a boolean, except for `true` and `false`.
        format: Date format of texts that are not ISO 8601; see `DateColumn.format`.
        proposal: Options by which texts that look like dates are read as such; empty if there are
            none. Also set if they were taken for dates without an option.
        loss: Count of the distinct numbers that float32 merges; None if it was not taken.
        suggested_date_format: Date format in which the numbers are plausible dates; empty if none.
        zero_padded_text: First text of a column of numbers with leading zeros, such as `01234`,
            as codes have them; empty if there is none, or if an option says that it holds numbers.
        suspicion: Evidence that the texts are meant to be numbers or dates; None without any.
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
    is_whole: bool = False
    words: tuple[str, ...] = ()
    oddity: str = ""
    texts: Mapping[str, bool] = field(default_factory=dict)
    format: str = ISO8601
    proposal: str = ""
    loss: PrecisionLoss | None = None
    suggested_date_format: str = ""
    zero_padded_text: str = ""
    suspicion: SuspectedType | None = None
