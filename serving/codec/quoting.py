"""JSON values as they come: those that are never built, and how an error shows one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from difflib import get_close_matches
from enum import Enum
from heapq import nlargest

from serving.bundle import DEFAULT_GAP_TEXTS

MAX_QUOTED_CHARACTERS = 40  # characters of a wrong value that an error repeats
MAX_NO_VALUE_CHARACTERS = 32  # characters of a text that is compared with NO_VALUE
# What programs write where they have no value, and a column of numbers takes none of.
NO_VALUE_WORDS = {
    *DEFAULT_GAP_TEXTS,
    *(f"{sign}{word}" for sign in ("", "+", "-") for word in ("inf", "infinity")),
}
MAX_COMPARED_NAMES = 64  # names that a wrong one is compared with letter by letter, some 50 µs each


class UnparsedValue(Enum):
    """What is never built, only named: no place for a value takes one."""

    LIST = "a list"
    OBJECT = "an object"


UNPARSED_BY_BRACKET = {"[": UnparsedValue.LIST, "{": UnparsedValue.OBJECT}


def describe_value(value: object) -> str:
    """A value in a few words."""
    if isinstance(value, UnparsedValue):
        return value.value
    if isinstance(value, str):
        return f"the text {quote_text(value)}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"the number {json.dumps(value)}"
    return json.dumps(value)  # true, false, null


def means_no_value(value: object) -> bool:
    """Return whether a value is NaN, an infinity, or a text for them or for a gap."""
    if isinstance(value, str):
        return len(value) <= MAX_NO_VALUE_CHARACTERS and value.strip().lower() in NO_VALUE_WORDS
    return isinstance(value, float) and not math.isfinite(value)


def quote_text(text: str) -> str:
    """The beginning of a text, in quotation marks."""
    return (
        f"{json.dumps(text[:MAX_QUOTED_CHARACTERS])}{'...' * (len(text) > MAX_QUOTED_CHARACTERS)}"
    )


def suggest_similar_name(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the known name that is most like a wrong one, or "".

    A table may have thousands of columns. Only those that begin most like the wrong name are
    compared with it, so that a typo costs the server no more than a right request.
    """
    short = name[:MAX_QUOTED_CHARACTERS]
    alike = nlargest(
        MAX_COMPARED_NAMES, known, key=lambda other: _count_common_letters(short, other)
    )
    close = get_close_matches(short, alike, n=1)
    return f"; did you mean {quote_text(close[0])}?" if close else ""


def _count_common_letters(one: str, other: str) -> int:
    """Return with how many letters both begin."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
