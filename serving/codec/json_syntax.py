"""JSON's syntax: a scanner over the text of a body, and the errors for malformed bodies.

Numbers, strings and the messages of syntax errors are those of the standard library's parser. That
parser keeps what faster ones drop: NaN and Infinity, integers of any size, positions of errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, TypeVar

from serving.bundle.quoting import (
    MAX_LISTED_NAMES,
    UnparsedValue,
    describe_value,
    quote_text,
)
from serving.codec.input_schema import InputSchema
from serving.codec.json_values import read_document
from serving.codec.messages import decode_utf8
from serving.codec.validation import refuse_instances
from serving.errors import NotJsonError
from serving.event_loop import yield_to_loop

Result = TypeVar("Result")

CHARACTERS_BEFORE_YIELD = 2**14  # characters that are read between two yields to the event loop
MAX_REPARSED_BYTES = 2**20  # a longer malformed body is not parsed again to find the position
MAX_INTEGER_DIGITS = 20  # digits of the largest 64-bit integer; a sign may come on top
UNPARSED_BY_BRACKET = {"[": UnparsedValue.LIST, "{": UnparsedValue.OBJECT}
WHITESPACE = re.compile(r"[ \t\n\r]*+")
# Scalars of a list, each with its comma. Possessive quantifiers match no character twice. Groups
# that can fail halfway have none: up to Python 3.11.4, a possessive group that fails keeps what it
# has matched.
SCALARS_WITH_COMMAS = re.compile(
    r"(?:(?:-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?+[0-9]++)?|true|false|null"
    r'|"[^"\\\x00-\x1f]*+")[ \t\n\r]*+,[ \t\n\r]*+)*'
)


def parse_integer(digits: str) -> int | float:
    """Return a JSON integer as an int, or as a float if it has more digits than 64 bits hold.

    Python refuses to convert thousands of digits to an int.
    """
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else float(digits)


# Objects become tuples of pairs: they differ from lists, and repeated keys are kept.
PAIRS_DECODER = json.JSONDecoder(parse_int=parse_integer, object_pairs_hook=tuple)
_short_value_decoder = json.JSONDecoder(parse_int=parse_integer)
_scalar_decoder = json.JSONDecoder(parse_int=float)


class JsonScanner:
    """A position in the text of a body, and the steps from one JSON token to the next.

    The caller enters a list or object and reads its members one by one. Nested values are built
    for `read_short_value` only.

    Args:
        text: The text of the body.

    Attributes:
        text: The text of the body.
        position: Index of the next character.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def peek(self) -> str:
        """Skip white space and return the next character, "" at the end of the text."""
        self.position = WHITESPACE.match(self.text, self.position).end()  # type: ignore[union-attr]
        return self.text[self.position : self.position + 1]

    def enter(self, bracket: str, expected: str) -> None:
        """Skip the opening bracket of a list or object.

        Args:
            bracket: `[` or `{`.
            expected: Description of the list or object, for the error message.

        Raises:
            InvalidInstancesError: If the next value is not such a list or object.
        """
        if self.peek() != bracket:
            refuse_instances(f"expected {expected}; got {describe_value(self.read_value())}")
        self.position += 1

    def has_next(self, closing: str, *, first: bool) -> bool:
        """Return whether the list or object has another member; skip the comma or closing bracket.

        Args:
            closing: `]` or `}`.
            first: Whether no member has been read yet, so that no comma is due.

        Raises:
            json.JSONDecodeError: If there is neither a comma nor the closing bracket.
        """
        character = self.peek()
        if character == closing:
            self.position += 1
            return False
        if not first:
            if character != ",":
                self.raise_syntax_error("Expecting ',' delimiter")
            self.position += 1
        return True

    def read_key(self) -> str:
        """Read a key of an object and its colon.

        Raises:
            json.JSONDecodeError: If there is no key with a colon.
        """
        if self.peek() != '"':
            self.raise_syntax_error("Expecting property name enclosed in double quotes")
        key: str = self.read_value()
        if self.peek() != ":":
            self.raise_syntax_error("Expecting ':' delimiter")
        self.position += 1
        return key

    def read_value(self) -> Any:
        """Read a scalar; return an `UnparsedValue` for a list or object, which is not skipped.

        Raises:
            json.JSONDecodeError: If there is no value.
        """
        character = self.peek()
        if character in UNPARSED_BY_BRACKET:
            return UNPARSED_BY_BRACKET[character]
        value, self.position = PAIRS_DECODER.raw_decode(self.text, self.position)
        return value

    def read_short_value(self, key: str, max_characters: int) -> Any:
        """Read a value of any kind, nested ones included.

        Args:
            key: Key of the value, for error messages.
            max_characters: Length that the value must not reach, in characters.

        Raises:
            InvalidInstancesError: If the value is too long or nested too deep.
            json.JSONDecodeError: If there is no value.
        """
        self.peek()  # only to skip white space
        text = self.text[self.position : self.position + max_characters]
        try:
            value, length = _short_value_decoder.raw_decode(text)
        except RecursionError:
            refuse_instances(
                f'expected "{key}" to be a short value; got one nested too deep', key=key
            )
        except json.JSONDecodeError as error:
            if len(text) == max_characters:
                refuse_instances(
                    f'expected "{key}" of fewer than {max_characters} characters; got more',
                    key=key,
                )
            self.position += error.pos
            self.raise_syntax_error(error.msg)
        self.position += length
        return value

    def raise_syntax_error(self, message: str) -> NoReturn:
        """Raise json.JSONDecodeError at the current position."""
        raise json.JSONDecodeError(message, self.text, self.position)


