"""Numerals: other ways to write numbers than `1234.5`, read where that is said, else named."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

SPACES = " \u00a0\u202f"  # plain, no-break and narrow: thousands separators, as are apostrophes
GROUPS = rf"([{SPACES}]\d{{3}})+|(['’]\d{{3}})+"
NUMBER = rf"(\d{{1,3}}((,\d{{3}})+|(\.\d{{3}})+|{GROUPS})|\d+)([.,]\d+)?"
CURRENCY = r"(\p{Sc}|USD|EUR|GBP|CHF|JPY|CNY|INR|[kK]r\.?|zł|Rs\.?)"


class Notation(NamedTuple):
    """A way to write numbers or dates that is not read unless it is said, or not at all.

    Attributes:
        called: Name of the notation, for messages.
        pattern: Regular expression (RE2) of a whole text.
        remedy: Advice for messages.
    """

    called: str
    pattern: str
    remedy: str


EITHER = Notation(
    "a comma that may be a decimal sign or a thousands separator",
    r"[+-]?[1-9]\d{0,2},\d{3}",
    "say --decimal , or --decimal . to have it read as the one or the other",
)
NOTATIONS = (
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
        "say --decimal . to have them read as in 1,234.56",
    ),
    EITHER,
    Notation(
        "a decimal comma",
        rf"[+-]?(\d*,\d+|\d{{1,3}}(\.\d{{3}})+,\d+|\d{{1,3}}(\.\d{{3}}){{2,}}|"
        rf"\d{{1,3}}({GROUPS}),\d+)",
        "say --decimal , to have it read as in 1.234,56",
    ),
)
NOT_ISO = Notation(
    "day and month in another order or with other signs",
    r"\d{1,2}[./-]\d{1,2}[./-](\d{4}|\d{2})([ T]\d.*)?|\d{4}[./]\d{1,2}[./]\d{1,2}([ T]\d.*)?",
    "write dates such as 2024-12-31, or say how they are with --date-format, such as %d.%m.%Y",
)


def matches(texts: pa.Array, notation: Notation) -> pa.Array:
    """Return which texts are written like that, true or false each; null for a null."""
    return pc.match_substring_regex(texts, rf"^\s*({notation.pattern})\s*$")


def remove_zero_fractions(batch: pa.RecordBatch, decimal: str | None) -> pa.RecordBatch:
    """Return texts with whole numbers such as `1,0` as `1`, as categories are compared.

    Args:
        batch: Columns, those of texts among them.
        decimal: Decimal sign of numbers in texts; only a comma changes anything.
    """
    if decimal != ",":
        return batch
    columns = [
        pc.replace_substring_regex(column, r"^(\s*-?(?:0|[1-9][0-9]*)),0+(\s*)$", r"\1\2")
        if pa.types.is_string(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def advice(text: str) -> str:
    """Return how a text writes a number or a date otherwise, and what to do; else nothing."""
    for notation in (NOT_ISO, *NOTATIONS):
        if matches(pa.array([text]), notation)[0].as_py():
            return f"it has {notation.called}: {notation.remedy}"
    return ""


def to_points(texts: pa.Array, decimal: str) -> pa.Array:
    """Return texts with a point as decimal sign, and numbers without thousands separators.

    A number with the other sign where no thousands are becomes none, so that it is not misread.

    Args:
        texts: Texts, some of them numbers.
        decimal: Their decimal sign, `.` or `,`.
    """
    other = "," if decimal == "." else "."
    grouped = pc.match_substring_regex(
        texts, rf"^\s*[+-]?[1-9]\d{{0,2}}((\{other}\d{{3}})+|{GROUPS})(\{decimal}\d*)?\s*$"
    )
    plain = pc.replace_substring_regex(pc.utf8_trim_whitespace(texts), rf"[\{other}{SPACES}'’]", "")
    found = pc.if_else(pc.fill_null(grouped, False), plain, texts)
    if decimal == ",":
        found = pc.replace_substring(pc.replace_substring(found, ".", "?."), ",", ".")
    return found
