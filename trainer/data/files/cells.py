"""Cells: texts, and Arrow's types, as numbers, truth values, dates and codes.

Each function takes a column of a batch, `(n,)`, and gives None if some value is none of its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from serving.bundle import GAPS, seconds_of_ticks
from trainer.data.files.numerals import to_points
from trainer.data.preprocess.dates import FIRST, LAST
from trainer.data.records import MISSING, Kind

ZONED = r"[T ].*(Z|[+-]\d{2}(:?\d{2})?)$"
MICROSECONDS = r"(\.\d{6})\d+"  # with finer digits after them, which no float64 would hold
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # a second
DAY = 86_400  # seconds


def texts(array: pa.Array) -> pa.Array:
    """As strings without spaces around them; a gap is null."""
    trimmed = pc.utf8_trim_whitespace(array.cast(pa.string()))
    gap = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(GAPS))
    return pc.if_else(gap, pa.scalar(None, pa.string()), trimmed)


def numbers(array: pa.Array, decimal: str | None = None) -> NDArray[np.float64] | None:
    """As float64, NaN for a gap; of texts with the decimal sign that is said, else with a point."""
    kind = array.type
    if pa.types.is_string(kind):
        array = array if decimal is None else to_points(array, decimal)
        parsed = _cast(array, pa.float64())  # most often there is nothing to trim
        return _floats(_cast(texts(array), pa.float64()) if parsed is None else parsed)
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    ):
        return _floats(array.cast(pa.float64(), safe=False))
    return None


def truths(array: pa.Array) -> NDArray[np.float64] | None:
    """True and false, in any case, as 1 and 0; NaN for a gap."""
    if pa.types.is_boolean(array.type):
        return numbers(array)
    if not pa.types.is_string(array.type):
        return None
    found = codes(pc.utf8_lower(array), pa.array(["false", "true"]))
    gaps = found == MISSING
    if gaps.any() and texts(array.filter(pa.array(gaps))).null_count < np.count_nonzero(gaps):
        return None
    return np.where(gaps, np.nan, found)


def booleans(array: pa.Array, decimal: str | None = None) -> NDArray[np.float64] | None:
    """Like `truths`, or numbers 1 and 0."""
    found = truths(array)
    if found is None:
        found = numbers(array, decimal)
    return found if found is not None and np.isin(found[~np.isnan(found)], (0, 1)).all() else None


def dates(array: pa.Array) -> NDArray[np.float64] | None:
    """ISO 8601 dates, or dates and times, as seconds since 1970-01-01 UTC; NaN for a gap.

    Those without a zone are taken for UTC.
    """
    kind = array.type
    if pa.types.is_timestamp(kind):
        found = _seconds(array, TICKS[kind.unit])
    elif pa.types.is_date32(kind):
        found = _seconds(array.cast(pa.int32()), 1) * DAY
    elif pa.types.is_date64(kind):
        found = _seconds(array, TICKS["ms"])
    elif pa.types.is_null(kind):
        return numbers(array)
    else:
        parsed = _parsed_dates(texts(array)) if pa.types.is_string(kind) else None
        if parsed is None:
            return None
        found = parsed
    # Of the years that ISO 8601 writes with four digits.
    outside = (found < FIRST) | (found >= LAST + 1)
    return None if outside.any() else found


def codes(array: pa.Array, words: pa.Array) -> NDArray[np.int32]:
    """The places of texts among `words`; `MISSING` for a gap, and for what is not among them."""
    encoded = array.cast(pa.string()).dictionary_encode()
    places = pc.index_in(texts(encoded.dictionary), value_set=words)
    table = places.fill_null(MISSING).to_numpy(zero_copy_only=False)
    found: NDArray[np.int32] = np.append(table, np.int32(MISSING))[_indices(encoded)]
    return found


def missing(array: pa.Array) -> NDArray[np.bool_]:
    """Where there are gaps."""
    encoded = array.cast(pa.string()).dictionary_encode()
    gaps = texts(encoded.dictionary).is_null().to_numpy(zero_copy_only=False)
    found: NDArray[np.bool_] = np.append(gaps, True)[_indices(encoded)]
    return found


Parser = Callable[[pa.Array], NDArray[np.float64] | None]
PARSERS: dict[Kind, Parser] = {
    "number": numbers,
    "boolean": booleans,
    "date": dates,
}


def parsers(decimal: str | None) -> dict[Kind, Parser]:
    """Return the functions of `PARSERS`, which read numbers with the decimal sign that is said."""
    if decimal is None:
        return PARSERS
    signed: dict[Kind, Parser] = {
        "number": partial(numbers, decimal=decimal),
        "boolean": partial(booleans, decimal=decimal),
    }
    return PARSERS | signed


def first_odd(
    array: pa.Array, parse: Callable[[pa.Array], NDArray[np.float64] | None]
) -> tuple[int, str]:
    """The place and the text of the first value that `parse` refuses; there is one."""
    low, high = 0, len(array)  # the first `low` are well; among the first `high` one is not
    while high - low > 1:
        middle = (low + high) // 2
        if parse(array.slice(low, middle - low)) is None:
            high = middle
        else:
            low = middle
    return low, str(array[low].as_py()).strip()


def _parsed_dates(array: pa.Array) -> NDArray[np.float64] | None:
    written = pc.replace_substring_regex(array, MICROSECONDS, r"\1")
    zoned, nothing = pc.match_substring_regex(written, ZONED), pa.scalar(None, pa.string())
    here = _cast(pc.if_else(zoned, nothing, written), pa.timestamp("us"))
    if here is None:
        return None
    there = _cast(pc.if_else(zoned, written, nothing), pa.timestamp("us", "UTC"))
    if there is None:
        return None
    return _seconds(pc.coalesce(here.cast(pa.int64()), there.cast(pa.int64())), TICKS["us"])


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
    found = seconds_of_ticks(counted.fill_null(0).to_numpy(), per_second)
    gaps: NDArray[np.bool_] = counted.is_null().to_numpy(zero_copy_only=False)
    return np.where(gaps, np.nan, found)
