"""JSON's syntax: where a body breaks it, and where a value ends."""

from __future__ import annotations

import json
import re
from functools import partial

from serving.codec.column_validators import (
    MAX_LISTED_NAMES,
)
from serving.codec.input_schema import InputSchema
from serving.codec.quoting import (
    quote_text,
)
from serving.errors import NotJsonError
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


def make_not_json_error(error: json.JSONDecodeError) -> NotJsonError:
    """Where a body stops being JSON."""
    at_end = error.pos >= len(error.doc.rstrip())
    came = "one that breaks off" if at_end else "something else"
    return NotJsonError(
        f"expected a JSON body; got {came} at line {error.lineno}, column {error.colno}: "
        f"{error.msg}",
        line=error.lineno,
        column=error.colno,
    )


def decode_json_text(body: bytes) -> str:
    """The characters of a body.

    Raises:
        NotJsonError: it is not UTF-8.
    """
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotJsonError(
            f"expected JSON in UTF-8; got an invalid byte at position {error.start}",
            position=error.start,
        ) from None


MAX_REPARSED_BYTES = 2**20  # bytes of a body that is read a second time to find the place


def explain_syntax_error(body: bytes, fields: InputSchema) -> NotJsonError:
    """Why simdjson does not take a body.

    Args:
        body: the text.
        fields: The model's columns.
    """
    try:
        text = decode_json_text(body)
        if len(body) <= MAX_REPARSED_BYTES:
            json.loads(text, parse_int=float, parse_constant=partial(_refuse_constant, fields))
    except json.JSONDecodeError as error:
        return make_not_json_error(error)
    except NotJsonError as error:
        return error
    except (RecursionError, ValueError) as error:
        return NotJsonError(f"expected a JSON body; got one with {error!s:.400}")
    return NotJsonError(
        "expected a JSON body; got one that is damaged, or holds NaN, an integer beyond 64 bits, a "
        "number beyond float64 or half of a surrogate pair"
    )


def _refuse_constant(fields: InputSchema, name: str) -> None:
    raise ValueError(f"{name}, which is no JSON; {_advise_on_gaps(fields)}")


def _advise_on_gaps(fields: InputSchema) -> str:
    """Return how to send a gap, and which columns take one."""
    filled = [quote_text(field.name) for field in fields.columns if field.accepts_gaps]
    if not filled:
        return "send a number, since the model fills no gap in any column"
    if len(filled) == len(fields):
        return "send null for a gap"
    more = len(filled) - MAX_LISTED_NAMES
    rest = f" and {more} more" if more > 0 else ""
    return f"send null for a gap, which the model fills in {', '.join(filled[:MAX_LISTED_NAMES])}{rest}"
