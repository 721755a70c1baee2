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
from typing import Any, Literal, NoReturn

from serving.bundle import Arrays, counted, join
from serving.codec.beside import LONGEST, NOTHING, Beside
from serving.codec.input_schema import CategoryField, Field, Fields, WrongValueError, most_cells
from serving.codec.json_plain_records import decode_plain_records
from serving.codec.json_skip import end_of_value
from serving.codec.quoting import NESTS, SHOWN, quoted, shown, suggestion
from serving.errors import InvalidInstancesError, NotJsonError
from serving.event_loop import give_way

STRIDE = 2**16  # characters
WIDTH = 32  # characters of a value, for which a stride of a few instances has room
TURN = 2**14  # characters of instances that are looked at one by one, before others have a turn
SPACES = re.compile(r"[ \t\n\r]*")
DIGITS_OF_64_BITS = 20  # and a sign


def _whole(digits: str) -> int | float:
    # Longer ones as floats: Python refuses to read those of thousands of digits.
    return int(digits) if len(digits) <= DIGITS_OF_64_BITS else float(digits)


# Objects as tuples of pairs: not to be taken for lists, and a key that comes twice is seen.
_decoder = json.JSONDecoder(parse_int=_whole, object_pairs_hook=tuple)
_small_decoder = json.JSONDecoder(parse_int=_whole)


def decode_carefully(body: bytes, fields: Fields, beside: Beside = NOTHING) -> Arrays:
    """As `json_rows.decode_rows`, with the precise error."""
    if not body.strip():
        raise NotJsonError('expected a JSON body such as {"instances": [[...]]}; got an empty one')
    try:
        return _Reader(text_of(body), fields, beside, most_cells(len(body))).document()
    except json.JSONDecodeError as error:
        raise not_json(error) from None


def not_json(error: json.JSONDecodeError) -> NotJsonError:
    """Where a body stops being JSON."""
    at_end = error.pos >= len(error.doc.rstrip())
    came = "one that breaks off" if at_end else "something else"
    return NotJsonError(
        f"expected a JSON body; got {came} at line {error.lineno}, column {error.colno}: "
        f"{error.msg}",
        line=error.lineno,
        column=error.colno,
    )


def text_of(body: bytes) -> str:
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


