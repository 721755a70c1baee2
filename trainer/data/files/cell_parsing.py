"""Cells: texts, and Arrow's types, as numbers, truth values, dates and codes.

Each function takes a column of a batch, `(n,)`, and gives None if some value is none of its kind.
Those called `gaps` are the texts that stand for a gap, in lower case, beside the empty one.
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
    ISO8601,
    TRUTH_TEXTS,
    TRUTH_WORD_PAIRS,
    are_gap_numbers,
    are_truth_numbers,
    parse_date_text,
    resolve_gap_numbers,
    resolve_gap_texts,
    ticks_to_seconds,
    to_nfc,
)
from trainer.data.files.date_numbers import NUMERIC, numbers_to_dates
from trainer.data.files.cell_texts import to_points
from trainer.data.preprocess.dates import FIRST, LAST
from trainer.data.records import MISSING, Kind

ZONED = r"[T ].*(Z|[+-]\d{2}(:?\d{2})?)$"
MICROSECONDS = r"(\.\d{6})\d+"  # with finer digits after them, which no float64 would hold
FRACTIONLESS = r"^(-?(?:0|[1-9][0-9]*))\.0+$"
ZERO_PADDED = r"^0\d{2,}\s*$"  # two digits are often months or hours
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # a second
DAY = 86_400  # seconds
ISO_TEXT = r"^\d{4}-|^\d{8}T"  # what begins as ISO 8601 writes a date that is no number
BASIC_TIMES = (  # ISO 8601's basic form of dates and times, and what the extended form makes of it
    (r"^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})", r"\1-\2-\3T\4:\5:\6"),
    (r"^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})", r"\1-\2-\3T\4:\5"),
)
SPELLED = {word: truth for pair in TRUTH_WORD_PAIRS for word, truth in pair.items()}
MOST_SPELLINGS = 16  # of two words in upper and lower case; more different texts are no truths


def texts(array: pa.Array, gaps: Collection[str] = DEFAULT_GAP_TEXTS) -> pa.Array:
    """As strings in the one spelling of `canonical_text`, of numbers too; a gap is null.

    A number that is no text in the file is written as Python writes it.
    """
    if pa.types.is_floating(array.type):
        array = _spelled(array)
    elif not pa.types.is_string(array.type):
        gaps = ()  # the texts of other types are values
    trimmed = trim(array, gaps)
    if pc.any(pc.invert(pc.string_is_ascii(trimmed))).as_py():
        trimmed = pa.array(
            [None if t is None else to_nfc(t) for t in trimmed.to_pylist()], pa.string()
        )
    whole = pc.replace_substring_regex(trimmed, FRACTIONLESS, r"\1")
    return pc.if_else(pc.equal(whole, "-0"), "0", whole)


def trim(array: pa.Array, gaps: Collection[str] = DEFAULT_GAP_TEXTS) -> pa.Array:
    """As strings without spaces around them, else as they are written; a gap is null."""
    trimmed = pc.utf8_trim_whitespace(array.cast(pa.string()))
    return pc.if_else(_are_gaps(trimmed, gaps), pa.scalar(None, pa.string()), trimmed)


def spelled_gaps(array: pa.Array, gaps: Collection[str]) -> pa.Array:
    """The cells, as they are written, whose texts stand for a gap; those that are empty are not."""
    if not gaps or not pa.types.is_string(array.type):
        return pa.array([], pa.string())
    trimmed = pc.utf8_trim_whitespace(array)
    words = pc.and_(_are_gaps(trimmed, gaps), pc.not_equal(trimmed, ""))
    return trimmed.filter(words.fill_null(False))


def numbers(
    array: pa.Array, gaps: Collection[str] = DEFAULT_GAP_TEXTS, decimal: str | None = None
) -> NDArray[np.float64] | None:
    """As float64, NaN for a gap; of texts with the decimal sign that is said, else with a point."""
    kind = array.type
    if pa.types.is_string(kind):
        if decimal is not None:  # gaps first: a word such as "n.a." has a point of its own
            array = to_points(trim(array, gaps), decimal)
        parsed = _cast(array, pa.float64())  # most often there is nothing to trim
        if parsed is None:
            parsed = _cast(trim(array, gaps), pa.float64())
        return _without(_floats(parsed), gaps)
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    ):
        found = _floats(array.cast(pa.float64(), safe=False))
        return found if pa.types.is_boolean(kind) else _without(found, gaps, array)
    return None


def truths(
    array: pa.Array, gaps: Collection[str] = DEFAULT_GAP_TEXTS
) -> NDArray[np.float64] | None:
    """True and false, in any case, as 1 and 0; NaN for a gap."""
    if pa.types.is_boolean(array.type):
        return numbers(array)
    if not pa.types.is_string(array.type):
        return None
    found = codes(pc.utf8_lower(array), pa.array(list(TRUTH_TEXTS)), gaps)
    others = found == MISSING
    if others.any():
        left = trim(array.filter(pa.array(others)), gaps)
        if left.null_count < np.count_nonzero(others):
            return None
    # The last is of a code that is none.
    values: NDArray[np.float64] = np.array([*TRUTH_TEXTS.values(), np.nan])[found]
    return values


def booleans(
    array: pa.Array,
    gaps: Collection[str] = DEFAULT_GAP_TEXTS,
    decimal: str | None = None,
    *,
    truths: Mapping[str, bool] = MappingProxyType({}),
) -> NDArray[np.float64] | None:
    """True and false, also as numbers or as texts in any case, as 1 and 0; NaN for a gap.

    Args:
        array: Column of a batch, `(n,)`.
        gaps: Texts that stand for a gap.
        decimal: Decimal sign of numbers in texts.
        truths: Truth value of each text, in lower case, beside those of `TRUTH_TEXTS`.
    """
    if not pa.types.is_string(array.type):
        found = numbers(array)
    else:
        meaning = {**TRUTH_TEXTS, **truths}
        coded = codes(pc.utf8_lower(array), pa.array(list(meaning), pa.string()), gaps)
        spelled = coded != MISSING
        plain = pc.if_else(pa.array(spelled), pa.scalar(None, pa.string()), array)
        rest = numbers(plain, gaps, decimal)
        if rest is None:
            return None
        # The last is of a code that is none, and is not taken.
        found = np.where(spelled, np.array([*meaning.values(), np.nan])[coded], rest)
    if found is None or not are_truth_numbers(found[~np.isnan(found)]).all():
        return None
    return found.astype(np.float32).astype(np.float64)  # 1 or 0 exactly


def truths_of(texts: Collection[str]) -> dict[str, bool]:
    """Return what texts mean if they are the two words of one pair, such as Y and N, in any case.

    One word of a pair alone says nothing: it could as well be one of many categories.
    """
    words = {text.lower() for text in texts} if len(texts) <= MOST_SPELLINGS else set()
    return next((pair for pair in TRUTH_WORD_PAIRS if words == set(pair)), {})


def dates(
    array: pa.Array,
    gaps: Collection[str] = DEFAULT_GAP_TEXTS,
    format: str = ISO8601,  # noqa: A002
    decimal: str | None = None,
) -> NDArray[np.float64] | None:
    """Dates, or dates and times, as seconds since 1970-01-01 UTC; NaN for a gap.

    Those without a zone are taken for UTC.

    Args:
        array: Column of a batch, `(n,)`.
        gaps: Texts that stand for a gap.
        format: Date format of the texts; others are read as ISO 8601.
        decimal: Decimal sign of texts of numbers, where the format is one of numbers.
    """
    kind = array.type
    if format in NUMERIC and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        if resolve_gap_numbers(gaps):
            array = pc.if_else(
                pa.array(np.isnan(cast(NDArray[np.float64], numbers(array, gaps)))),
                pa.scalar(None, array.type),
                array,
            )
        return numbers_to_dates(array, format)
    if pa.types.is_timestamp(kind):
        found = _seconds(array, TICKS[kind.unit])
    elif pa.types.is_date32(kind):
        found = _seconds(array.cast(pa.int32()), 1) * DAY
    elif pa.types.is_date64(kind):
        found = _seconds(array, TICKS["ms"])
    elif pa.types.is_null(kind):
        return numbers(array)
    else:
        if not pa.types.is_string(kind):
            return None
        array = trim(array, gaps)
        if decimal is not None and format in NUMERIC:
            array = trim(pointed(array, decimal), gaps)
        parsed = _texts_as_dates(array, format)
        if parsed is None:
            return None
        found = parsed
    # Of the years that ISO 8601 writes with four digits.
    outside = (found < FIRST) | (found >= LAST + 1)
    return None if outside.any() else found


def codes(
    array: pa.Array, words: pa.Array, gaps: Collection[str] = DEFAULT_GAP_TEXTS
) -> NDArray[np.int32]:
    """The places of texts among `words`; `MISSING` for a gap, and for what is not among them."""
    coded = encoded(array)
    places = pc.index_in(texts(coded.dictionary, gaps), value_set=words)
    table = places.fill_null(MISSING).to_numpy(zero_copy_only=False)
    found: NDArray[np.int32] = np.append(table, np.int32(MISSING))[_indices(coded)]
    return found


def missing(array: pa.Array, gaps: Collection[str] = DEFAULT_GAP_TEXTS) -> NDArray[np.bool_]:
    """Where there are gaps."""
    coded = encoded(array)
    nulls = texts(coded.dictionary, gaps).is_null().to_numpy(zero_copy_only=False)
    found: NDArray[np.bool_] = np.append(nulls, True)[_indices(coded)]
    return found


class Typed(Protocol):
    """What is known of how a column's values are written; `Column` and `Inferred` are such."""

    @property
    def kind(self) -> Kind:
        """What the values are."""

    @property
    def texts(self) -> Mapping[str, bool]:
        """Texts that mean true or false."""

    @property
    def format(self) -> str:
        """How dates are written."""


