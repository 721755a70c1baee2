"""TensorFlow Serving's REST protocol: instances in rows, or inputs in columns.

https://www.tensorflow.org/tfx/serving/api_rest#predict_api. Vertex AI sends instances in rows.
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
from serving.bundle.quoting import quote_text
from serving.codec.input_schema import InputSchema
from serving.codec.json_fast import narrow_to_float32, read_float32_rows
from serving.codec.json_flatness import is_flat_matrix
from serving.codec.json_syntax import read_json_document
from serving.codec.json_values import (
    MAX_OPTION_CHARACTERS,
    BodyOptions,
    build_value,
    decode_column,
    decode_matrix,
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
OPTION_KEYS = ("signature_name", "parameters")
VALUES_PER_OBJECT = 3  # cost of an object with one key and a list, in values
# The usual order of keys. A body that begins like this needs no search for its keys.
INSTANCES_FIRST = re.compile(
    rb'\s*\{\s*(?:"signature_name"\s*:\s*"\w*"\s*,\s*)?"instances"\s*:\s*\[\s*'
    rb'(\{\s*"features"\s*:\s*\[)?'
)
NAMED_FEATURES = re.compile(rb'"instances"\s*:\s*\[\s*\{\s*"features"\s*:\s*\[')


def decode_tensorflow_request(request: EncodedRequest, schema: InputSchema) -> DecodedRequest:
    """Decode a request of TensorFlow Serving's protocol.

    The body is `{"instances": [...]}` or `{"inputs": …}`. An instance is one that `/predict`
    accepts, or `{"features": [...]}`. The inputs are `{"features": [[…], …]}` or the matrix alone;
    for columns of several types they are `{column: [...], …}`. Both forms may have
    `signature_name` and `parameters`, `{"outputs": [name, …]}`.

    The answer is `{"predictions": [n]}` to instances and `{"outputs": …}` to inputs. A single
    output has no name around it. An instance's `value` is a list even if the model has one target:
    that is the shape of the graph's output, which TensorFlow Serving keeps.

    Args:
        request: Body of the request, and the headers that describe it.
        schema: The model's columns.

    Raises:
        NotJsonError: If the body is not JSON.
        InvalidInstancesError: If it has another form, or the model does not accept a value.
    """
    body, options = request.content, BodyOptions(*OPTION_KEYS)
    inputs, is_by_rows = _decode_inputs(body, schema, options)
    signature = options.values.get("signature_name", SIGNATURE_NAME)
    if signature != SIGNATURE_NAME:
        refuse_instances(
            f'expected "signature_name" to be "{SIGNATURE_NAME}" or absent; got '
            f"{quote_text(json.dumps(signature))}"
        )
    names = parse_requested_outputs(options.values.get("parameters"))
    return DecodedRequest(inputs, partial(_encode_tensorflow_answer, names, is_by_rows=is_by_rows))


def _decode_inputs(body: bytes, schema: InputSchema, options: BodyOptions) -> tuple[Arrays, bool]:
    """Return the graph's inputs and whether the body has them in rows."""
    first = INSTANCES_FIRST.match(body)
    match = first[1] if first else NAMED_FEATURES.search(body, 0, 2 * MAX_OPTION_CHARACTERS)
    if schema.should_ignore_extra:  # the first key of an instance may be one to ignore
        match = match or b'"features"' in body
    # If a column is called "features", an instance with that key is a record.
    has_features_column = FEATURES_INPUT in schema.column_positions
    is_named = bool(match and schema.has_single_input and not has_features_column)
    if is_named or (not first and b'"inputs"' in body):
        read = partial(
            _decode_document, body=body, schema=schema, options=options, is_named=is_named
        )
        inputs = read_json_document(body, schema, read)
        if inputs is not None:
            return inputs
    return decode_json(body, schema, options), True


def _decode_document(
    document: Any, *, body: bytes, schema: InputSchema, options: BodyOptions, is_named: bool
) -> tuple[Arrays, bool] | None:
    """Return the graph's inputs and whether the document has them in rows.

    Args:
        document: The parsed body.
        body: Bytes of the JSON text.
        schema: The model's columns.
        options: Receives the values of the keys in `OPTION_KEYS`.
        is_named: Whether the instances may be `{"features": [...]}`.

    Returns:
        None for instances that `/predict` accepts.
    """
    if not isinstance(document, simdjson.Object) or not (is_named or "inputs" in document):
        return None
    members = read_members(document, ("instances", "inputs", *OPTION_KEYS), "the body")
    if "inputs" in members and "instances" in members:
        refuse_instances('expected either "instances" or "inputs"; got both')
    for key in OPTION_KEYS:
        if key in members:
            options.values[key] = build_value(members[key], MAX_OPTION_CHARACTERS, f'"{key}"')
    if "inputs" in members:
        return _decode_columns(members["inputs"], body, schema), False
    if schema.should_ignore_extra and not _starts_with_features(members.get("instances"), schema):
        return None
    rows = _read_named_rows_fast(members["instances"], len(schema), body)
    if rows is not None and schema.accepts_rows(rows):
        return {FEATURES_INPUT: rows}, True
    named_rows = _iterate_named_rows(members["instances"], schema)
    return decode_matrix(named_rows, schema, f'"{FEATURES_INPUT}"'), True


