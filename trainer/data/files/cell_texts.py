"""Turn cells into texts, and tell which texts are gaps and how a text writes a number.

A cell is one value of a column of a batch, as the file has it: a text in CSV, a typed value in
Parquet and Arrow. Texts are compared in the spelling of `canonicalize_text`. `gaps` are the
lower-case texts that stand for a missing value; the empty text always does.

Numbers such as `1.234,5` or `12 %` are not read by default. `suggest_correction` names the notation
of such a text, and says what to do. `replace_decimal_sign` converts the numbers of a file whose
decimal sign is known.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from serving.bundle import DEFAULT_GAP_TEXTS, resolve_gap_numbers, resolve_gap_texts, to_nfc
from trainer.data.records import MISSING

# The beginning of a date of ISO 8601, which cannot be a number.
ISO8601_TEXT = r"^\d{4}-|^\d{8}T"
ZERO_FRACTION = r"^(-?(?:0|[1-9][0-9]*))\.0+$"
ZERO_FRACTION_COMMA = r"^(\s*-?(?:0|[1-9][0-9]*)),0+(\s*)$"
# A 0 and at least two more digits: shorter texts such as 01 are often months or hours.
ZERO_PADDED = r"^0\d{2,}\s*$"

MAX_CACHED_GAPS = 64  # distinct sets of gaps that are resolved only once

# Thousands separators: a space (plain, no-break or narrow no-break) or an apostrophe.
SPACES = " \u00a0\u202f"
GROUPS = rf"([{SPACES}]\d{{3}})+|(['’]\d{{3}})+"
NUMBER = rf"(\d{{1,3}}((,\d{{3}})+|(\.\d{{3}})+|{GROUPS})|\d+)([.,]\d+)?"
CURRENCY = r"(\p{Sc}|USD|EUR|GBP|CHF|JPY|CNY|INR|[kK]r\.?|zł|Rs\.?)"


class Notation(NamedTuple):
    """A way to write numbers or dates that is read only by an option, or not at all.

    Attributes:
        description: Noun phrase for messages, such as "a percent sign".
        pattern: Regular expression (RE2) that a whole text in the notation matches.
        remedy: Advice for messages.
    """

    description: str
    pattern: str
    remedy: str


AMBIGUOUS_COMMA = Notation(
    "a comma that may be a decimal sign or a thousands separator",
    r"[+-]?[1-9]\d{0,2},\d{3}",
    "use --decimal , or --decimal . to read it as one or the other",
)
NUMBER_NOTATIONS = (
    Notation("a percent sign", rf"[+-]?{NUMBER}\s?%", "leave the percent signs out of the file"),
    Notation(
        "a currency sign",
        rf"[+-]?{CURRENCY}\s?[+-]?{NUMBER}|[+-]?{NUMBER}\s?{CURRENCY}",
        "leave the currency signs out of the file",
    ),
    Notation(
        "thousands separators",
        rf"[+-]?\d{{1,3}}((,\d{{3}}){{2,}}|{GROUPS}|(,\d{{3}})+\.\d+)|"
        rf"[+-]?\d{{1,3}}({GROUPS})\.\d+",
        "use --decimal . to read them as in 1,234.56",
    ),
    AMBIGUOUS_COMMA,
    Notation(
        "a decimal comma",
        rf"[+-]?(\d*,\d+|\d{{1,3}}(\.\d{{3}})+,\d+|\d{{1,3}}(\.\d{{3}}){{2,}}|"
        rf"\d{{1,3}}({GROUPS}),\d+)",
        "use --decimal , to read it as in 1.234,56",
    ),
)
OTHER_DATE_NOTATION = Notation(
    "day and month in another order or with other signs",
    r"\d{1,2}[./-]\d{1,2}[./-](\d{4}|\d{2})([ T]\d.*)?|\d{4}[./]\d{1,2}[./]\d{1,2}([ T]\d.*)?",
    "write dates such as 2024-12-31, or give their format with --date-format, such as %d.%m.%Y",
)


def to_texts(array: pa.Array, gaps: Collection[str] = DEFAULT_GAP_TEXTS) -> pa.Array:
    """Return cells in the one spelling of `canonicalize_text`, numbers too.

    A number that is not a text in the file is written as Python writes it.

    Args:
        array: Column of a batch, `(n,)`, of any type.
        gaps: Lower-case texts that stand for a gap; used only for texts and floats.

    Returns:
        Strings, `(n,)`; null for a gap.
    """
    if pa.types.is_floating(array.type):
        array = _format_floats(array)
    elif not pa.types.is_string(array.type):
        gaps = ()  # the texts of other types are values
    texts = trim_texts(array, gaps)
    if not pc.all(pc.string_is_ascii(texts), min_count=0).as_py():
        texts = pa.array([None if t is None else to_nfc(t) for t in texts.to_pylist()], pa.string())
    integers = pc.replace_substring_regex(texts, ZERO_FRACTION, r"\1")
    return pc.replace_substring_regex(integers, "^-0$", "0")


def trim_texts(array: pa.Array, gaps: Collection[str] = DEFAULT_GAP_TEXTS) -> pa.Array:
    """Return cells as strings without white space around them, null for a gap."""
    if not pa.types.is_string(array.type):
        array = array.cast(pa.string())
    texts = pc.utf8_trim_whitespace(array)
    return pc.if_else(_match_gaps(texts, gaps), pa.scalar(None, pa.string()), texts)


def select_gap_texts(array: pa.Array, gaps: Collection[str]) -> pa.Array:
    """Return the texts of a column that stand for a gap, without the empty ones, as strings."""
    if not gaps or not pa.types.is_string(array.type):
        return pa.array([], pa.string())
    texts = pc.utf8_trim_whitespace(array)
    is_gap_text = pc.and_(_match_gaps(texts, gaps), pc.not_equal(texts, ""))
    return texts.filter(is_gap_text.fill_null(False))


def find_gaps(array: pa.Array, gaps: Collection[str] = DEFAULT_GAP_TEXTS) -> NDArray[np.bool_]:
    """Return a mask of the gaps of a column, bool `(n,)`."""
    dictionary_array = encode_unique(array)
    nulls = to_texts(dictionary_array.dictionary, gaps).is_null().to_numpy(zero_copy_only=False)
    mask: NDArray[np.bool_] = np.append(nulls, True)[get_indices(dictionary_array)]
    return mask


def to_codes(
    array: pa.Array, words: pa.Array, gaps: Collection[str] = DEFAULT_GAP_TEXTS
) -> NDArray[np.int32]:
    """Return the position of each cell's text among the words of a category.

    Args:
        array: Column of a batch, `(n,)`.
        words: Distinct texts in the spelling of `to_texts`.
        gaps: Lower-case texts that stand for a gap.

    Returns:
        Positions, int32 `(n,)`; `MISSING` for a gap and for a text that is not among the words.
    """
    dictionary_array = encode_unique(array)
    positions = pc.index_in(to_texts(dictionary_array.dictionary, gaps), value_set=words)
    table = positions.fill_null(MISSING).to_numpy(zero_copy_only=False)
    codes: NDArray[np.int32] = np.append(table, np.int32(MISSING))[get_indices(dictionary_array)]
    return codes


def encode_unique(array: pa.Array) -> pa.DictionaryArray:
    """Return a column as a dictionary of its distinct cells: floats, or texts of other types."""
    is_kept = pa.types.is_string(array.type) or pa.types.is_floating(array.type)
    return (array if is_kept else array.cast(pa.string())).dictionary_encode()


def get_indices(dictionary_array: pa.DictionaryArray) -> NDArray[np.int32]:
    """Return each cell's index in the dictionary, int32 `(n,)`.

    A null has the index −1, so that it selects the last element of a table to which the value of a
    null was appended.
    """
    indices: NDArray[np.int32] = dictionary_array.indices.fill_null(-1).to_numpy()
    return indices


def describe_cell(array: pa.Array, index: int) -> str:
    """Return a cell as text for a message."""
    try:
        return str(array[index].as_py()).strip()
    except (ValueError, OverflowError):  # Python cannot represent some dates of Arrow
        return str(array[index].value)  # the number of days or ticks since 1970


def find_zero_padded(array: pa.Array) -> str:
    """Return the first text of three digits or more that begins with 0, such as `01234`, or ""."""
    if not pa.types.is_string(array.type):
        return ""
    # Few numbers begin with 0, so this filter leaves few texts for the slower pattern.
    starts_with_zero = pc.starts_with(array, "0")
    if not starts_with_zero.true_count:
        return ""
    candidates = array.filter(starts_with_zero)
    is_padded = pc.match_substring_regex(candidates, ZERO_PADDED)
    if not is_padded.true_count:
        return ""
    return str(candidates.filter(is_padded)[0].as_py()).strip()


def match_notation(texts: pa.Array, notation: Notation) -> pa.Array:
    """Return a mask of the texts in a notation, boolean `(n,)`; null for a null."""
    return pc.match_substring_regex(texts, rf"^\s*({notation.pattern})\s*$")


def suggest_correction(text: str) -> str:
    """Return which notation of numbers or dates a text has, and what to do; "" if none is known."""
    for notation in (OTHER_DATE_NOTATION, *NUMBER_NOTATIONS):
        if match_notation(pa.array([text]), notation)[0].as_py():
            return f"it has {notation.description}: {notation.remedy}"
    return ""


def replace_decimal_sign(texts: pa.Array, decimal: str) -> pa.Array:
    """Return texts with a point as decimal sign, and numbers without thousands separators.

    A number that has the other sign where no thousands separator can be, such as `1.5` with a
    decimal comma, becomes a text that cannot be parsed, so that it is not misread.

    Args:
        texts: Strings, `(n,)`, some of them numbers.
        decimal: Decimal sign of the numbers, `.` or `,`.
    """
    separator = "," if decimal == "." else "."
    is_grouped = pc.match_substring_regex(
        texts, rf"^\s*[+-]?[1-9]\d{{0,2}}((\{separator}\d{{3}})+|{GROUPS})(\{decimal}\d*)?\s*$"
    )
    ungrouped_texts = pc.replace_substring_regex(
        pc.utf8_trim_whitespace(texts), rf"[\{separator}{SPACES}'’]", ""
    )
    texts = pc.if_else(pc.fill_null(is_grouped, False), ungrouped_texts, texts)
    if decimal == ",":
        texts = pc.replace_substring(pc.replace_substring(texts, ".", "?."), ",", ".")
    return texts


def replace_decimal_sign_of_numbers(array: pa.Array, decimal: str) -> pa.Array:
    """Return texts of numbers with a point as decimal sign; dates of ISO 8601 do not change."""
    is_iso8601 = pc.match_substring_regex(array, ISO8601_TEXT)
    return pc.if_else(is_iso8601, array, replace_decimal_sign(array, decimal))


def remove_zero_fractions(batch: pa.RecordBatch, decimal: str | None) -> pa.RecordBatch:
    """Return a batch whose texts write whole numbers such as `1,0` as `1`, as categories do.

    Args:
        batch: Rows with columns of any type.
        decimal: Decimal sign of numbers in texts; the batch is changed only if it is a comma.
    """
    if decimal != ",":
        return batch
    columns = [
        pc.replace_substring_regex(column, ZERO_FRACTION_COMMA, r"\1\2")
        if pa.types.is_string(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _match_gaps(texts: pa.Array, gaps: Collection[str]) -> pa.Array:
    """Return a mask of the texts that stand for a gap, or for a number that does."""
    gap_texts, gap_numbers = resolve_gaps(frozenset(gaps))
    lower = pc.utf8_lower(texts)
    if gap_numbers:
        lower = pc.replace_substring_regex(lower, ZERO_FRACTION, r"\1")
    if not all(map(str.isascii, gaps)):
        lower = pc.utf8_normalize(lower, form="NFC")
    return pc.is_in(lower, value_set=gap_texts)


@lru_cache(MAX_CACHED_GAPS)
def resolve_gaps(gaps: frozenset[str]) -> tuple[pa.Array, frozenset[float]]:
    """Return the texts and the numbers that stand for a gap.

    The result is cached, since all columns of a file have the same gaps.

    Args:
        gaps: Lower-case texts that stand for a gap.
    """
    return pa.array(sorted(resolve_gap_texts(gaps)), pa.string()), resolve_gap_numbers(gaps)


def _format_floats(array: pa.Array) -> pa.Array:
    """Return floats with the fewest digits that read back as the same number, null for NaN."""
    values = array.to_numpy(zero_copy_only=False)  # NaN for a null
    return pa.array(values.astype(np.str_), pa.string(), mask=np.isnan(values))
