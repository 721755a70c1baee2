"""The careful decoder: slow, and precise about what is wrong with a body.

It walks through the text and stops at the first fault, so that a hostile body is never built as a
whole: a list of a million empty objects costs no more than one of them. Numbers, texts and syntax
errors are the standard library's parser's, which keeps what faster ones drop: NaN and Infinity,
numbers of any size, the place of an error.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Sequence
from enum import Enum
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from serving.codec.json_plain import decode_plain
from serving.errors import InvalidInstancesError, NotJsonError

STRIDE = 2**16  # characters
SHOWN = 40  # characters of a wrong value that an error repeats
FLOAT32_LIMIT = 2.0**128 - 2.0**103  # halfway past the largest: rounds to infinity from here on
SPACES = re.compile(r"[ \t\n\r]*")

# Integers as floats: Python refuses to read those of thousands of digits.
_decoder = json.JSONDecoder(parse_int=float)


class Nest(Enum):
    """What is never built, only named: no place for a value takes one."""

    LIST = "a list"
    OBJECT = "an object"


NESTS = {"[": Nest.LIST, "{": Nest.OBJECT}


def decode_carefully(body: bytes, fields: Sequence[str]) -> NDArray[np.float32]:
    """As `json_rows.decode_rows`, with the precise error."""
    try:
        return _Reader(_text(body), fields).document()
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(error.doc.rstrip())
        came = "one that breaks off" if at_end else "something else"
        raise NotJsonError(
            f"expected a JSON body; got {came} at line {error.lineno}, column {error.colno}: "
            f"{error.msg}",
            line=error.lineno,
            column=error.colno,
        ) from None


def _text(body: bytes) -> str:
    if not body.strip():
        raise NotJsonError('expected a JSON body such as {"instances": [[...]]}; got an empty one')
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotJsonError(
            f"expected JSON in UTF-8; got a byte that is not at position {error.start}",
            position=error.start,
        ) from None


class _Reader:
    """Walks through the text of one body; `at` is where it stands."""

    def __init__(self, text: str, fields: Sequence[str]) -> None:
        self.text = text
        self.fields = fields
        self.at = 0
        self.careful_until = 0  # a stride that is known to have a fault ends here
        self.values = array("d")  # of all instances, one after the other

    def document(self) -> NDArray[np.float32]:
        """The whole body: an object of one key, and nothing after it."""
        self._open("{", 'an object {"instances": [[...], ...]}')
        count = None
        while self._another("}", first=count is None):
            key = self._key()
            if key != "instances":
                _refuse(
                    f'expected the key "instances" with a list of instances, and no other; '
                    f"got {_shown(key)}",
                    key=key[:SHOWN],
                )
            if count is not None:
                _refuse(f"expected every key once; got {_shown(key)} twice", key=key)
            count = self._instances()
        if count is None:
            _refuse('expected the key "instances" with a list of instances; got an empty object')
        if self._next():
            self._fail("Extra data")
        rows = np.frombuffer(self.values, np.float64).astype(np.float32)
        return rows.reshape(count, len(self.fields))

    def _instances(self) -> int:
        self._open("[", '"instances" to be a list of instances')
        count = 0
        while self._another("]", first=count == 0):
            if faultless := self._faultless_instances():
                count += faultless
                continue
            expected = f"instance {count} to be a list of {len(self.fields)} numbers"
            self._open("[", expected, instance=count)
            self._instance(count)
            count += 1
        return count

    def _faultless_instances(self) -> int:
        """Step over the instances of the next `STRIDE` that have no fault, all of them or none.

        In a large body the fault may be far off, and a server has others to answer.
        """
        if self.at < self.careful_until or self.at + STRIDE > len(self.text):
            return 0
        end = self.text.rfind("]", self.at, self.at + STRIDE) + 1
        if not end:
            return 0
        self.careful_until, stride = end, self.text[self.at : end]
        rows = decode_plain(b'{"instances":[' + stride.encode() + b"]}", len(self.fields))
        if rows is None:
            return self._sound_instances(stride)
        self.at = end
        self.values.frombytes(rows.astype(np.float64).tobytes())
        return len(rows)

    def _sound_instances(self, stride: str) -> int:
        """Step over a stride that is sound, if not plain: with integers beyond 64 bits, say."""
        try:
            rows = _decoder.decode(f"[{stride}]")
        except (json.JSONDecodeError, RecursionError):
            return 0
        width = len(self.fields)
        if not all(type(row) is list and len(row) == width for row in rows):
            return 0
        values = [value for row in rows for value in row]
        if not all(type(value) is float and abs(value) < FLOAT32_LIMIT for value in values):
            return 0
        self.at += len(stride)
        self.values.extend(values)
        return len(rows)

    def _instance(self, number: int) -> None:
        """One instance, whose bracket is open: at once where it is plain, else value by value."""
        width, opening = len(self.fields), self.at - 1
        end = self.text.find("]", self.at)
        if end >= 0 and not any(self.text.find(sign, self.at, end) >= 0 for sign in '[{"'):
            if (commas := self.text.count(",", self.at, end)) >= 2 * width:
                self._refuse_width(number, commas + 1)
            values, self.at = _decoder.raw_decode(self.text, opening)
            if len(values) != width:
                self._refuse_width(number, len(values))
            for position, value in enumerate(values):
                self._check(value, number, position)
            self.values.extend(values)
            return
        position = 0
        while self._another("]", first=position == 0):  # there is text or a list in it: no way out
            if position == width:
                self._refuse_width(number, "more")
            self._check(self._value(), number, position)
            position += 1

    def _check(self, value: Any, instance: int, position: int) -> None:
        if isinstance(value, float) and abs(value) < FLOAT32_LIMIT:
            return
        too_large = isinstance(value, float) and abs(value) >= FLOAT32_LIMIT
        field = self.fields[position]
        _refuse(
            f"expected a finite number in instance {instance}, field {field!r} (position "
            f"{position}); got "
            f"{'a number that float32 cannot hold' if too_large else _shown(value)}",
            instance=instance,
            field=field,
            position=position,
        )

    def _refuse_width(self, instance: int, got: int | Literal["more"]) -> NoReturn:
        _refuse(
            f"expected {len(self.fields)} numbers in instance {instance}, one per feature; "
            f"got {got}",
            instance=instance,
            expected=len(self.fields),
            got=got,
        )

    def _open(self, bracket: str, expected: str, **details: Any) -> None:
        """Step over an opening bracket, or refuse what is there instead."""
        if self._next() != bracket:
            _refuse(f"expected {expected}; got {_shown(self._value())}", **details)
        self.at += 1

    def _another(self, closing: str, *, first: bool) -> bool:
        """Whether one more member follows; steps over the comma before it, or the bracket."""
        sign = self._next()
        if sign == closing:
            self.at += 1
            return False
        if not first:
            if sign != ",":
                self._fail("Expecting ',' delimiter")
            self.at += 1
        return True

    def _key(self) -> str:
        if self._next() != '"':
            self._fail("Expecting property name enclosed in double quotes")
        key: str = self._value()
        if self._next() != ":":
            self._fail("Expecting ':' delimiter")
        self.at += 1
        return key

    def _value(self) -> Any:
        """The next value; a list or an object is only named, and not stepped over."""
        sign = self._next()
        if sign in NESTS:
            return NESTS[sign]
        value, self.at = _decoder.raw_decode(self.text, self.at)
        return value

    def _next(self) -> str:
        """The next sign that is no space, or nothing at the end."""
        self.at = SPACES.match(self.text, self.at).end()  # type: ignore[union-attr]
        return self.text[self.at : self.at + 1]

    def _fail(self, message: str) -> NoReturn:
        raise json.JSONDecodeError(message, self.text, self.at)


def _shown(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, Nest):
        return value.value
    if isinstance(value, str):
        return f"the text {json.dumps(value[:SHOWN])}{'...' * (len(value) > SHOWN)}"
    if isinstance(value, float):
        # as it was most likely written: integers are read as floats too
        whole = value.is_integer() and abs(value) < 1e15
        return f"the number {json.dumps(int(value) if whole else value)}"
    return json.dumps(value)  # true, false, null


def _refuse(message: str, **details: Any) -> NoReturn:
    raise InvalidInstancesError(message, **details)