class _Rows:
    """Instances so far, column by column."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.parts: list[Arrays] = []
        self._clear()

    def _clear(self) -> None:
        self.columns: list[Any] = [
            [] if isinstance(field, CategoryField) else array("d") for field in self.fields.columns
        ]

    def add(self, row: Sequence[float | str]) -> None:
        """One more instance."""
        for column, value in zip(self.columns, row, strict=True):
            column.append(value)

    def add_all(self, inputs: Arrays) -> None:
        """Many more, as the graph takes them."""
        if self.columns[0]:
            self.parts.append(self._last())
            self._clear()
        self.parts.append(inputs)

    def inputs(self) -> Arrays:
        """All of them."""
        return join([*self.parts, self._last()])

    def _last(self) -> Arrays:
        return self.fields.inputs(self.columns)


class _Reader:
    """Walks through the text of one body; `at` is where it stands."""

    def __init__(self, text: str, fields: Fields, beside: Beside, cells: int) -> None:
        self.text = text
        self.fields = fields
        self.beside = beside
        self.at = 0
        self.stride = max(STRIDE, WIDTH * len(fields))
        self.careful_until = 0  # a stride that is known to have a fault ends here
        self.paused = 0  # where others had their turn last
        self.rows = _Rows(fields)
        self.most_rows = cells // len(fields)
        self.values = "numbers" if fields.all_numbers else "values"

    def document(self) -> Arrays:
        """The whole body: an object of instances and what may be beside, and nothing after it."""
        self._open("{", 'an object {"instances": [...]}')
        found: set[str] = set()
        while self._another("}", first=not found):
            key = self._key()
            if key != "instances" and key not in self.beside.keys:
                also = "".join(f', "{known}"' for known in self.beside.keys)
                _refuse(
                    f'expected the key "instances" with a list of instances{also}, and no other; '
                    f"got {shown(key)}",
                    key=key[:SHOWN],
                )
            if key in found:
                _refuse(f"expected every key once; got {shown(key)} twice", key=key)
            found.add(key)
            if key == "instances":
                self._instances()
            else:
                self.beside.said[key] = self._short_value(key)
        if not found:
            _refuse('expected the key "instances" with a list of instances; got an empty object')
        if "instances" not in found:
            _refuse('expected the key "instances" with a list of instances; got none')
        if self._next():
            self._fail("Extra data")
        return self.rows.inputs()

    def _short_value(self, key: str) -> Any:
        """A value of any kind, of few characters."""
        self._next()  # spaces are stepped over
        text = self.text[self.at : self.at + LONGEST]
        try:
            value, length = _small_decoder.raw_decode(text)
        except RecursionError:
            _refuse(f'expected "{key}" to be a short value; got one nested too deep', key=key)
        except json.JSONDecodeError as error:
            if len(text) == LONGEST:
                _refuse(f'expected "{key}" in less than {LONGEST} characters; got more', key=key)
            self.at += error.pos
            self._fail(error.msg)
        self.at += length
        return value

    def _instances(self) -> None:
        self._open("[", '"instances" to be a list of instances')
        count = 0
        while self._another("]", first=count == 0):
            if faultless := self._faultless_instances():
                count += faultless
            else:
                self._instance(count)
                count += 1
                if self.at - self.paused > TURN:
                    self.paused = self.at
                    give_way()
            if count > self.most_rows:
                _refuse(
                    f"expected at most {counted(self.most_rows, 'instance')} of "
                    f"{counted(len(self.fields), 'field')} in a body of this length; got more; "
                    "send fewer at a time",
                    expected=self.most_rows,
                    got="more",
                )

    def _faultless_instances(self) -> int:
        """Step over the instances of the next stride that have no fault, all of them or none.

        In a large body the fault may be far off, and a server has others to answer.
        """
        if self.at < self.careful_until or self.at + self.stride > len(self.text):
            return 0
        end = self._stride_end()
        if not end:
            return 0
        self.careful_until, stride = end, self.text[self.at : end]
        give_way()
        inputs = decode_plain_records(b'{"instances":[' + stride.encode() + b"]}", self.fields)
        if inputs is None:
            return self._sound_instances(stride)
        self.at = end
        self.rows.add_all(inputs)
        return len(next(iter(inputs.values())))

    def _stride_end(self) -> int:
        """Return where the last instance of the next stride seems to end, 0 if nowhere."""
        stop = self.at + self.stride
        if self.fields.ignores_extra:  # a list or an object in a record may end anywhere
            between = max(self.text.rfind(signs, self.at, stop) for signs in ("},{", "}, {"))
            if between >= 0:
                return between + 1
        return 1 + max(self.text.rfind(sign, self.at, stop) for sign in "]}")

    def _sound_instances(self, stride: str) -> int:
        """Step over a stride that is sound, if not plain: with integers beyond 64 bits, say."""
        try:
            instances = _decoder.decode(f"[{stride}]")
            if len(instances) > self.most_rows:
                return 0
            rows = [self._sound_row(instance) for instance in instances]
        except (json.JSONDecodeError, RecursionError, InvalidInstancesError):
            return 0
        self.at += len(stride)
        for row in rows:
            self.rows.add(row)
        return len(rows)

    def _sound_row(self, instance: object) -> list[float | str]:
        """A row of an instance that was built; its refusal is seen by no one."""
        if isinstance(instance, tuple):
            record: dict[str, float | str] = {}
            for written, value in instance:
                key = self.fields.named(written)
                if not self._is_left_out(key):
                    record[key] = self._check(value, 0, self._place(record, key, 0), named=True)
            return self._filled(record, len(instance), 0)
        if not isinstance(instance, list) or len(instance) != len(self.fields):
            self._refuse_instance(0, "another")
        return [self._check(value, 0, place) for place, value in enumerate(instance)]

    def _instance(self, number: int) -> None:
        match self._next():
            case "[":
                self.at += 1
                self.rows.add(self._list(number))
            case "{":
                self.at += 1
                self.rows.add(self._record(number))
            case _:
                self._refuse_instance(number, shown(self._value()))

    def _list(self, number: int) -> list[float | str]:
        """Values whose bracket is open: at once where they are plain, else one by one."""
        width, opening = len(self.fields), self.at - 1
        end = self.text.find("]", self.at)
        if end >= 0 and not any(self.text.find(sign, self.at, end) >= 0 for sign in '[{"'):
            if (commas := self.text.count(",", self.at, end)) >= 2 * width:
                self._refuse_width(number, commas + 1)
            values, self.at = _decoder.raw_decode(self.text, opening)
            if len(values) != width:
                self._refuse_width(number, len(values))
            return [self._check(value, number, place) for place, value in enumerate(values)]
        row: list[float | str] = []
        while self._another("]", first=not row):
            if len(row) == width:
                self._refuse_width(number, "more")
            row.append(self._check(self._value(), number, len(row)))
        if len(row) != width:
            self._refuse_width(number, len(row))
        return row

    def _record(self, number: int) -> list[float | str]:
        """Named values whose brace is open, in the order of the columns."""
        record: dict[str, float | str] = {}
        count = 0
        while self._another("}", first=not count):
            key = self.fields.named(self._key())
            count += 1
            if self._is_left_out(key):
                self._require_fewer_keys(count, number)
                self.at = end_of_value(self.text, self.at)
                continue
            place = self._place(record, key, number)
            record[key] = self._check(self._value(), number, place, named=True)
        return self._filled(record, count, number)

    def _is_left_out(self, key: str) -> bool:
        return self.fields.ignores_extra and key not in self.fields.places

    def _require_fewer_keys(self, count: int, number: int) -> None:
        if count > self.fields.most_names:
            _refuse(
                f"expected at most {self.fields.most_names} fields in instance {number}; got more",
                instance=number,
            )

    def _place(self, record: dict[str, float | str], key: str, number: int) -> int:
        """The column of a key that the record does not have yet."""
        place = self.fields.places.get(key)
        if place is None:
            _refuse(
                f"expected no other fields than the model's in instance {number}; got "
                f"{quoted(key)}{suggestion(key, self.fields.places)}",
                instance=number,
                field=key[:SHOWN],
            )
        if key in record:
            _refuse(
                f"expected every field once in instance {number}; got {quoted(key)} twice",
                instance=number,
                field=key,
            )
        return place

    def _filled(self, record: dict[str, float | str], count: int, number: int) -> list[float | str]:
        """Return a record's values in the order of the columns, gaps as the graph takes them.

        Args:
            record: Values of the model's columns.
            count: Number of keys of the record, those that are left out included.
            number: Number of the instance.
        """
        self._require_fewer_keys(count, number)
        if count and not record:
            _refuse(
                f"expected at least one of the model's fields in instance {number}; got {count} "
                f"others",
                instance=number,
            )
        for place, field in enumerate(self.fields.columns):
            if field.name not in record:
                try:
                    record[field.name] = field.fill("no such key")
                except WrongValueError as error:
                    self._refuse_value(error, number, place, named=True)
        return [record[field.name] for field in self.fields.columns]

    def _check(self, value: Any, instance: int, place: int, *, named: bool = False) -> float | str:
        try:
            checked: float | str = self.fields.columns[place].check(value)
        except WrongValueError as error:
            self._refuse_value(error, instance, place, named=named)
        return checked

    def _refuse_value(
        self, error: WrongValueError, instance: int, place: int, *, named: bool
    ) -> NoReturn:
        field: Field = self.fields.columns[place]
        where = "" if named else f" (position {place})"
        _refuse(
            f"expected {error.expected} in instance {instance}, field {field.name!r}{where}; got "
            f"{error.got}",
            instance=instance,
            field=field.name,
            **({} if named else {"position": place}),
        )

    def _refuse_instance(self, instance: int, got: str) -> NoReturn:
        _refuse(
            f"expected instance {instance} to be an object of named values or a list of "
            f"{len(self.fields)} {self.values}; got {got}",
            instance=instance,
        )

    def _refuse_width(self, instance: int, got: int | Literal["more"]) -> NoReturn:
        _refuse(
            f"expected {len(self.fields)} {self.values} in instance {instance}, one per feature; "
            f"got {got}",
            instance=instance,
            expected=len(self.fields),
            got=got,
        )

    def _open(self, bracket: str, expected: str) -> None:
        """Step over an opening bracket, or refuse what is there instead."""
        if self._next() != bracket:
            _refuse(f"expected {expected}; got {shown(self._value())}")
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


def _refuse(message: str, **details: Any) -> NoReturn:
    raise InvalidInstancesError(message, **details)
