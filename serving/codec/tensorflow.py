"""TensorFlow Serving's REST protocol: instances in rows, or inputs in columns.

https://www.tensorflow.org/tfx/serving/api_rest#predict_api. Vertex AI sends the first of the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from serving.bundle import FEATURES_INPUT, Arrays, Manifest, iter_row_slices
from serving.codec.input_schema import InputSchema
from serving.codec.json_fast import has_character_count, narrow_to_float32, read_float32_rows
from serving.codec.json_syntax import explain_syntax_error
from serving.codec.json_values import (
    MAX_OPTION_CHARACTERS,
    BodyOptions,
    build_value,
    decode_column,
    decode_matrix,
    read_document,
    read_members,
    require_list,
    yield_after_step,
)
from serving.codec.messages import DecodedRequest, EncodedAnswer, EncodedRequest
from serving.codec.outputs import (
    ORJSON_OPTIONS,
    OUTPUT_VALUES_PER_BLOCK,
    encode_list_cooperatively,
    parse_requested_outputs,
    prepare_for_orjson,
    select_outputs,
)
from serving.codec.quoting import quote_text
from serving.codec.rows import decode_json
from serving.codec.validation import (
    VALUES_PER_BLOCK,
    build_inputs_from_columns,
    iterate_cooperatively,
    refuse_instances,
    require_common_length,
)
from serving.event_loop import TurnBudget

SIGNATURE_NAME = "serving_default"
VALUES_PER_OBJECT = 3  # an object, its key and its list cost what so many values do
OPTION_KEYS = ("signature_name", "parameters")
# The usual order of keys, in which the form is known at once.
INSTANCES_FIRST = re.compile(
    rb'\s*\{\s*(?:"signature_name"\s*:\s*"\w*"\s*,\s*)?"instances"\s*:\s*\[\s*'
    rb'(\{\s*"features"\s*:\s*\[)?'
)
NAMED_FEATURES = re.compile(rb'"instances"\s*:\s*\[\s*\{\s*"features"\s*:\s*\[')


def decode_tensorflow_request(message: EncodedRequest, fields: InputSchema) -> DecodedRequest:
    """The question of `{"instances": [...]}` or `{"inputs": …}`.

    An instance is what `/predict` takes, or `{"features": [...]}`. Inputs are `{"features":
    [[…], …]}` or the matrix alone, for tables of several types `{column: [...], …}`. Both may have
    `signature_name` and `parameters`, `{"outputs": [name, …]}`.

    Answers are `{"predictions": [n]}` to rows and `{"outputs": …}` to columns. A single output
    comes without its name; an instance of `value` is a list even of one target, as the graph's
    face and TensorFlow have it.

    Raises:
        NotJsonError: the body is not JSON.
        InvalidInstancesError: it is JSON of another form.
    """
    body, beside = message.content, BodyOptions(*OPTION_KEYS)
    inputs, by_rows = _decode_inputs(body, fields, beside)
    said = beside.values
    signature = said.get("signature_name", SIGNATURE_NAME)
    if signature != SIGNATURE_NAME:
        refuse_instances(
            f'expected "signature_name" to be "{SIGNATURE_NAME}" or absent; got {_quote_json(signature)}'
        )
    return DecodedRequest(
        inputs,
        partial(
            _encode_tensorflow_answer,
            parse_requested_outputs(said.get("parameters")),
            by_rows=by_rows,
        ),
    )


def _decode_inputs(body: bytes, fields: InputSchema, beside: BodyOptions) -> tuple[Arrays, bool]:
    """What the graph takes, and whether it came in rows."""
    first = INSTANCES_FIRST.match(body)
    named = first[1] if first else NAMED_FEATURES.search(body, 0, 2 * MAX_OPTION_CHARACTERS)
    if fields.should_ignore_extra:  # an instance may begin with a key that is left out
        named = named or b'"features"' in body
    # A column may have that name, too.
    named = bool(
        named and fields.has_single_input and FEATURES_INPUT not in fields.column_positions
    )
    if named or (not first and b'"inputs"' in body):
        read = partial(_decode_document, body=body, fields=fields, beside=beside, named=named)
        try:
            inputs = read_document(body, read)
        except (ValueError, RuntimeError):
            raise explain_syntax_error(body, fields) from None
        if inputs is not None:
            return inputs
    return decode_json(body, fields, beside), True


def _decode_document(
    document: Any, *, body: bytes, fields: InputSchema, beside: BodyOptions, named: bool
) -> tuple[Arrays, bool] | None:
    """Inputs in columns, or instances that name the tensor; None of what `/predict` takes."""
    if not isinstance(document, simdjson.Object) or not (named or "inputs" in document):
        return None
    members = read_members(document, ("instances", "inputs", *OPTION_KEYS), "the body")
    if "inputs" in members and "instances" in members:
        refuse_instances('expected either "instances" or "inputs"; got both')
    for key in OPTION_KEYS:
        if key in members:
            beside.values[key] = build_value(members[key], MAX_OPTION_CHARACTERS, f'"{key}"')
    if "inputs" in members:
        return _decode_columns(members["inputs"], body, fields), False
    if fields.should_ignore_extra and not _starts_with_features(members.get("instances"), fields):
        return None
    rows = _read_named_rows_fast(members["instances"], len(fields), body)
    if rows is not None and fields.accepts_rows(rows):
        return {FEATURES_INPUT: rows}, True
    return decode_matrix(
        _iterate_named_rows(members["instances"], fields), fields, f'"{FEATURES_INPUT}"'
    ), True


def _decode_columns(values: Any, body: bytes, fields: InputSchema) -> Arrays:
    """Inputs in columns."""
    if fields.has_single_input:
        if isinstance(values, simdjson.Object):
            values = read_members(values, (FEATURES_INPUT,), '"inputs"', _get_max_keys(fields)).get(
                FEATURES_INPUT
            )
        return _decode_matrix(values, body, fields)
    tensors = read_members(
        values,
        fields.column_positions,
        '"inputs"',
        _get_max_keys(fields),
        fields.resolve_column_name,
    )
    whats = {name: f'{quote_text(name)} in "inputs"' for name in tensors}
    # Before they are decoded: a column of too many values is refused in no time.
    lengths = {
        name: range(len(require_list(array, whats[name]))) for name, array in tensors.items()
    }
    require_common_length(lengths, fields, len(body))
    columns = {
        name: decode_column(array, fields.columns[fields.column_positions[name]], whats[name])
        for name, array in tensors.items()
    }
    return build_inputs_from_columns(
        columns, require_common_length(columns, fields, len(body)), fields
    )


def _decode_matrix(values: object, body: bytes, fields: InputSchema) -> Arrays:
    try:
        # What is beside is short and has hardly a bracket; with one this is only slower.
        rows = read_float32_rows(values, len(fields), body, brackets=0)
    except (ValueError, TypeError):
        rows = None
    if rows is not None and fields.accepts_rows(rows):
        return {FEATURES_INPUT: rows}
    return decode_matrix(
        require_list(values, f'"{FEATURES_INPUT}" in "inputs"'), fields, '"inputs"'
    )


def _read_named_rows_fast(instances: object, width: int, body: bytes) -> NDArray[np.float32] | None:
    """The rows of `[{"features": [...]}, …]`, or None where they are not ordinary."""
    # As in `read_float32_rows`: no bracket is left for nesting inside a row.
    if not isinstance(instances, simdjson.Array) or not has_character_count(
        body, b"[", len(instances) + 1
    ):
        return None
    if len(instances) * width > len(body):  # which could not hold them
        return None
    rows = np.empty((len(instances), width))
    for number, instance in enumerate(iterate_cooperatively(instances, width + VALUES_PER_OBJECT)):
        row = _get_only_features(instance)
        if not isinstance(row, simdjson.Array) or len(row) != width:
            return None
        try:
            rows[number] = np.frombuffer(row.as_buffer(of_type="d"), np.float64)
        except (ValueError, TypeError):
            return None
    yield_after_step(body)
    flat = narrow_to_float32(rows.ravel())
    return None if flat is None else flat.reshape(rows.shape)


def _get_only_features(instance: object) -> object:
    """Return what `{"features": …}` holds; None of anything else."""
    if not isinstance(instance, simdjson.Object) or len(instance) != 1:
        return None
    return instance[FEATURES_INPUT] if next(iter(instance)) == FEATURES_INPUT else None


def _starts_with_features(instances: object, fields: InputSchema) -> bool:
    """Return whether the first instance is `{"features": …}`, perhaps with keys of no column."""
    first: Any = instances[0] if isinstance(instances, simdjson.Array) and len(instances) else None
    if not isinstance(first, simdjson.Object) or FEATURES_INPUT not in first:
        return False
    return fields.column_positions.keys().isdisjoint(map(fields.resolve_column_name, first))


def _iterate_named_rows(instances: object, fields: InputSchema) -> Iterator[object]:
    """What instances hold that are each `{"features": [...]}`."""
    work = TurnBudget(VALUES_PER_BLOCK)
    instance: Any
    for number, instance in enumerate(require_list(instances, '"instances"')):
        found = read_members(
            instance, (FEATURES_INPUT,), f"instance {number}", _get_max_keys(fields)
        )
        work.spend(len(instance))  # keys that are left out
        yield found.get(FEATURES_INPUT)


def _get_max_keys(fields: InputSchema) -> int | None:
    """Return how many keys an object may have where others than the model's are left out."""
    return fields.max_named_columns if fields.should_ignore_extra else None