def _decode_columns(values: Any, body: bytes, schema: InputSchema) -> Arrays:
    """Return the graph's inputs of the value of the key `inputs`."""
    max_keys = _get_max_keys(schema)
    if schema.has_single_input:
        if isinstance(values, simdjson.Object):
            members = read_members(values, (FEATURES_INPUT,), '"inputs"', max_keys)
            values = members.get(FEATURES_INPUT)
        return _decode_matrix(values, body, schema)
    tensors = read_members(
        values, schema.column_positions, '"inputs"', max_keys, schema.resolve_column_name
    )
    descriptions = {name: f'{quote_text(name)} in "inputs"' for name in tensors}
    # The lengths are compared before anything is decoded: too many values are refused at once.
    lengths = {
        name: range(len(require_list(array, descriptions[name]))) for name, array in tensors.items()
    }
    require_common_length(lengths, schema, len(body))
    columns = {
        name: decode_column(
            array, schema.columns[schema.column_positions[name]], descriptions[name]
        )
        for name, array in tensors.items()
    }
    count = require_common_length(columns, schema, len(body))
    return build_inputs_from_columns(columns, count, schema)


def _decode_matrix(values: object, body: bytes, schema: InputSchema) -> Arrays:
    try:
        # The options are assumed to have no bracket; if they have one, this only takes longer.
        rows = read_float32_rows(values, len(schema), body)
    except (ValueError, TypeError):
        rows = None
    if rows is not None and schema.accepts_rows(rows):
        return {FEATURES_INPUT: rows}
    matrix = require_list(values, f'"{FEATURES_INPUT}" in "inputs"')
    return decode_matrix(matrix, schema, '"inputs"')


def _read_named_rows_fast(instances: object, width: int, body: bytes) -> NDArray[np.float32] | None:
    """Return the numbers of `[{"features": [...]}, …]`, or None if anything is unusual.

    Args:
        instances: Value of a parsed document.
        width: Number of values in a row.
        body: JSON text of the whole request.

    Returns:
        Finite numbers, float32 `(n, width)`.
    """
    if not isinstance(instances, simdjson.Array):
        return None
    # If each instance has one list, which is checked below, these are the rows.
    if not is_flat_matrix(body, len(instances)):
        return None
    if len(instances) * width > len(body):  # the body is too short for so many numbers
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
    narrowed = narrow_to_float32(rows.ravel())
    return None if narrowed is None else narrowed.reshape(rows.shape)


def _get_only_features(instance: object) -> object:
    """Return the value in `{"features": …}`, or None if the instance is anything else."""
    if not isinstance(instance, simdjson.Object) or len(instance) != 1:
        return None
    return instance[FEATURES_INPUT] if next(iter(instance)) == FEATURES_INPUT else None


def _starts_with_features(instances: object, schema: InputSchema) -> bool:
    """Return whether the first instance has the key `features` and no key of a column."""
    first: Any = instances[0] if isinstance(instances, simdjson.Array) and len(instances) else None
    if not isinstance(first, simdjson.Object) or FEATURES_INPUT not in first:
        return False
    return schema.column_positions.keys().isdisjoint(map(schema.resolve_column_name, first))


def _iterate_named_rows(instances: object, schema: InputSchema) -> Iterator[object]:
    """Yield the value of the key `features` of each instance.

    Raises:
        InvalidInstancesError: If there is no list of instances, or one is no object with that key.
    """
    budget = TurnBudget(VALUES_PER_BLOCK)
    max_keys = _get_max_keys(schema)
    instance: Any
    for number, instance in enumerate(require_list(instances, '"instances"')):
        members = read_members(instance, (FEATURES_INPUT,), f"instance {number}", max_keys)
        budget.spend(len(instance))  # the keys that are ignored take time, too
        yield members.get(FEATURES_INPUT)


def _get_max_keys(schema: InputSchema) -> int | None:
    """Return the largest number of keys of an object, None if extra keys are an error."""
    return schema.max_named_columns if schema.should_ignore_extra else None


def _encode_tensorflow_answer(
    names: tuple[str, ...], manifest: Manifest, outputs: Arrays, *, is_by_rows: bool
) -> EncodedAnswer:
    del manifest  # an answer of this protocol does not have the version
    selected = select_outputs(outputs, names)
    if is_by_rows:
        single = next(iter(selected.values())) if len(selected) == 1 else None
        predictions = _encode_by_rows(selected) if single is None else prepare_for_orjson(single)
        return EncodedAnswer(orjson.dumps({"predictions": predictions}, option=ORJSON_OPTIONS))
    encoded: Any = {name: prepare_for_orjson(array) for name, array in selected.items()}
    if len(encoded) == 1:
        (encoded,) = encoded.values()
    return EncodedAnswer(orjson.dumps({"outputs": encoded}, option=ORJSON_OPTIONS))


def _encode_by_rows(outputs: Arrays) -> Any:
    """Return one object for each row, with the row's outputs by name, for orjson to serialize.

    Many rows are encoded here in blocks, with a yield to the event loop after each.
    """
    count, size = len(next(iter(outputs.values()))), sum(a.size for a in outputs.values())
    if size <= OUTPUT_VALUES_PER_BLOCK:
        return _build_row_objects(outputs)
    step = max(OUTPUT_VALUES_PER_BLOCK * count // size // VALUES_PER_OBJECT, 1)
    return encode_list_cooperatively(map(_build_row_objects, iter_row_slices(outputs, step)))


def _build_row_objects(outputs: Arrays) -> list[dict[str, Any]]:
    rows = zip(*map(_split_output, outputs.values()), strict=True)
    return [dict(zip(outputs, row, strict=True)) for row in rows]


def _split_output(output: NDArray[Any]) -> Any:
    """Return an output as a sequence over the rows: Python scalars, or rows of the array."""
    return output.tolist() if output.ndim == 1 else np.ascontiguousarray(output)
