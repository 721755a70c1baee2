"""The strict JSON decoder: slower than the fast one, and precise about what is wrong with a body.

It reads the text from the beginning and stops at the first error. Nothing is built as a whole, so
that a hostile body costs no more memory than its text: a list of a million empty objects is refused
at the first of them. In a long body it hands pieces of many instances, called strides, to the fast
decoder, so that an error far from the beginning is found soon.
"""

from __future__ import annotations

import json
from typing import Any, Literal, NoReturn

from serving.bundle import Arrays, pluralize
from serving.bundle.column_schema import WrongValueError
from serving.bundle.quoting import (
    MAX_QUOTED_CHARACTERS,
    describe_value,
    quote_text,
    suggest_similar_name,
)
from serving.codec.input_schema import InputBuilder, InputSchema, compute_max_cells
from serving.codec.json_fast import decode_json_fast
from serving.codec.json_syntax import (
    CHARACTERS_BEFORE_YIELD,
    PAIRS_DECODER,
    JsonScanner,
    decode_json_text,
    find_value_end,
    make_not_json_error,
)
from serving.codec.json_values import MAX_OPTION_CHARACTERS, NO_OPTIONS, BodyOptions
from serving.codec.validation import refuse_instances
from serving.errors import InvalidInstancesError, NotJsonError
from serving.event_loop import yield_to_loop

STRIDE_CHARACTERS = 2**16
STRIDE_CHARACTERS_PER_COLUMN = 32  # room for a few instances of a wide table in each stride


def decode_json_strict(
    body: bytes, schema: InputSchema, options: BodyOptions = NO_OPTIONS
) -> Arrays:
    """Return the graph's inputs of a body, or raise the error that says what is wrong with it.

    Args:
        body: JSON text in UTF-8: `{"instances": [{…} or […], …]}`.
        schema: The model's columns.
        options: Keys that the body may have besides `instances`; their values are stored in it.

    Returns:
        The inputs by name, as `InputSchema.build_inputs` returns them.

    Raises:
        NotJsonError: If the body is not JSON.
        InvalidInstancesError: If it has another form, or the model does not accept a value.
    """
    if not body.strip():
        raise NotJsonError('expected a JSON body such as {"instances": [[...]]}; got an empty one')
    try:
        text = decode_json_text(body)
        return _StrictDecoder(text, schema, options, compute_max_cells(len(body))).decode_document()
    except json.JSONDecodeError as error:
        raise make_not_json_error(error) from None


