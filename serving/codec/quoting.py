"""JSON values as they come: those that are never built, and how an error shows one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from difflib import get_close_matches
from enum import Enum
from heapq import nlargest

from serving.bundle import GAPS

SHOWN = 40  # characters of a wrong value that an error repeats
LONGEST_WORD = 32  # characters of a text that is compared with NO_VALUE
# What programs write where they have no value, and a column of numbers takes none of.
NO_VALUE = {*GAPS, *(f"{sign}{word}" for sign in ("", "+", "-") for word in ("inf", "infinity"))}
COMPARED = 64  # names that a wrong one is compared with letter by letter, some 50 µs each


class Nest(Enum):
    """What is never built, only named: no place for a value takes one."""

    LIST = "a list"
    OBJECT = "an object"


NESTS = {"[": Nest.LIST, "{": Nest.OBJECT}


def shown(value: object) -> str:
    """A value in a few words."""
    if isinstance(value, Nest):
        return value.value
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"the number {json.dumps(value)}"
    return json.dumps(value)  # true, false, null


def means_no_value(value: object) -> bool:
    """Return whether a value is NaN, an infinity, or a text for them or for a gap."""
    if isinstance(value, str):
        return len(value) <= LONGEST_WORD and value.strip().lower() in NO_VALUE
    return isinstance(value, float) and not math.isfinite(value)


def quoted(text: str) -> str:
    """The beginning of a text, in quotation marks."""
    return f"{json.dumps(text[:SHOWN])}{'...' * (len(text) > SHOWN)}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the known name that is most like a wrong one, or "".

    A table may have thousands of columns. Only those that begin most like the wrong name are
    compared with it, so that a typo costs the server no more than a right request.
    """
    short = name[:SHOWN]
    alike = nlargest(COMPARED, known, key=lambda other: _common_letters(short, other))
    close = get_close_matches(short, alike, n=1)
    return f"; did you mean {quoted(close[0])}?" if close else ""


def _common_letters(one: str, other: str) -> int:
    """Return with how many letters both begin."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
