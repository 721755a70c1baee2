"""Parse the cells of a column as numbers, truth values or dates.

Each parser takes a column of a batch, `(n,)`, and returns float64 `(n,)` with NaN for a gap, or
None if the column has a value that it cannot parse. `gaps` are the lower-case texts that stand for
a gap; the empty text always does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from serving.bundle import (
    DEFAULT_GAP_TEXTS,
    END_DATE_SECONDS,
    ISO8601,
    MIN_DATE_SECONDS,
    TRUTH_TEXTS,
    TRUTH_WORD_PAIRS,
    are_gap_numbers,
    are_truth_numbers,
    parse_date_text,
    ticks_to_seconds,
)
from trainer.data.files.cell_texts import (
    ISO8601_TEXT,
    describe_cell,
    get_indices,
    replace_decimal_sign,
    replace_decimal_sign_of_numbers,
    resolve_gaps,
    to_codes,
    trim_texts,
)
from trainer.data.files.date_formats import NUMERIC_FORMATS, convert_numbers_to_dates
from trainer.data.records import MISSING, Kind

TICKS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
SECONDS_PER_DAY = 86_400
ZONED_TIME = r"[T ].*(Z|[+-]\d{2}(:?\d{2})?)$"
# Digits after the microseconds are dropped: float64 could not represent them.
MICROSECONDS = r"(\.\d{6})\d+"
# ISO 8601's basic form of dates and times, and its replacement by the extended form.
BASIC_TIMES = (
    (r"^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})", r"\1-\2-\3T\4:\5:\6"),
    (r"^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})", r"\1-\2-\3T\4:\5"),
)
TRUTH_WORDS = {word: truth for pair in TRUTH_WORD_PAIRS for word, truth in pair.items()}
MAX_TRUTH_SPELLINGS = 16  # two words in upper and lower case hardly have more spellings
MAX_CACHED_DATES = 2**16

Parser = Callable[[pa.Array], NDArray[np.float64] | None]


class TypedColumn(Protocol):
    """A column whose kind and spelling are known: a `Column` or a `ColumnProfile`."""

    @property
    def kind(self) -> Kind:
        """Kind of the values."""

    @property
    def texts(self) -> Mapping[str, bool]:
        """Truth value of each lower-case text that means true or false."""

    @property
    def format(self) -> str:
        """Date format of texts."""


def create_parser(
    column: TypedColumn, gaps: Collection[str] = DEFAULT_GAP_TEXTS, decimal: str | None = None
) -> Parser:
    """Return the parser for a column, which must not be one of categories.

    Args:
        column: The column.
        gaps: Lower-case texts that stand for a gap.
        decimal: Decimal sign of numbers in texts; None for a plain point.
    """
    match column.kind:
        case "boolean":
            return partial(parse_booleans, gaps=gaps, decimal=decimal, truths=column.texts)
        case "date":
            return partial(parse_dates, gaps=gaps, format=column.format, decimal=decimal)
        case _:
            return partial(parse_numbers, gaps=gaps, decimal=decimal)


def find_first_refused(array: pa.Array, parse: Parser) -> tuple[int, str]:
    """Return the index and the text of the first cell that a parser refuses.

    Args:
        array: Column of a batch with at least one such cell, `(n,)`.
        parse: The parser.
    """
    # The first `low` cells can be parsed; one of the first `high` cells cannot.
    low, high = 0, len(array)
    while high - low > 1:
        middle = (low + high) // 2
        if parse(array.slice(low, middle - low)) is None:
            high = middle
        else:
            low = middle
    return low, describe_cell(array, low)


def parse_numbers(
    array: pa.Array, gaps: Collection[str] = DEFAULT_GAP_TEXTS, decimal: str | None = None
) -> NDArray[np.float64] | None:
    """Parse numbers, and texts of numbers.

    Args:
        array: Column of a batch, `(n,)`. Booleans are 1 and 0; dates are not numbers.
        gaps: Lower-case texts that stand for a gap, and so do the numbers among them.
        decimal: Decimal sign of numbers in texts; None for a plain point.
    """
    arrow_type = array.type
    if pa.types.is_string(arrow_type):
        if decimal is not None:  # gaps first: a text such as "n.a." has a point of its own
            array = replace_decimal_sign(trim_texts(array, gaps), decimal)
        floats = try_cast(array, pa.float64())  # most often there is nothing to trim
        if floats is None:
            floats = try_cast(trim_texts(array, gaps), pa.float64())
            if floats is None:
                return None
        return _replace_gap_numbers(floats.to_numpy(zero_copy_only=False), gaps)
    if (
        pa.types.is_integer(arrow_type)
        or pa.types.is_floating(arrow_type)
        or pa.types.is_decimal(arrow_type)
        or pa.types.is_boolean(arrow_type)
        or pa.types.is_null(arrow_type)
    ):
        floats = array.cast(pa.float64(), safe=False)
        numbers: NDArray[np.float64] = floats.to_numpy(zero_copy_only=False)
        if pa.types.is_boolean(arrow_type):
            return numbers
        is_short = arrow_type in (pa.float16(), pa.float32())
        return _replace_gap_numbers(numbers, gaps, is_short=is_short)
    return None


def parse_truth_texts(
    array: pa.Array, gaps: Collection[str] = DEFAULT_GAP_TEXTS
) -> NDArray[np.float64] | None:
    """Parse booleans, and the texts `true` and `false` in any case, as 1 and 0."""
    if pa.types.is_boolean(array.type):
        return parse_numbers(array)
    if not pa.types.is_string(array.type):
        return None
    codes = to_codes(pc.utf8_lower(array), pa.array(list(TRUTH_TEXTS)), gaps)
    is_other = codes == MISSING
    if is_other.any():
        others = trim_texts(array.filter(pa.array(is_other)), gaps)
        if others.null_count < np.count_nonzero(is_other):
            return None
    # `MISSING`, which is −1, selects the last element.
    values: NDArray[np.float64] = np.array([*TRUTH_TEXTS.values(), np.nan])[codes]
    return values


def parse_booleans(
    array: pa.Array,
    gaps: Collection[str] = DEFAULT_GAP_TEXTS,
    decimal: str | None = None,
    *,
    truths: Mapping[str, bool] = MappingProxyType({}),
) -> NDArray[np.float64] | None:
    """Parse truth values, written as booleans, as the numbers 1 and 0, or as texts in any case.

    Args:
        array: Column of a batch, `(n,)`.
        gaps: Lower-case texts that stand for a gap.
        decimal: Decimal sign of numbers in texts; None for a plain point.
        truths: Truth value of each lower-case text that is not one of `TRUTH_TEXTS`.
    """
    if not pa.types.is_string(array.type):
        values = parse_numbers(array)
    else:
        all_truths = {**TRUTH_TEXTS, **truths}
        codes = to_codes(pc.utf8_lower(array), pa.array(list(all_truths), pa.string()), gaps)
        is_word = codes != MISSING
        others = pc.if_else(pa.array(is_word), pa.scalar(None, pa.string()), array)
        numbers = parse_numbers(others, gaps, decimal)
        if numbers is None:
            return None
        # The code `MISSING` selects the last element, which `where` then ignores.
        values = np.where(is_word, np.array([*all_truths.values(), np.nan])[codes], numbers)
    if values is None or not are_truth_numbers(values[~np.isnan(values)]).all():
        return None
    return values.astype(np.float32).astype(np.float64)  # exactly 1 or 0


def match_truth_pair(texts: Collection[str]) -> dict[str, bool]:
    """Return the truth values of texts that are the two words of one pair, such as Y and N.

    One word of a pair alone is not enough: it could as well be one of many categories.

    Args:
        texts: All distinct texts of a column, in any case.

    Returns:
        Truth value of each lower-case word; empty if the texts are not a pair.
    """
    words = {text.lower() for text in texts} if len(texts) <= MAX_TRUTH_SPELLINGS else set()
    return next((pair for pair in TRUTH_WORD_PAIRS if words == set(pair)), {})


def parse_dates(
    array: pa.Array,
    gaps: Collection[str] = DEFAULT_GAP_TEXTS,
    format: str = ISO8601,  # noqa: A002
    decimal: str | None = None,
) -> NDArray[np.float64] | None:
    """Parse dates, or dates and times, as seconds since 1970-01-01 UTC.

    A time without a zone is in UTC.

    Args:
        array: Column of a batch, `(n,)`: texts, timestamps or dates; numbers only if the format is
            one of numbers.
        gaps: Lower-case texts that stand for a gap.
        format: Date format of the texts; texts that do not match it are parsed as ISO 8601.
        decimal: Decimal sign of texts of numbers, where the format is one of numbers.
    """
    arrow_type = array.type
    is_number = pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type)
    if format in NUMERIC_FORMATS and is_number:
        if resolve_gaps(frozenset(gaps))[1]:
            numbers = cast(NDArray[np.float64], parse_numbers(array, gaps))
            array = pc.if_else(pa.array(np.isnan(numbers)), pa.scalar(None, arrow_type), array)
        return convert_numbers_to_dates(array, format)
    if pa.types.is_null(arrow_type):
        return parse_numbers(array)
    if pa.types.is_string(arrow_type):
        texts = trim_texts(array, gaps)
        if decimal is not None and format in NUMERIC_FORMATS:
            texts = trim_texts(replace_decimal_sign_of_numbers(texts, decimal), gaps)
        seconds = _parse_date_texts(texts, format)
    else:
        seconds = _convert_typed_dates(array)
    if seconds is None:
        return None
    # ISO 8601 writes only years of four digits.
    is_outside = (seconds < MIN_DATE_SECONDS) | (seconds >= END_DATE_SECONDS)
    return None if is_outside.any() else seconds


def _convert_typed_dates(array: pa.Array) -> NDArray[np.float64] | None:
    """Return Arrow's timestamps and dates in seconds; None for any other type."""
    arrow_type = array.type
    if pa.types.is_timestamp(arrow_type):
        return _to_seconds(array, TICKS_PER_SECOND[arrow_type.unit])
    if pa.types.is_date32(arrow_type):
        return _to_seconds(array.cast(pa.int32()), 1) * SECONDS_PER_DAY
    if pa.types.is_date64(arrow_type):
        return _to_seconds(array, TICKS_PER_SECOND["ms"])
    return None


