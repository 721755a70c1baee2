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

from serving.bundle import Arrays, concatenate_rows, pluralize
from serving.codec.column_validators import CategoryValidator, ColumnValidator, WrongValueError
from serving.codec.input_schema import InputSchema, compute_max_cells
from serving.codec.json_fast import decode_json_fast
from serving.codec.json_syntax import decode_json_text, find_value_end, make_not_json_error
from serving.codec.json_values import MAX_OPTION_CHARACTERS, NO_OPTIONS, BodyOptions
from serving.codec.quoting import (
    MAX_QUOTED_CHARACTERS,
    UNPARSED_BY_BRACKET,
    describe_value,
    quote_text,
    suggest_similar_name,
)
from serving.errors import InvalidInstancesError, NotJsonError
from serving.event_loop import yield_to_loop

STRIDE_CHARACTERS = 2**16  # characters
STRIDE_CHARACTERS_PER_COLUMN = (
    32  # characters of a value, for which a stride of a few instances has room
)
CHARACTERS_BEFORE_YIELD = (
    2**14
)  # characters of instances that are looked at one by one, before others have a turn
WHITESPACE = re.compile(r"[ \t\n\r]*")
MAX_INTEGER_DIGITS = 20  # and a sign


def _parse_integer(digits: str) -> int | float:
    # Longer ones as floats: Python refuses to read those of thousands of digits.
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else float(digits)


# Objects as tuples of pairs: not to be taken for lists, and a key that comes twice is seen.
_pairs_decoder = json.JSONDecoder(parse_int=_parse_integer, object_pairs_hook=tuple)
_option_decoder = json.JSONDecoder(parse_int=_parse_integer)


def decode_json_strict(
    body: bytes, fields: InputSchema, beside: BodyOptions = NO_OPTIONS
) -> Arrays:
    """As `json_rows.decode_rows`, with the precise error."""
    if not body.strip():
        raise NotJsonError('expected a JSON body such as {"instances": [[...]]}; got an empty one')
    try:
        return _StrictDecoder(
            decode_json_text(body), fields, beside, compute_max_cells(len(body))
        ).decode_document()
    except json.JSONDecodeError as error:
        raise make_not_json_error(error) from None


class _DecodedInstances:
    """Instances so far, column by column."""

    def __init__(self, fields: InputSchema) -> None:
        self.fields = fields
        self.decoded_blocks: list[Arrays] = []
        self._clear()

    def _clear(self) -> None:
        self.columns: list[Any] = [
            [] if isinstance(field, CategoryValidator) else array("d")
            for field in self.fields.columns
        ]

    def append(self, row: Sequence[float | str]) -> None:
        """One more instance."""
        for column, value in zip(self.columns, row, strict=True):
            column.append(value)

    def append_block(self, inputs: Arrays) -> None:
        """Many more, as the graph takes them."""
        if self.columns[0]:
            self.decoded_blocks.append(self._build_last_block())
            self._clear()
        self.decoded_blocks.append(inputs)

    def build_inputs(self) -> Arrays:
        """All of them."""
        return concatenate_rows([*self.decoded_blocks, self._build_last_block()])

    def _build_last_block(self) -> Arrays:
        return self.fields.build_inputs(self.columns)