class _StrictDecoder(JsonScanner):
    """The decoder of one body.

    Args:
        text: The text of the body.
        schema: The model's columns.
        options: Keys that the body may have besides `instances`; their values are stored in it.
        max_cells: Largest number of values that the body may decode to.
    """

    def __init__(
        self, text: str, schema: InputSchema, options: BodyOptions, max_cells: int
    ) -> None:
        super().__init__(text)
        self.schema = schema
        self.options = options
        self.stride = max(STRIDE_CHARACTERS, STRIDE_CHARACTERS_PER_COLUMN * len(schema))
        # End of the last stride that was tried. Up to here, instances are read one by one.
        self.strict_until = 0
        self.last_yield = 0  # position at the last yield to the event loop
        self.builder = InputBuilder(schema)
        self.max_instances = max_cells // len(schema)
        self.value_noun = "numbers" if schema.has_single_input else "values"

    def decode_document(self) -> Arrays:
        """Read the whole body and return the graph's inputs."""
        self.enter("{", 'an object {"instances": [...]}')
        found: set[str] = set()
        while self.has_next("}", first=not found):
            key = self.read_key()
            if key != "instances" and key not in self.options.allowed_keys:
                also = "".join(f', "{allowed}"' for allowed in self.options.allowed_keys)
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
                self.options.values[key] = self.read_short_value(key, MAX_OPTION_CHARACTERS)
        if "instances" not in found:
            got = "none" if found else "an empty object"
            refuse_instances(f'expected the key "instances" with a list of instances; got {got}')
        if self.peek():
            self.raise_syntax_error("Extra data")
        return self.builder.build_inputs()

    def _read_instances(self) -> None:
        self.enter("[", '"instances" to be a list of instances')
        count = 0
        while self.has_next("]", first=count == 0):
            if stride_count := self._read_stride():
                count += stride_count
            else:
                self._read_instance(count)
                count += 1
                if self.position - self.last_yield > CHARACTERS_BEFORE_YIELD:
                    self.last_yield = self.position
                    yield_to_loop()
            if count > self.max_instances:
                refuse_instances(
                    f"expected at most {pluralize(self.max_instances, 'instance')} of "
                    f"{pluralize(len(self.schema), 'field')} in a body of this length; got more; "
                    "send fewer at a time",
                    expected=self.max_instances,
                    got="more",
                )

    def _read_stride(self) -> int:
        """Read the next stride with the fast decoder if all of its instances are valid.

        Returns:
            The number of instances; 0 if nothing was read and the next instance is to be read by
            itself.
        """
        if self.position < self.strict_until or self.position + self.stride > len(self.text):
            return 0
        end = self._find_stride_end()
        if not end:
            return 0
        self.strict_until, stride = end, self.text[self.position : end]
        yield_to_loop()
        inputs = decode_json_fast(b'{"instances":[' + stride.encode() + b"]}", self.schema)
        if inputs is None:
            return self._read_valid_stride(stride)
        self.position = end
        self.builder.append_block(inputs)
        return len(next(iter(inputs.values())))

    def _find_stride_end(self) -> int:
        """Return where the last whole instance of the next stride seems to end, 0 if nowhere."""
        stop = self.position + self.stride
        if self.schema.should_ignore_extra:
            # The value of an extra key may end with a bracket, too: only one between two records
            # is likely to end an instance.
            between = max(self.text.rfind(mark, self.position, stop) for mark in ("},{", "}, {"))
            if between >= 0:
                return between + 1
        return 1 + max(self.text.rfind(bracket, self.position, stop) for bracket in "]}")

    def _read_valid_stride(self, stride: str) -> int:
        """Read a stride that only the fast decoder refuses, for instance for a 70-bit integer.

        Returns:
            The number of instances; 0 if one of them is invalid.
        """
        try:
            instances = PAIRS_DECODER.decode(f"[{stride}]")
            if len(instances) > self.max_instances:
                return 0
            rows = [self._build_row(instance) for instance in instances]
        except (json.JSONDecodeError, RecursionError, InvalidInstancesError):
            return 0
        self.position += len(stride)
        for row in rows:
            self.builder.append(row)
        return len(rows)

    def _build_row(self, instance: object) -> list[float | str]:
        """Return the values of an instance of a stride; an error only ends the stride."""
        if isinstance(instance, tuple):
            record: dict[str, float | str] = {}
            for written, value in instance:
                key = self.schema.resolve_column_name(written)
                if not self._is_extra(key):
                    position = self._find_position(record, key, 0)
                    record[key] = self._validate(value, 0, position, named=True)
            return self._complete_record(record, len(instance), 0)
        if not isinstance(instance, list) or len(instance) != len(self.schema):
            self._refuse_instance(0, "another")
        return [self._validate(value, 0, position) for position, value in enumerate(instance)]

    def _read_instance(self, number: int) -> None:
        match self.peek():
            case "[":
                self.position += 1
                self.builder.append(self._read_list(number))
            case "{":
                self.position += 1
                self.builder.append(self._read_record(number))
            case _:
                self._refuse_instance(number, describe_value(self.read_value()))

    def _read_list(self, number: int) -> list[float | str]:
        """Read the values of a list after its bracket, all at once if none is nested or quoted."""
        width, opening = len(self.schema), self.position - 1
        end = self.text.find("]", self.position)
        if end >= 0 and not any(self.text.find(mark, self.position, end) >= 0 for mark in '[{"'):
            if (commas := self.text.count(",", self.position, end)) >= 2 * width:
                self._refuse_value_count(number, commas + 1)
            values, self.position = PAIRS_DECODER.raw_decode(self.text, opening)
            if len(values) != width:
                self._refuse_value_count(number, len(values))
            return [self._validate(value, number, place) for place, value in enumerate(values)]
        row: list[float | str] = []
        while self.has_next("]", first=not row):
            if len(row) == width:
                self._refuse_value_count(number, "more")
            row.append(self._validate(self.read_value(), number, len(row)))
        if len(row) != width:
            self._refuse_value_count(number, len(row))
        return row

    def _read_record(self, number: int) -> list[float | str]:
        """Read the members of an object after its brace."""
        record: dict[str, float | str] = {}
        count = 0
        while self.has_next("}", first=not count):
            key = self.schema.resolve_column_name(self.read_key())
            count += 1
            if self._is_extra(key):
                self._require_fewer_keys(count, number)
                self.position = find_value_end(self.text, self.position)
                continue
            position = self._find_position(record, key, number)
            record[key] = self._validate(self.read_value(), number, position, named=True)
        return self._complete_record(record, count, number)

    def _is_extra(self, key: str) -> bool:
        return self.schema.should_ignore_extra and key not in self.schema.column_positions

    def _require_fewer_keys(self, count: int, number: int) -> None:
        if count > self.schema.max_named_columns:
            refuse_instances(
                f"expected at most {self.schema.max_named_columns} fields in instance {number}; "
                "got more",
                instance=number,
            )

    def _find_position(self, record: dict[str, float | str], key: str, number: int) -> int:
        """Return the position of the column of a key that the record does not have yet."""
        position = self.schema.column_positions.get(key)
        if position is None:
            refuse_instances(
                f"expected no other fields than the model's in instance {number}; got "
                f"{quote_text(key)}{suggest_similar_name(key, self.schema.column_positions)}",
                instance=number,
                field=key[:MAX_QUOTED_CHARACTERS],
            )
        if key in record:
            refuse_instances(
                f"expected every field once in instance {number}; got {quote_text(key)} twice",
                instance=number,
                field=key,
            )
        return position

    def _complete_record(
        self, record: dict[str, float | str], count: int, number: int
    ) -> list[float | str]:
        """Return a record's values in the order of the columns, with absent ones as gaps.

        Args:
            record: Validated values by the name of their column.
            count: Number of keys of the record, ignored ones included.
            number: Number of the instance.
        """
        self._require_fewer_keys(count, number)
        if count and not record:
            refuse_instances(
                f"expected at least one of the model's fields in instance {number}; got {count} "
                f"others",
                instance=number,
            )
        for position, column in enumerate(self.schema.columns):
            if column.name not in record:
                try:
                    record[column.name] = column.fill_gap("no such key")
                except WrongValueError as error:
                    self._refuse_value(error, number, position, named=True)
        return [record[column.name] for column in self.schema.columns]

    def _validate(
        self, value: Any, instance: int, position: int, *, named: bool = False
    ) -> float | str:
        try:
            validated: float | str = self.schema.columns[position].validate(value)
        except WrongValueError as error:
            self._refuse_value(error, instance, position, named=named)
        return validated

    def _refuse_value(
        self, error: WrongValueError, instance: int, position: int, *, named: bool
    ) -> NoReturn:
        name = self.schema.columns[position].name
        where = "" if named else f" (position {position})"
        refuse_instances(
            f"expected {error.expected} in instance {instance}, field {name!r}{where}; got "
            f"{error.got}",
            instance=instance,
            field=name,
            **({} if named else {"position": position}),
        )

    def _refuse_instance(self, instance: int, got: str) -> NoReturn:
        refuse_instances(
            f"expected instance {instance} to be an object of named values or a list of "
            f"{len(self.schema)} {self.value_noun}; got {got}",
            instance=instance,
        )

    def _refuse_value_count(self, instance: int, got: int | Literal["more"]) -> NoReturn:
        refuse_instances(
            f"expected {len(self.schema)} {self.value_noun} in instance {instance}, one per "
            f"feature; got {got}",
            instance=instance,
            expected=len(self.schema),
            got=got,
        )
