"""Observe the values of one column, batch by batch, and summarize them in a `ColumnProfile`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import isinf

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from serving.bundle import ISO8601, canonicalize_text, parse_date_numbers
from trainer.data.column_names import format_column_option
from trainer.data.files.cell_parsing import (
    Parser,
    create_parser,
    find_first_refused,
)
from trainer.data.files.cell_texts import (
    find_gaps,
    find_zero_padded,
    select_gap_texts,
    to_texts,
)
from trainer.data.files.column_kinds import (
    KIND_NAMES,
    ColumnRule,
    OddValue,
    check_category,
    decide_kind,
    infer_kind,
    refuse_gap_texts,
    refuse_value,
    select_parser,
)
from trainer.data.files.date_formats import (
    are_basic_dates,
    find_numeric_format,
    propose_date_formats,
)
from trainer.data.files.file_sources import FileSource
from trainer.data.precision_loss import DistinctNumbers
from trainer.data.read_options import ColumnProfile
from trainer.data.tables import DataError

MAX_COUNTED_VALUES = 1000  # distinct values of a column, except of categories, that are counted
FIRST_EXAMPLES = 8  # distinct values that are looked at first to find an example
NUMBER_KINDS = ("number", "precise")
RANGED_KINDS = (*NUMBER_KINDS, "date")  # with a lowest and a highest value


@dataclass
class _ValueRange:
    """The range of the numbers of a column, or of its dates in seconds."""

    low: float = np.inf
    high: float = -np.inf
    is_whole: bool = True
    are_days: bool = True  # whether all numbers can be days such as 20230318

    @property
    def is_empty(self) -> bool:
        """Whether no number was added so far."""
        return self.low > self.high

    def add(self, numbers: NDArray[np.float64]) -> None:
        """Extend the range by at least one number, float64 `(n,)`, none of them NaN."""
        self.low, self.high = min(self.low, numbers.min()), max(self.high, numbers.max())
        self.is_whole = self.is_whole and bool((numbers == np.floor(numbers)).all())
        self.are_days = self.are_days and self.is_whole and are_basic_dates(numbers)

    def find_date_format(self) -> str | None:
        """Return the format in which the numbers are plausible dates; None if there is none."""
        return find_numeric_format(self.low, self.high, are_days=self.are_days)


class ColumnObserver:
    """Finds the kind and the statistics of a column.

    Args:
        source: File of the column, for messages.
        rule: Options of the column.
        odd_value: First value that is not of the inferred kind, if it is known already.
        precision: Counter of the distinct numbers that float32 merges; None to count none.

    Attributes:
        name: Name of the column.
        kind: Kind of the column so far; None until there is a value.
        odd_value: First value that is not of the inferred kind; None if there is none.
        has_uncounted_values: Whether there are more distinct values than are counted.
    """

    def __init__(
        self,
        source: FileSource,
        rule: ColumnRule,
        *,
        odd_value: OddValue | None = None,
        precision: DistinctNumbers | None = None,
    ) -> None:
        self.name, self.kind, self.odd_value = rule.name, rule.kind, odd_value
        self.has_uncounted_values = False
        self._source, self._rule = source, rule
        self._gap_text_counts: Counter[str] = Counter()
        self._distinct = pa.array([], pa.string())
        self._n_rows = self._n_gaps = self._first_gap = 0
        self._range = _ValueRange()
        self._infinite_value: tuple[str, int] | None = None  # its text and the index of its row
        self._precision = precision
        # Whether the column is dates by an option, and writes them as numbers in an unknown unit.
        self._has_numeric_dates = False
        self._zero_padded_text = ""
        self._example = ""  # the first text of a number or date

    @property
    def is_empty(self) -> bool:
        """Whether the column has no value at all."""
        return self.kind is None or self._n_gaps == self._n_rows

    def observe(self, array: pa.Array, row: int) -> None:
        """Take in the column of a batch.

        Args:
            array: Column of the batch, `(n,)`.
            row: Number of rows before the batch.

        Raises:
            DataError: If a value is not of the kind that an option gives, if the type of the array
                is not supported, or if there are too many distinct texts.
        """
        gaps = self._rule.gaps
        if self.kind is None:
            self.kind = infer_kind(self._source, self._rule, array)
        elif not row:
            infer_kind(self._source, self._rule, array)  # refuses types that are not supported
        values = self._parse(array, row)
        if values is not None:
            self._add_values(array, values, row)
        if self._rule.refuse_gap_texts:
            self._gap_text_counts.update(select_gap_texts(array, gaps).to_pylist())
        is_gap = find_gaps(array, gaps) if values is None else np.isnan(values)
        if not self._first_gap and is_gap.any():
            self._first_gap = row + int(is_gap.argmax()) + 1
        self._n_gaps += int(np.count_nonzero(is_gap))
        self._n_rows += len(is_gap)
        if not self.has_uncounted_values:
            self._add_distinct(array, row)

    def create_profile(self, oddity: str) -> ColumnProfile:
        """Return the profile of a column that has at least one value.

        Args:
            oddity: Description of the odd value; empty if there is none.

        Raises:
            DataError: If a number is infinite, a text has a NUL character, a text may be a value or
                stand for a gap, or the numbers of a column of dates fit no unit.
        """
        assert self.kind is not None  # noqa: S101
        # Numbers and dates need an example only. It would take long to write all of them as texts.
        is_parsed = self.kind in RANGED_KINDS
        texts = [self._find_example()] if is_parsed else self._get_texts().to_pylist()
        self._check_values(texts)
        is_open = self.kind == "category" and not self._rule.is_fixed
        proposal = propose_date_formats(texts) if is_open else None
        kind, truths, date_format = decide_kind(
            self._rule, self.kind, self._get_date_format(), texts, proposal
        )
        loss, suggested_date_format = None, ""
        if kind in NUMBER_KINDS and self._precision is not None:
            loss = self._precision.loss(self.name)
            if self._rule.kind is None:
                kind = "precise" if loss.needs_float64 else kind
                suggested_date_format = self._suggest_date_format()
        profile = ColumnProfile(
            name=self.name,
            kind=kind,
            rows=self._n_rows,
            gaps=self._n_gaps,
            first_gap=self._first_gap,
            distinct=None,
            example=texts[0],
            is_whole=kind in NUMBER_KINDS and self._range.is_whole,
            words=tuple(sorted(texts)) if kind == "category" and not self._rule.is_group else (),
            oddity=oddity,
            texts=truths,
            format=date_format,
            proposal=proposal.suggest_options(self.name) if proposal else "",
            loss=loss,
            suggested_date_format=suggested_date_format,
            zero_padded_text=self._zero_padded_text if kind in NUMBER_KINDS else "",
        )
        return self._add_statistics(profile, len(texts))

    def _add_statistics(self, profile: ColumnProfile, n_texts: int) -> ColumnProfile:
        """Return the profile with its number of distinct values, and with its range.

        Args:
            profile: Profile of the column.
            n_texts: Number of distinct texts, if the kind is not one with a range.
        """
        is_counted = not self.has_uncounted_values
        values = None
        if self.kind in RANGED_KINDS and profile.loss is not None and is_counted:
            n_distinct = profile.loss.distinct
        else:
            if profile.kind != "category":
                parse = create_parser(profile, self._rule.gaps, self._rule.decimal)
                values = parse(self._distinct)
            if values is not None:
                values = values[~np.isnan(values)]
            n_distinct = len(np.unique(values)) if values is not None else n_texts
        profile = replace(profile, distinct=n_distinct if is_counted else None)
        if profile.kind not in RANGED_KINDS:
            return profile
        low, high = self._range.low, self._range.high
        if self._has_numeric_dates:
            low, high = parse_date_numbers(np.array([low, high]), profile.format)
        if self.kind == "category" and values is not None:  # dates whose format is now known
            low, high = values.min(), values.max()
        return replace(profile, minimum=float(low), maximum=float(high))

    def _check_values(self, texts: list[str]) -> None:
        """Refuse values that no column may have; see `create_profile`."""
        if self._gap_text_counts:
            refuse_gap_texts(self._source, self._rule, self._gap_text_counts)
        if self._infinite_value and self.kind in NUMBER_KINDS:
            text, row = self._infinite_value
            raise DataError(
                f"{self._source.name}: expected finite numbers in {self.name!r}; got {text!r} in "
                f"{self._name_row(row)}; leave that cell empty, or drop the row"
            )
        if self.kind == "category" and any("\0" in text for text in texts):
            raise DataError(
                f"{self._source.name}: expected text without NUL characters in {self.name!r}; got "
                f"a text with one; is it a binary file?"
            )

    def _get_date_format(self) -> str:
        """Return the date format of the column, if it is one of dates.

        Raises:
            DataError: If the dates are numbers, and of no unit.
        """
        if not self._has_numeric_dates:
            return self._rule.format
        date_format = self._range.find_date_format()
        if date_format is None:
            raise DataError(
                f"{self._source.name}: expected {KIND_NAMES['date']}, days such as 20230318, or "
                f"seconds, milliseconds, microseconds or nanoseconds since 1970 of the years 1990 "
                f"to 2099 in {self.name!r}; got numbers from {self._range.low:g} to "
                f"{self._range.high:g}; correct them, or leave "
                f"{format_column_option('date', [self.name])} out"
            )
        return date_format

    def _suggest_date_format(self) -> str:
        """Return the date format that a column of numbers may be meant for; "" if none."""
        if not self._range.is_whole or self._range.low == self._range.high:
            return ""
        return self._range.find_date_format() or ""

    def _parse(self, array: pa.Array, row: int) -> NDArray[np.float64] | None:
        """Return the values of a batch, float64 `(n,)`; None for a category.

        At the first odd value, a column whose kind is inferred becomes a category.
        """
        if self.kind is None or self.kind == "category":
            return None
        parse = self._select_parser(array)
        values = parse(array)
        if values is None:
            index, text = find_first_refused(array, parse)
            if self._rule.kind is not None:
                refuse_value(self._source, self._rule, text, self._name_row(row + index))
            self.odd_value = OddValue(self.kind, text, row + index)
            self.kind = "category"
        return values

    def _select_parser(self, array: pa.Array) -> Parser:
        """Return the parser for the kind of the column; for dates, by the batch that is next."""
        assert self.kind is not None  # noqa: S101
        parse = select_parser(self._rule, self.kind)
        if self.kind != "date" or self._rule.kind is None:
            return parse
        numbers = select_parser(self._rule, "number")
        if self._rule.format == ISO8601 and self._range.is_empty:
            self._has_numeric_dates = parse(array) is None and numbers(array) is not None
        return numbers if self._has_numeric_dates else parse

    def _add_values(self, array: pa.Array, values: NDArray[np.float64], row: int) -> None:
        """Take in the parsed values of a batch, float64 `(n,)`, NaN for a gap."""
        numbers = values[~np.isnan(values)]
        if not numbers.size:
            return
        self._range.add(numbers)
        if not self._example and pa.types.is_string(array.type):
            first = int(np.isnan(values).argmin())
            self._example = canonicalize_text(array[first].as_py())
        has_infinity = isinf(self._range.low) or isinf(self._range.high)
        if has_infinity and not self._infinite_value:
            index = int(np.isinf(values).argmax())
            self._infinite_value = str(array[index].as_py()).strip(), row + index
        if self._precision is not None and self.kind in NUMBER_KINDS:
            self._precision.add(numbers)
            if self._rule.kind is None and not self._zero_padded_text:
                self._zero_padded_text = find_zero_padded(array)

    def _add_distinct(self, array: pa.Array, row: int) -> None:
        """Take in the distinct values of a batch, and refuse too many texts of a category."""
        unique = array.unique()
        if not pa.types.is_string(array.type):
            unique = to_texts(unique)
        self._distinct = pa.concat_arrays([self._distinct, unique]).unique()
        if self.kind == "category" and not self._rule.is_group:
            last_row = row + len(array) - 1
            check_category(self._source, self._rule, self._distinct, self.odd_value, last_row)
        elif len(self._distinct) > MAX_COUNTED_VALUES:
            self.has_uncounted_values = True
            self._distinct = pa.array(self._get_texts()[:1].to_pylist())  # kept as an example

    def _get_texts(self) -> pa.Array:
        """Return the distinct texts of the column, without gaps."""
        return to_texts(self._distinct, self._rule.gaps).drop_null().unique()

    def _find_example(self) -> str:
        """Return the first text of a column of numbers or dates; "" if it has no value."""
        start, size = 0, FIRST_EXAMPLES
        while not self._example and start < len(self._distinct):
            texts = to_texts(self._distinct.slice(start, size), self._rule.gaps).drop_null()
            self._example = str(texts[0].as_py()) if len(texts) else ""
            start, size = start + size, FIRST_EXAMPLES * size
        return self._example

    def _name_row(self, row: int) -> str:
        (row_name,) = self._source.name_rows(row)
        return row_name
