"""Infer the kind of a column: numbers, truth values, dates or categories.

A column is of a kind if all its values are. It begins as the kind of its first value, and becomes a
category at the first value that is not of this kind. A `ColumnRule` has its options.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, NoReturn

import numpy as np
import pyarrow as pa

from serving.bundle import ISO8601, TRUTH_TEXTS, TRUTH_WORD_PAIRS
from trainer.data.column_names import format_column_option
from trainer.data.files.cell_parsing import (
    TRUTH_WORDS,
    Parser,
    match_truth_pair,
    parse_booleans,
    parse_dates,
    parse_numbers,
    parse_truth_texts,
)
from trainer.data.files.cell_texts import suggest_correction, to_texts
from trainer.data.files.date_formats import DateProposal, propose_date_formats
from trainer.data.files.file_sources import FileSource
from trainer.data.records import Kind
from trainer.data.tables import DataError

MAX_CATEGORY_TEXTS = 100_000  # distinct texts of a category
MAX_CATEGORY_BYTES = 2**24  # bytes of all distinct texts of a category together
MAX_EXAMPLE_CHARACTERS = 40
KIND_NAMES = {
    "number": "numbers",
    "precise": "numbers",
    "boolean": "truth values",
    "date": "ISO 8601 dates",
}


@dataclass(frozen=True)
class ColumnRule:
    """The options that apply to a column.

    Attributes:
        name: Name of the column.
        kind: Kind of the column by an option; None to infer it.
        format: Date format of its texts, if they are dates.
        keep_truth_words: Whether truth values stay texts, as those of a target do.
        keep_texts: Whether texts are categories even if they look like dates or truth values.
        is_group: Whether the column is the group. Any number of distinct texts is allowed then, and
            they are not kept.
        gaps: Lower-case texts that stand for a gap.
        refuse_gap_texts: Whether a text that stands for a gap is an error, since it may be a value.
        decimal: Decimal sign of numbers in texts; None for a plain point.
    """

    name: str
    kind: Kind | None = None
    format: str = ISO8601
    keep_truth_words: bool = False
    keep_texts: bool = False
    is_group: bool = False
    gaps: tuple[str, ...] = ()
    refuse_gap_texts: bool = False
    decimal: str | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether texts are categories whatever they look like."""
        return self.kind is not None or self.keep_texts or self.keep_truth_words or self.is_group


class OddValue(NamedTuple):
    """The first value of a column that is not of the kind of those before it.

    Attributes:
        kind: Kind of the values before it.
        text: The value.
        row: Index of its row, from 0.
    """

    kind: Kind
    text: str
    row: int

    def describe(self, row_name: str) -> str:
        """Return what was expected, and what the row has instead."""
        return f"expected {KIND_NAMES[self.kind]}; got {self.text!r} in {row_name}"


def infer_kind(source: FileSource, rule: ColumnRule, array: pa.Array) -> Kind | None:
    """Return the kind of an array's type, or of its first text; None if it has no value.

    Args:
        source: File of the column, for messages.
        rule: Options of the column.
        array: Column of a batch, `(n,)`.

    Raises:
        DataError: If no kind of column has values of this type.
    """
    arrow_type = array.type
    if pa.types.is_string(arrow_type):
        # Most columns are numbers, which need no conversion of all texts to be recognized.
        numbers = parse_numbers(array, rule.gaps, rule.decimal)
        if numbers is not None and not np.isnan(numbers).all():
            return "number"
        first = to_texts(array.unique(), rule.gaps).drop_null()[:1]
        return _infer_text_kind(rule, first) if len(first) else None
    if pa.types.is_null(arrow_type):
        return None
    if pa.types.is_boolean(arrow_type):
        return "category" if rule.keep_truth_words else "boolean"
    if parse_numbers(array[:0]) is not None:
        return "number"
    if parse_dates(array[:0]) is not None:
        return "date"
    raise DataError(
        f"{source.name}: expected numbers, truth values, text or dates in {rule.name!r}; got "
        f"{arrow_type}; convert it, or leave it out with "
        f"{format_column_option('drop', [rule.name])}"
    )


def _infer_text_kind(rule: ColumnRule, text: pa.Array) -> Kind:
    """Return the kind of a single text, `(1,)`."""
    if text[0].as_py().lower() in TRUTH_TEXTS:
        return "category" if rule.keep_truth_words else "boolean"
    if parse_numbers(text, (), rule.decimal) is not None:
        return "number"
    return "category" if parse_dates(text, ()) is None else "date"


def select_parser(rule: ColumnRule, kind: Kind) -> Parser:
    """Return the parser for the cells of a column of a kind that is not `category`."""
    if kind == "boolean":
        # Ones and zeros are truth values only by an option.
        if rule.kind is None:
            return partial(parse_truth_texts, gaps=rule.gaps)
        return partial(parse_booleans, gaps=rule.gaps, decimal=rule.decimal, truths=TRUTH_WORDS)
    if kind == "date":
        return partial(parse_dates, gaps=rule.gaps, format=rule.format, decimal=rule.decimal)
    return partial(parse_numbers, gaps=rule.gaps, decimal=rule.decimal)