def find_value_end(text: str, at: int) -> int:
    """Return the position after a JSON value without building it, and check its syntax.

    Args:
        text: The text of the body.
        at: Position of the value, or of white space before it.

    Raises:
        json.JSONDecodeError: If the value is not valid JSON.
    """
    closing_brackets = bytearray()  # of the lists and objects around the position, outermost first
    last_yield = at
    while True:
        if at - last_yield > CHARACTERS_BEFORE_YIELD:
            last_yield = at
            yield_to_loop()
        at = _skip_whitespace(text, at)
        character = text[at : at + 1]
        if character in ("[", "{"):
            closing = b"]" if character == "[" else b"}"
            at = _skip_whitespace(text, at + 1)
            if text[at : at + 1] != closing.decode():
                closing_brackets += closing
                at = _find_value_start(text, at, closing_brackets[-1])
                continue
            at += 1
        else:
            _, at = _scalar_decoder.raw_decode(text, at)
        while closing_brackets:
            at = _skip_whitespace(text, at)
            character = text[at : at + 1]
            if character == ",":
                at = _find_value_start(text, at + 1, closing_brackets[-1])
                break
            if character != chr(closing_brackets[-1]):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
            closing_brackets.pop()
            at += 1
        else:
            return at


def _find_value_start(text: str, at: int, closing: int) -> int:
    """Return the position of the next value of a list or, after its key, of an object.

    Scalars of a list are skipped many at a time.
    """
    at = _skip_whitespace(text, at)
    if closing == ord("]"):
        end = at + CHARACTERS_BEFORE_YIELD
        return SCALARS_WITH_COMMAS.match(text, at, end).end()  # type: ignore[union-attr]
    if text[at : at + 1] != '"':
        raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
    _, at = _scalar_decoder.raw_decode(text, at)
    at = _skip_whitespace(text, at)
    if text[at : at + 1] != ":":
        raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
    return at + 1


def _skip_whitespace(text: str, at: int) -> int:
    return WHITESPACE.match(text, at).end()  # type: ignore[union-attr]


def decode_json_text(body: bytes) -> str:
    """Return the text of a body in UTF-8.

    Raises:
        NotJsonError: If the body is not UTF-8.
    """
    return decode_utf8(body, "JSON", NotJsonError)


def make_not_json_error(error: json.JSONDecodeError) -> NotJsonError:
    """Return the error of a malformed body, with the line and column where it stops being JSON."""
    is_at_end = error.pos >= len(error.doc.rstrip())
    got = "one that breaks off" if is_at_end else "invalid JSON"
    return NotJsonError(
        f"expected a JSON body; got {got} at line {error.lineno}, column {error.colno}: "
        f"{error.msg}",
        line=error.lineno,
        column=error.colno,
    )


def read_json_document(body: bytes, schema: InputSchema, read: Callable[[Any], Result]) -> Result:
    """Return the result of a function of a body's document, or say why the body is not JSON.

    Args:
        body: JSON text in UTF-8.
        schema: The model's columns; the message about NaN says which of them accept gaps.
        read: Function of simdjson's document, as for `ParserPool.read_document`.

    Raises:
        NotJsonError: If simdjson cannot parse the body.
    """
    try:
        return read_document(body, read)
    except (ValueError, RuntimeError):
        raise _explain_syntax_error(body, schema) from None


def _explain_syntax_error(body: bytes, schema: InputSchema) -> NotJsonError:
    """Return the error of a body that simdjson could not parse."""
    try:
        text = decode_json_text(body)
        if len(body) <= MAX_REPARSED_BYTES:
            json.loads(text, parse_int=float, parse_constant=partial(_refuse_constant, schema))
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


def _refuse_constant(schema: InputSchema, name: str) -> None:
    raise ValueError(f"{name}, which is not valid JSON; {_advise_on_gaps(schema)}")


def _advise_on_gaps(schema: InputSchema) -> str:
    """Return how to send a missing value, and which columns accept one."""
    names = [quote_text(column.name) for column in schema.columns if column.accepts_gaps]
    if not names:
        return "send a number, since no column of the model accepts a missing value"
    if len(names) == len(schema):
        return "send null for a missing value"
    more = len(names) - MAX_LISTED_NAMES
    rest = f" and {more} more" if more > 0 else ""
    listed = ", ".join(names[:MAX_LISTED_NAMES])
    return f"send null for a missing value, which the model accepts in {listed}{rest}"