def _parse_date_texts(array: pa.Array, format: str) -> NDArray[np.float64] | None:  # noqa: A002
    """Return trimmed texts in seconds, NaN for a null; None if one of them is not a date."""
    if format == ISO8601:
        return _parse_iso8601_texts(array)
    if format in NUMERIC_FORMATS:
        return _parse_numeric_date_texts(array, format)
    dictionary_array = array.dictionary_encode()
    unique_texts = dictionary_array.dictionary.to_pylist()
    seconds = [_parse_formatted_date(text, format) for text in unique_texts]
    if None in seconds:
        return None
    table: NDArray[np.float64] = np.array([*seconds, np.nan])
    return table[get_indices(dictionary_array)]


@lru_cache(MAX_CACHED_DATES)
def _parse_formatted_date(text: str, format: str) -> float | None:  # noqa: A002
    """Return a text in seconds as the server reads it: by the column's format, else ISO 8601."""
    seconds = parse_date_text(text, format)
    return parse_date_text(text, ISO8601) if seconds is None else seconds


def _parse_numeric_date_texts(array: pa.Array, format: str) -> NDArray[np.float64] | None:  # noqa: A002
    """Return texts of numbers by a format of numbers, and texts of ISO 8601, in seconds."""
    is_iso8601, null = pc.match_substring_regex(array, ISO8601_TEXT), pa.scalar(None, pa.string())
    from_numbers = convert_numbers_to_dates(pc.if_else(is_iso8601, null, array), format)
    from_iso8601 = _parse_iso8601_texts(pc.if_else(is_iso8601, array, null))
    if from_iso8601 is None or from_numbers is None:
        return None
    return np.where(np.isnan(from_numbers), from_iso8601, from_numbers)