def decide_kind(
    rule: ColumnRule,
    kind: Kind,
    date_format: str,
    texts: Collection[str],
    proposal: DateProposal | None,
) -> tuple[Kind, dict[str, bool], str]:
    """Decide what a column is, once all of its values are known.

    Y and N, and other words in pairs, are truth values. Texts that match exactly one date format
    are dates.

    Args:
        rule: Options of the column.
        kind: Kind as which its values were parsed.
        date_format: Date format by which they were parsed, if they are dates.
        texts: Distinct texts of the column.
        proposal: Date formats that match most of them; None if there is none.

    Returns:
        The kind; the truth value of each lower-case text, except for `true` and `false`; and the
        date format of the texts.
    """
    if kind == "boolean":
        words = {text.lower() for text in texts}
        truths = {
            word: truth
            for pair in TRUTH_WORD_PAIRS
            for word, truth in pair.items()
            if words & set(pair)
        }
        if rule.keep_truth_words and truths:
            return "category", {}, ISO8601  # so that the classes are the words of the file
        return "boolean", truths, ISO8601
    if kind != "category" or rule.is_fixed:
        return kind, {}, date_format
    if truths := match_truth_pair(texts):
        return "boolean", truths, ISO8601
    if proposal and proposal.is_certain:
        return "date", {}, proposal.formats[0]
    return "category", {}, ISO8601


def check_category(
    source: FileSource, rule: ColumnRule, distinct: pa.Array, odd_value: OddValue | None, row: int
) -> None:
    """Refuse too many distinct texts of a category.

    Args:
        source: File of the column.
        rule: Options of the column.
        distinct: Distinct texts of the column, `(n,)`, with those of gaps.
        odd_value: Value because of which it is a category; None if there is none.
        row: Index of the last row that was read.

    Raises:
        DataError: If there are too many of them, or they are too large.
    """
    if len(distinct) <= MAX_CATEGORY_TEXTS and distinct.nbytes <= MAX_CATEGORY_BYTES:
        return
    texts = to_texts(distinct, rule.gaps).drop_null().unique()
    example = texts[-1].as_py()[:MAX_EXAMPLE_CHARACTERS]
    correction = suggest_correction(example)
    advice = f"leave it out with {format_column_option('drop', [rule.name])}"
    if odd_value is not None:
        (odd_row_name,) = source.name_rows(odd_value.row)
        advice += f", or correct it if it is not one: {odd_value.describe(odd_row_name)}"
    proposal = None if rule.is_fixed else propose_date_formats(texts.to_pylist())
    if proposal is not None:
        advice += f"; {proposal.suggest_options(rule.name)}"
    (row_name,) = source.name_rows(row)
    raise DataError(
        f"{source.name}: expected at most {MAX_CATEGORY_TEXTS} different texts in {rule.name!r}, "
        f"of {MAX_CATEGORY_BYTES} bytes together; got more up to {row_name}, such as {example!r}; "
        f"{f'{correction}; or' if correction else 'it looks like an identifier or free text:'} "
        f"{advice}"
    )


def refuse_gap_texts(source: FileSource, rule: ColumnRule, counts: Mapping[str, int]) -> NoReturn:
    """Raise DataError for texts that may be values or stand for gaps.

    Args:
        source: File of the column.
        rule: Options of the column.
        counts: Number of rows with each of the texts.
    """
    listed_counts = ", ".join(f"{text!r} ({count})" for text, count in sorted(counts.items()))
    remedy = (
        "drop those rows"
        if rule.keep_truth_words or rule.is_group
        else "leave those cells empty or name the texts with --missing"
    )
    raise DataError(
        f"{source.name}: expected values, or empty cells for gaps, in {rule.name!r}; got "
        f"{listed_counts}, which may be values or stand for gaps; if they are values, list with "
        f"--missing the texts that do stand for gaps, --missing '' for none; if they are gaps, "
        f"{remedy}"
    )


def refuse_value(source: FileSource, rule: ColumnRule, text: str, row_name: str) -> NoReturn:
    """Raise DataError for a value that is not of the kind that an option gives.

    Args:
        source: File of the column.
        rule: Options of the column, with its kind.
        text: Text of the value.
        row_name: Name of its row.
    """
    assert rule.kind is not None  # noqa: S101
    expected = KIND_NAMES[rule.kind]
    if rule.format != ISO8601:
        expected = f"dates written {rule.format}, or in ISO 8601,"
    raise DataError(
        f"{source.name}: expected {expected} in {rule.name!r}; got {text!r} in {row_name}; "
        f"{suggest_correction(text) or 'correct it or leave that cell empty'}"
    )