Parser = Callable[[pa.Array], NDArray[np.float64] | None]


def parser(
    column: Typed, gaps: Collection[str] = DEFAULT_GAP_TEXTS, decimal: str | None = None
) -> Parser:
    """Return what reads the values of a column; of a category there is nothing to parse.

    Args:
        column: The column.
        gaps: Texts that stand for a gap, in lower case, beside the empty one.
        decimal: Decimal sign of numbers in texts; None for a plain point.
    """
    match column.kind:
        case "boolean":
            return partial(booleans, gaps=gaps, decimal=decimal, truths=column.texts)
        case "date":
            return partial(dates, gaps=gaps, format=column.format, decimal=decimal)
        case _:
            return partial(numbers, gaps=gaps, decimal=decimal)


def first_zero_padded(array: pa.Array) -> str:
    """Return the first text of three digits or more that begins with 0, such as `01234`, or ""."""
    if not pa.types.is_string(array.type):
        return ""
    # Few numbers begin with 0, so that the pattern is matched with few of them.
    candidates = array.filter(pc.starts_with(array, "0"))
    found = candidates.filter(pc.match_substring_regex(candidates, ZERO_PADDED))
    return str(found[0].as_py()).strip() if len(found) else ""


def first_odd(array: pa.Array, parse: Parser) -> tuple[int, str]:
    """The place and the text of the first value that `parse` refuses; there is one."""
    low, high = 0, len(array)  # the first `low` are well; among the first `high` one is not
    while high - low > 1:
        middle = (low + high) // 2
        if parse(array.slice(low, middle - low)) is None:
            high = middle
        else:
            low = middle
    return low, describe_value(array, low)


