"""Quotes a request's values and names in error messages, and suggests names for misspelled ones.

A request may hold values of any length. Messages repeat only a bounded part of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from difflib import get_close_matches
from enum import Enum
from heapq import nlargest

from serving.bundle.manifest import DEFAULT_GAP_TEXTS

MAX_QUOTED_CHARACTERS = 40
MAX_LISTED_NAMES = 5  # categories or columns that one message lists
MAX_COMPARED_NAMES = 64  # each comparison of two names takes some 50 µs
# Texts by which programs write a missing value or an infinity. No column of numbers accepts them.
NO_VALUE_WORDS = {
    *DEFAULT_GAP_TEXTS,
    *(f"{sign}{word}" for sign in ("", "+", "-") for word in ("inf", "infinity")),
}
MAX_NO_VALUE_CHARACTERS = 32  # longer texts are not compared with NO_VALUE_WORDS


class UnparsedValue(Enum):
    """A list or object where a column's value should be; only its kind is known.

    The decoders do not parse its content, so that a deeply nested body costs no memory. No column
    accepts one.
    """

    LIST = "a list"
    OBJECT = "an object"


def describe_value(value: object) -> str:
    """Return a value as an error message names it, such as `the number 3`.

    Args:
        value: A JSON scalar as Python has it, or an `UnparsedValue`.
    """
    if isinstance(value, UnparsedValue):
        return value.value
    if isinstance(value, str):
        return f"the text {quote_text(value)}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"the number {json.dumps(value)}"
    return json.dumps(value)  # true, false, null


def means_no_value(value: object) -> bool:
    """Return whether a value is NaN or an infinity, or a text that programs write for a gap."""
    if isinstance(value, str):
        return len(value) <= MAX_NO_VALUE_CHARACTERS and value.strip().lower() in NO_VALUE_WORDS
    return isinstance(value, float) and not math.isfinite(value)


def quote_text(text: str) -> str:
    """Return the first `MAX_QUOTED_CHARACTERS` of a text in double quotes, as JSON escapes them."""
    ellipsis = "..." if len(text) > MAX_QUOTED_CHARACTERS else ""
    return f"{json.dumps(text[:MAX_QUOTED_CHARACTERS])}{ellipsis}"


def suggest_similar_name(name: str, accepted_names: Iterable[str]) -> str:
    """Return `; did you mean "…"?` with the accepted name most similar to a wrong one, or "".

    A table may have thousands of columns. Only the `MAX_COMPARED_NAMES` that share the longest
    beginning with the wrong name are compared with it, so that a typo costs little time.

    Args:
        name: Misspelled name in the request.
        accepted_names: Names that would have been accepted.
    """
    short = name[:MAX_QUOTED_CHARACTERS]
    candidates = nlargest(
        MAX_COMPARED_NAMES, accepted_names, key=lambda other: _count_common_letters(short, other)
    )
    matches = get_close_matches(short, candidates, n=1)
    return f"; did you mean {quote_text(matches[0])}?" if matches else ""


def _count_common_letters(one: str, other: str) -> int:
    """Return the length of the longest common beginning of two texts."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