def _quote_json(value: Any) -> str:
    return quote_text(json.dumps(value))


def _list_elements(output: NDArray[Any]) -> Any:
    """Each instance's part of an output; a number or a text by itself as Python's own."""
    return output.tolist() if output.ndim == 1 else np.ascontiguousarray(output)


def _encode_by_rows(outputs: Arrays) -> Any:
    """Return the outputs row by row, each under its name; others have their turn in between."""
    count, size = len(next(iter(outputs.values()))), sum(a.size for a in outputs.values())
    if size <= OUTPUT_VALUES_PER_BLOCK:
        return _build_row_objects(outputs)
    step = max(OUTPUT_VALUES_PER_BLOCK * count // size // VALUES_PER_OBJECT, 1)
    return encode_list_cooperatively(map(_build_row_objects, iter_row_slices(outputs, step)))


def _build_row_objects(outputs: Arrays) -> list[dict[str, Any]]:
    rows = zip(*map(_list_elements, outputs.values()), strict=True)
    return [dict(zip(outputs, row, strict=True)) for row in rows]


def _encode_tensorflow_answer(
    names: tuple[str, ...], manifest: Manifest, outputs: Arrays, *, by_rows: bool
) -> EncodedAnswer:
    del manifest
    asked = select_outputs(outputs, names)
    if by_rows:
        single = next(iter(asked.values())) if len(asked) == 1 else None
        predictions = _encode_by_rows(asked) if single is None else prepare_for_orjson(single)
        return EncodedAnswer(orjson.dumps({"predictions": predictions}, option=ORJSON_OPTIONS))
    answered: Any = {name: prepare_for_orjson(array) for name, array in asked.items()}
    if len(answered) == 1:
        (answered,) = answered.values()
    return EncodedAnswer(orjson.dumps({"outputs": answered}, option=ORJSON_OPTIONS))