def describe_value(array: pa.Array, place: int) -> str:
    """Return a value as text for a message; Python has no object for some dates of Arrow."""
    try:
        return str(array[place].as_py()).strip()
    except (ValueError, OverflowError):
        return str(array[place].value)  # the number of days or ticks since 1970


def _texts_as_dates(array: pa.Array, format: str) -> NDArray[np.float64] | None:  # noqa: A002
    if format == ISO8601:
        return _parsed_dates(array)
    if format in NUMERIC:
        return _numeric_texts_as_dates(array, format)
    encoded = array.dictionary_encode()
    found = [_as_written(text, format) for text in encoded.dictionary.to_pylist()]
    if None in found:
        return None
    table: NDArray[np.float64] = np.array([*found, np.nan])
    return table[_indices(encoded)]


@lru_cache(2**16)
def _as_written(text: str, format: str) -> float | None:  # noqa: A002
    """As the server reads it: by the column's format, or else by ISO 8601."""
    seconds = parse_date_text(text, format)
    return parse_date_text(text, ISO8601) if seconds is None else seconds


def _numeric_texts_as_dates(array: pa.Array, format: str) -> NDArray[np.float64] | None:  # noqa: A002
    iso, nothing = pc.match_substring_regex(array, ISO_TEXT), pa.scalar(None, pa.string())
    others = numbers_to_dates(pc.if_else(iso, nothing, array), format)
    texts_of_iso = _parsed_dates(pc.if_else(iso, array, nothing))
    if texts_of_iso is None or others is None:
        return None
    return np.where(np.isnan(others), texts_of_iso, others)