class _StrictDecoder:
    """Walks through the text of one body; `at` is where it stands."""

    def __init__(self, text: str, fields: InputSchema, beside: BodyOptions, cells: int) -> None:
        self.text = text
        self.fields = fields
        self.beside = beside
        self.position = 0
        self.stride = max(STRIDE_CHARACTERS, STRIDE_CHARACTERS_PER_COLUMN * len(fields))
        self.strict_until = 0  # a stride that is known to have a fault ends here
        self.last_yield = 0  # where others had their turn last
        self.instances = _DecodedInstances(fields)
        self.max_instances = cells // len(fields)
        self.value_noun = "numbers" if fields.has_single_input else "values"

    def decode_document(self) -> Arrays:
        """The whole body: an object of instances and what may be beside, and nothing after it."""
        self._enter("{", 'an object {"instances": [...]}')
        found: set[str] = set()
        while self._has_next("}", first=not found):
            key = self._read_key()
            if key != "instances" and key not in self.beside.allowed_keys:
                also = "".join(f', "{known}"' for known in self.beside.allowed_keys)
                refuse_instances(
                    f'expected the key "instances" with a list of instances{also}, and no other; '
                    f"got {describe_value(key)}",
                    key=key[:MAX_QUOTED_CHARACTERS],
                )
            if key in found:
                refuse_instances(
                    f"expected every key once; got {describe_value(key)} twice", key=key
                )
            found.add(key)
            if key == "instances":
                self._read_instances()
            else:
                self.beside.values[key] = self._read_option(key)
        if not found:
            refuse_instances(
                'expected the key "instances" with a list of instances; got an empty object'
            )
        if "instances" not in found:
            refuse_instances('expected the key "instances" with a list of instances; got none')
        if self._peek():
            self._raise_syntax_error("Extra data")
        return self.instances.build_inputs()

    def _read_option(self, key: str) -> Any:
        """A value of any kind, of few characters."""
        self._peek()  # spaces are stepped over
        text = self.text[self.position : self.position + MAX_OPTION_CHARACTERS]
        try:
            value, length = _option_decoder.raw_decode(text)
        except RecursionError:
            refuse_instances(
                f'expected "{key}" to be a short value; got one nested too deep', key=key
            )
        except json.JSONDecodeError as error:
            if len(text) == MAX_OPTION_CHARACTERS:
                refuse_instances(
                    f'expected "{key}" in less than {MAX_OPTION_CHARACTERS} characters; got more',
                    key=key,
                )
            self.position += error.pos
            self._raise_syntax_error(error.msg)
        self.position += length
        return value

    def _read_instances(self) -> None:
        self._enter("[", '"instances" to be a list of instances')
        count = 0
        while self._has_next("]", first=count == 0):
            if faultless := self._read_stride():
                count += faultless
            else:
                self._read_instance(count)
                count += 1
                if self.position - self.last_yield > CHARACTERS_BEFORE_YIELD:
                    self.last_yield = self.position
                    yield_to_loop()
            if count > self.max_instances:
                refuse_instances(
                    f"expected at most {pluralize(self.max_instances, 'instance')} of "
                    f"{pluralize(len(self.fields), 'field')} in a body of this length; got more; "
                    "send fewer at a time",
                    expected=self.max_instances,
                    got="more",
                )

    def _read_stride(self) -> int:
        """Step over the instances of the next stride that have no fault, all of them or none.

        In a large body the fault may be far off, and a server has others to answer.
        """
        if self.position < self.strict_until or self.position + self.stride > len(self.text):
            return 0
        end = self._find_stride_end()
        if not end:
            return 0
        self.strict_until, stride = end, self.text[self.position : end]
        yield_to_loop()
        inputs = decode_json_fast(b'{"instances":[' + stride.encode() + b"]}", self.fields)
        if inputs is None:
            return self._read_valid_stride(stride)
        self.position = end
        self.instances.append_block(inputs)
        return len(next(iter(inputs.values())))

    def _find_stride_end(self) -> int:
        """Return where the last instance of the next stride seems to end, 0 if nowhere."""
        stop = self.position + self.stride
        if self.fields.should_ignore_extra:  # a list or an object in a record may end anywhere
            between = max(self.text.rfind(signs, self.position, stop) for signs in ("},{", "}, {"))
            if between >= 0:
                return between + 1
        return 1 + max(self.text.rfind(sign, self.position, stop) for sign in "]}")

    def _read_valid_stride(self, stride: str) -> int:
        """Step over a stride that is sound, if not plain: with integers beyond 64 bits, say."""
        try:
            instances = _pairs_decoder.decode(f"[{stride}]")
            if len(instances) > self.max_instances:
                return 0
            rows = [self._build_row(instance) for instance in instances]
        except (json.JSONDecodeError, RecursionError, InvalidInstancesError):
            return 0
        self.position += len(stride)
        for row in rows:
            self.instances.append(row)
        return len(rows)

    def _build_row(self, instance: object) -> list[float | str]:
        """A row of an instance that was built; its refusal is seen by no one."""
        if isinstance(instance, tuple):
            record: dict[str, float | str] = {}
            for written, value in instance:
                key = self.fields.resolve_column_name(written)
                if not self._is_extra(key):
                    record[key] = self._validate(
                        value, 0, self._find_position(record, key, 0), named=True
                    )
            return self._complete_record(record, len(instance), 0)
        if not isinstance(instance, list) or len(instance) != len(self.fields):
            self._refuse_instance(0, "another")
        return [self._validate(value, 0, place) for place, value in enumerate(instance)]

    def _read_instance(self, number: int) -> None:
        match self._peek():
            case "[":
                self.position += 1
                self.instances.append(self._read_list(number))
            case "{":
                self.position += 1
                self.instances.append(self._read_record(number))
            case _:
                self._refuse_instance(number, describe_value(self._read_value()))

    def _read_list(self, number: int) -> list[float | str]:
        """Values whose bracket is open: at once where they are plain, else one by one."""
        width, opening = len(self.fields), self.position - 1
        end = self.text.find("]", self.position)
        if end >= 0 and not any(self.text.find(sign, self.position, end) >= 0 for sign in '[{"'):
            if (commas := self.text.count(",", self.position, end)) >= 2 * width:
                self._refuse_value_count(number, commas + 1)
            values, self.position = _pairs_decoder.raw_decode(self.text, opening)
            if len(values) != width:
                self._refuse_value_count(number, len(values))
            return [self._validate(value, number, place) for place, value in enumerate(values)]
        row: list[float | str] = []
        while self._has_next("]", first=not row):
            if len(row) == width:
                self._refuse_value_count(number, "more")
            row.append(self._validate(self._read_value(), number, len(row)))
        if len(row) != width:
            self._refuse_value_count(number, len(row))
        return row

    def _read_record(self, number: int) -> list[float | str]:
        """Named values whose brace is open, in the order of the columns."""
        record: dict[str, float | str] = {}
        count = 0
        while self._has_next("}", first=not count):
            key = self.fields.resolve_column_name(self._read_key())
            count += 1
            if self._is_extra(key):
                self._require_fewer_keys(count, number)
                self.position = find_value_end(self.text, self.position)
                continue
            place = self._find_position(record, key, number)
            record[key] = self._validate(self._read_value(), number, place, named=True)
        return self._complete_record(record, count, number)

    def _is_extra(self, key: str) -> bool:
        return self.fields.should_ignore_extra and key not in self.fields.column_positions

    def _require_fewer_keys(self, count: int, number: int) -> None:
        if count > self.fields.max_named_columns:
            refuse_instances(
                f"expected at most {self.fields.max_named_columns} fields in instance {number}; got more",
                instance=number,
            )

    def _find_position(self, record: dict[str, float | str], key: str, number: int) -> int:
        """The column of a key that the record does not have yet."""
        place = self.fields.column_positions.get(key)
        if place is None:
            refuse_instances(
                f"expected no other fields than the model's in instance {number}; got "
                f"{quote_text(key)}{suggest_similar_name(key, self.fields.column_positions)}",
                instance=number,
                field=key[:MAX_QUOTED_CHARACTERS],
            )
        if key in record:
            refuse_instances(
                f"expected every field once in instance {number}; got {quote_text(key)} twice",
                instance=number,
                field=key,
            )
        return place

    def _complete_record(
        self, record: dict[str, float | str], count: int, number: int
    ) -> list[float | str]:
        """Return a record's values in the order of the columns, gaps as the graph takes them.

        Args:
            record: Values of the model's columns.
            count: Number of keys of the record, those that are left out included.
            number: Number of the instance.
        """
        self._require_fewer_keys(count, number)
        if count and not record:
            refuse_instances(
                f"expected at least one of the model's fields in instance {number}; got {count} "
                f"others",
                instance=number,
            )
        for place, field in enumerate(self.fields.columns):
            if field.name not in record:
                try:
                    record[field.name] = field.fill_gap("no such key")
                except WrongValueError as error:
                    self._refuse_value(error, number, place, named=True)
        return [record[field.name] for field in self.fields.columns]

    def _validate(
        self, value: Any, instance: int, place: int, *, named: bool = False
    ) -> float | str:
        try:
            checked: float | str = self.fields.columns[place].validate(value)
        except WrongValueError as error:
            self._refuse_value(error, instance, place, named=named)
        return checked

    def _refuse_value(
        self, error: WrongValueError, instance: int, place: int, *, named: bool
    ) -> NoReturn:
        field: ColumnValidator = self.fields.columns[place]
        where = "" if named else f" (position {place})"
        refuse_instances(
            f"expected {error.expected} in instance {instance}, field {field.name!r}{where}; got "
            f"{error.got}",
            instance=instance,
            field=field.name,
            **({} if named else {"position": place}),
        )

    def _refuse_instance(self, instance: int, got: str) -> NoReturn:
        refuse_instances(
            f"expected instance {instance} to be an object of named values or a list of "
            f"{len(self.fields)} {self.value_noun}; got {got}",
            instance=instance,
        )

    def _refuse_value_count(self, instance: int, got: int | Literal["more"]) -> NoReturn:
        refuse_instances(
            f"expected {len(self.fields)} {self.value_noun} in instance {instance}, one per feature; "
            f"got {got}",
            instance=instance,
            expected=len(self.fields),
            got=got,
        )

    def _enter(self, bracket: str, expected: str) -> None:
        """Step over an opening bracket, or refuse what is there instead."""
        if self._peek() != bracket:
            refuse_instances(f"expected {expected}; got {describe_value(self._read_value())}")
        self.position += 1

    def _has_next(self, closing: str, *, first: bool) -> bool:
        """Whether one more member follows; steps over the comma before it, or the bracket."""
        sign = self._peek()
        if sign == closing:
            self.position += 1
            return False
        if not first:
            if sign != ",":
                self._raise_syntax_error("Expecting ',' delimiter")
            self.position += 1
        return True

    def _read_key(self) -> str:
        if self._peek() != '"':
            self._raise_syntax_error("Expecting property name enclosed in double quotes")
        key: str = self._read_value()
        if self._peek() != ":":
            self._raise_syntax_error("Expecting ':' delimiter")
        self.position += 1
        return key

    def _read_value(self) -> Any:
        """The next value; a list or an object is only named, and not stepped over."""
        sign = self._peek()
        if sign in UNPARSED_BY_BRACKET:
            return UNPARSED_BY_BRACKET[sign]
        value, self.position = _pairs_decoder.raw_decode(self.text, self.position)
        return value

    def _peek(self) -> str:
        """The next sign that is no space, or nothing at the end."""
        self.position = WHITESPACE.match(self.text, self.position).end()  # type: ignore[union-attr]
        return self.text[self.position : self.position + 1]

    def _raise_syntax_error(self, message: str) -> NoReturn:
        raise json.JSONDecodeError(message, self.text, self.position)


def refuse_instances(message: str, **details: Any) -> NoReturn:
    raise InvalidInstancesError(message, **details)
