"""JSON values as they come: those that are never built, and how an error shows one."""

from __future__ import annotations

import json
from enum import Enum

SHOWN = 40  # characters of a wrong value that an error repeats


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


def quoted(text: str) -> str:
    """The beginning of a text, in quotation marks."""
    return f"{json.dumps(text[:SHOWN])}{'...' * (len(text) > SHOWN)}"