def _parsed_dates(array: pa.Array) -> NDArray[np.float64] | None:
    for basic, extended in BASIC_TIMES:
        if pc.any(pc.match_substring_regex(array, basic)).as_py():
            array = pc.replace_substring_regex(array, basic, extended)
    written = pc.replace_substring_regex(array, MICROSECONDS, r"\1")
    zoned, nothing = pc.match_substring_regex(written, ZONED), pa.scalar(None, pa.string())
    here = _cast(pc.if_else(zoned, nothing, written), pa.timestamp("us"))
    if here is None:
        return None
    there = _cast(pc.if_else(zoned, written, nothing), pa.timestamp("us", "UTC"))
    if there is None:
        return None
    return _seconds(pc.coalesce(here.cast(pa.int64()), there.cast(pa.int64())), TICKS["us"])


def _without(
    values: NDArray[np.float64] | None, gaps: Collection[str], array: pa.Array | None = None
) -> NDArray[np.float64] | None:
    """Values, with NaN for numbers that stand for a gap, as they are in a column of numbers."""
    numbers = resolve_gap_numbers(gaps)
    if values is None or not numbers:
        return values
    single = array is not None and array.type in (pa.float16(), pa.float32())
    return np.where(
        are_gap_numbers(values.astype(np.float32) if single else values, numbers), np.nan, values
    )


def pointed(array: pa.Array, decimal: str) -> pa.Array:
    """Texts of numbers with a point as decimal sign; what is written as ISO 8601 stays."""
    return pc.if_else(pc.match_substring_regex(array, ISO_TEXT), array, to_points(array, decimal))


def _are_gaps(trimmed: pa.Array, gaps: Collection[str]) -> pa.Array:
    words = pa.array(sorted(resolve_gap_texts(gaps)), pa.string())
    lower = pc.utf8_lower(trimmed)
    if resolve_gap_numbers(gaps):
        lower = pc.replace_substring_regex(lower, FRACTIONLESS, r"\1")
    if not all(map(str.isascii, gaps)):
        lower = pc.utf8_normalize(lower, form="NFC")
    return pc.is_in(lower, value_set=words)


def _spelled(array: pa.Array) -> pa.Array:
    """Floats as Python writes them, with the fewest digits that read back as the same."""
    values = array.to_numpy(zero_copy_only=False)  # NaN for a null
    return pa.array(values.astype(np.str_), pa.string(), mask=np.isnan(values))


def encoded(array: pa.Array) -> pa.DictionaryArray:
    """Each value once, floats as they are and others as texts, and where it is."""
    known = pa.types.is_string(array.type) or pa.types.is_floating(array.type)
    return (array if known else array.cast(pa.string())).dictionary_encode()


def _indices(encoded: pa.DictionaryArray) -> NDArray[np.int32]:
    """Where each value is in the dictionary; that of a null is −1, the last of what is appended."""
    found: NDArray[np.int32] = encoded.indices.fill_null(-1).to_numpy()
    return found


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array | None:
    try:
        return array.cast(kind)
    except pa.ArrowInvalid:
        return None


def _floats(array: pa.Array | None) -> NDArray[np.float64] | None:
    if array is None:
        return None
    values: NDArray[np.float64] = array.to_numpy(zero_copy_only=False)
    return values


def _seconds(ticks: pa.Array, per_second: int) -> NDArray[np.float64]:
    counted = ticks.cast(pa.int64())
    found = ticks_to_seconds(counted.fill_null(0).to_numpy(), per_second)
    gaps: NDArray[np.bool_] = counted.is_null().to_numpy(zero_copy_only=False)
    return np.where(gaps, np.nan, found)
