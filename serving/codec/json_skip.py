"""Skips a JSON value that is not used, without building the objects nested in it."""

from __future__ import annotations

import json
import re

from serving.event_loop import yield_to_loop

CHARACTERS_BEFORE_YIELD = (
    2**14
)  # characters skipped before other requests get a turn of the event loop
WHITESPACE = re.compile(r"[ \t\n\r]*+")
# Scalars of a list, each with its comma. Possessive quantifiers match no character twice. Groups
# that can fail halfway have none: up to Python 3.11.4 what they read before they fail stays read.
SCALARS_WITH_COMMAS = re.compile(
    r"(?:(?:-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?+[0-9]++)?|true|false|null"
    r'|"[^"\\\x00-\x1f]*+")[ \t\n\r]*+,[ \t\n\r]*+)*'
)
_scalar_decoder = json.JSONDecoder(parse_int=float)  # since int() refuses very many digits


def find_value_end(text: str, at: int) -> int:
    """Return the position after a JSON value, and check its syntax.

    Args:
        text: The document.
        at: Position of the value, or of spaces before it.

    Raises:
        json.JSONDecodeError: If the value is not valid JSON.
    """
    nests = bytearray()  # brackets that close the open lists and objects, the outermost first
    paused = at
    while True:
        if at - paused > CHARACTERS_BEFORE_YIELD:
            paused = at
            yield_to_loop()
        at = _skip_whitespace(text, at)
        sign = text[at : at + 1]
        if sign in ("[", "{"):
            closing = b"]" if sign == "[" else b"}"
            at = _skip_whitespace(text, at + 1)
            if text[at : at + 1] != closing.decode():
                nests += closing
                at = _find_value_start(text, at, nests[-1])
                continue
            at += 1
        else:
            _, at = _scalar_decoder.raw_decode(text, at)
        while nests:
            at = _skip_whitespace(text, at)
            sign = text[at : at + 1]
            if sign == ",":
                at = _find_value_start(text, at + 1, nests[-1])
                break
            if sign != chr(nests[-1]):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
            nests.pop()
            at += 1
        else:
            return at


def _find_value_start(text: str, at: int, closing: int) -> int:
    """Return the position of the next value of a list or, after the key, of an object."""
    at = _skip_whitespace(text, at)
    if closing == ord("]"):
        return SCALARS_WITH_COMMAS.match(text, at, at + CHARACTERS_BEFORE_YIELD).end()  # type: ignore[union-attr]
    if text[at : at + 1] != '"':
        raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
    _, at = _scalar_decoder.raw_decode(text, at)
    at = _skip_whitespace(text, at)
    if text[at : at + 1] != ":":
        raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
    return at + 1


def _skip_whitespace(text: str, at: int) -> int:
    return WHITESPACE.match(text, at).end()  # type: ignore[union-attr]