def _parse_iso8601_texts(array: pa.Array) -> NDArray[np.float64] | None:
    """Return texts of ISO 8601 in seconds; None if one of them is not a date."""
    for basic, extended in BASIC_TIMES:
        if pc.any(pc.match_substring_regex(array, basic)).as_py():
            array = pc.replace_substring_regex(array, basic, extended)
    texts = pc.replace_substring_regex(array, MICROSECONDS, r"\1")
    # Arrow casts texts with a zone and texts without one to different types.
    has_zone, null = pc.match_substring_regex(texts, ZONED_TIME), pa.scalar(None, pa.string())
    local_times = try_cast(pc.if_else(has_zone, null, texts), pa.timestamp("us"))
    if local_times is None:
        return None
    zoned_times = try_cast(pc.if_else(has_zone, texts, null), pa.timestamp("us", "UTC"))
    if zoned_times is None:
        return None
    ticks = pc.coalesce(local_times.cast(pa.int64()), zoned_times.cast(pa.int64()))
    return _to_seconds(ticks, TICKS_PER_SECOND["us"])


def _replace_gap_numbers(
    values: NDArray[np.float64], gaps: Collection[str], *, is_short: bool = False
) -> NDArray[np.float64]:
    """Return numbers with NaN for those that stand for a gap, such as -999.

    Args:
        values: Numbers, float64 `(n,)`.
        gaps: Lower-case texts that stand for a gap.
        is_short: Whether the file has the numbers in float32 or shorter floats, to whose precision
            the numbers of gaps are rounded before they are compared.
    """
    _, gap_numbers = resolve_gaps(frozenset(gaps))
    if not gap_numbers:
        return values
    numbers = values.astype(np.float32) if is_short else values
    return np.where(are_gap_numbers(numbers, gap_numbers), np.nan, values)


def try_cast(array: pa.Array, arrow_type: pa.DataType) -> pa.Array | None:
    """Return an array in another type; None if a value cannot be converted."""
    try:
        return array.cast(arrow_type)
    except pa.ArrowInvalid:
        return None


def _to_seconds(ticks: pa.Array, per_second: int) -> NDArray[np.float64]:
    """Return counts of ticks since 1970 in seconds, float64 `(n,)`, NaN for a null."""
    counts = ticks.cast(pa.int64())
    seconds = ticks_to_seconds(counts.fill_null(0).to_numpy(), per_second)
    is_null: NDArray[np.bool_] = counts.is_null().to_numpy(zero_copy_only=False)
    return np.where(is_null, np.nan, seconds)
