"""The JSON of an Open Inference Protocol request: its inputs, and the options of the answer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import simdjson

from serving.bundle import FEATURES_INPUT, Arrays
from serving.bundle.quoting import describe_value, quote_text
from serving.codec.input_schema import InputSchema
from serving.codec.json_values import peek_value, read_members, require_list
from serving.codec.open_inference_binary import (
    BYTES,
    NUMPY_DTYPES,
    read_binary_size,
    read_parameters,
    refuse_shared_memory,
)
from serving.codec.open_inference_tensors import (
    InputTensor,
    decode_column_tensor,
    decode_matrix_tensor,
    decode_tensor_rows_fast,
)
from serving.codec.outputs import MAX_OUTPUTS, require_distinct_outputs
from serving.codec.validation import (
    build_inputs_from_columns,
    iterate_cooperatively,
    refuse_instances,
    require_common_length,
)

MAX_ID_CHARACTERS = 256
INPUT_COST_IN_VALUES = 64  # Reading an input's declaration takes as long as validating 64 values.
# The last two are not in the protocol: KServe's client repeats parts of the URL in them.
REQUEST_KEYS = ("inputs", "id", "parameters", "outputs", "model_name", "model_version")
TENSOR_KEYS = ("name", "shape", "datatype", "parameters", "data")
NO_MATRIX_HINT = "this model takes each column as an input of its own, and no matrix"


class AnswerOptions(NamedTuple):
    """The options that a request sets for its answer.

    Attributes:
        id: Id of the request, to be repeated in the answer; None if there is none.
        output_names: Names of the requested outputs; empty for all of them.
        is_binary_by_default: Whether an output that `is_binary_by_output` lacks is a binary tensor.
        is_binary_by_output: Whether an output is a binary tensor, by output name; only for outputs
            for which the request says so.
    """

    id: str | None
    output_names: tuple[str, ...]
    is_binary_by_default: bool
    is_binary_by_output: dict[str, bool]


def read_request(
    document: Any, head: bytes, rest: memoryview, schema: InputSchema
) -> tuple[Arrays, AnswerOptions]:
    """Decode a request.

    Args:
        document: simdjson's document of the JSON part.
        head: The JSON part of the body.
        rest: The binary tensors after the JSON part.
        schema: The columns of the model.

    Returns:
        The inputs of the graph, and the options of the answer.

    Raises:
        InvalidInstancesError: If the request is invalid, or the model does not accept its inputs.
    """
    request = read_members(document, REQUEST_KEYS, "the request")
    options = _read_answer_options(request)
    tensors: dict[str, InputTensor] = {}
    inputs = require_list(request.get("inputs"), '"inputs"')
    if schema.should_ignore_extra and len(inputs) > schema.max_named_columns:
        refuse_instances(f"expected at most {schema.max_named_columns} inputs; got {len(inputs)}")
    # If extra inputs are refused, the loop ends at the latest one input after the last column's.
    for value in (
        iterate_cooperatively(inputs, INPUT_COST_IN_VALUES)
        if schema.should_ignore_extra
        else inputs
    ):
        members = read_members(value, TENSOR_KEYS, "an input")
        if schema.should_ignore_extra and is_extra_input(members, schema):
            rest = rest[read_binary_size(members, rest) or 0 :]
            continue
        tensor, size = read_tensor(members, tensors, rest, schema)
        rest = rest[size:]
        tensors[tensor.name] = tensor
    if rest:
        refuse_instances(f"expected no bytes after the last tensor; got {len(rest)}")
    if schema.has_single_input:
        if FEATURES_INPUT not in tensors:
            refuse_instances(f'expected the input "{FEATURES_INPUT}"; got none')
        tensor = tensors[FEATURES_INPUT]
        rows = None
        if tensor.data is not None:
            rows = decode_tensor_rows_fast(tensor, head, request, len(schema))
        if rows is not None and schema.accepts_rows(rows):
            return {FEATURES_INPUT: rows}, options
        return decode_matrix_tensor(tensor, schema), options
    # The shapes are compared before any value is decoded, so that too many rows cost nothing.
    lengths = {name: range(tensor.row_count) for name, tensor in tensors.items()}
    size = len(head) + sum(len(tensor.content) for tensor in tensors.values())
    row_count = require_common_length(lengths, schema, size)
    columns = {
        name: decode_column_tensor(tensor, schema.columns[schema.column_positions[name]])
        for name, tensor in tensors.items()
    }
    return build_inputs_from_columns(columns, row_count, schema), options


def _read_answer_options(request: dict[str, Any]) -> AnswerOptions:
    request_id = request.get("id")
    if request_id is not None and not (
        isinstance(request_id, str) and len(request_id) <= MAX_ID_CHARACTERS
    ):
        refuse_instances(
            f'expected "id" to be a text of at most {MAX_ID_CHARACTERS} characters; got '
            f"{describe_value(peek_value(request_id))}"
        )
    is_binary_by_default = _read_flag(read_parameters(request, "the request"), "binary_data_output")
    outputs = require_list(request["outputs"], '"outputs"') if "outputs" in request else ()
    if len(outputs) > MAX_OUTPUTS:
        refuse_instances(f'expected "outputs" to name each output once; got {len(outputs)} names')
    is_binary_by_output: dict[str, bool] = {}
    names = []
    for value in outputs:
        members = read_members(value, ("name", "parameters"), "an output")
        name = require_text(members.get("name"), '"name" of an output')
        names.append(name)
        parameters = read_parameters(members, "an output")
        if "classification" in parameters:
            refuse_instances(
                'expected outputs as tensors; got "classification" among the parameters of '
                f'{quote_text(name)}; ask for "probabilities" and sort them'
            )
        refuse_shared_memory(parameters, f"output {quote_text(name)}")
        if "binary_data" in parameters:
            is_binary_by_output[name] = _read_flag(parameters, "binary_data")
    output_names = require_distinct_outputs(names) if names else ()
    return AnswerOptions(request_id, output_names, is_binary_by_default, is_binary_by_output)


def _read_flag(parameters: dict[str, Any], name: str) -> bool:
    flag = parameters.get(name, False)
    if not isinstance(flag, bool):
        refuse_instances(f'expected "{name}" to be true or false; got another value')
    return flag


def read_tensor(
    members: dict[str, Any],
    preceding: dict[str, InputTensor],
    rest: memoryview,
    schema: InputSchema,
) -> tuple[InputTensor, int]:
    """Read the declaration of an input.

    Args:
        members: The members of the input's JSON object.
        preceding: The preceding inputs by name.
        rest: The binary part of the body, without the tensors of preceding inputs.
        schema: The columns of the model.

    Returns:
        The input, and the number of bytes of `rest` that belong to it.

    Raises:
        InvalidInstancesError: If the model has no such input, or the declaration is invalid.
    """
    name = schema.resolve_column_name(require_text(members.get("name"), '"name" of an input'))
    known = list_input_names(schema)
    if name not in known or name in preceding:
        got = f"{quote_text(name)} twice" if name in preceding else quote_text(name)
        names = ", ".join(map(quote_text, list(known)[:5])) + ", ..." * (len(known) > 5)
        hint = f"; {NO_MATRIX_HINT}" if name == FEATURES_INPUT and name not in known else ""
        refuse_instances(
            f"expected inputs among {names}, each once; got {got}{hint}", input=name[:40]
        )
    description = f'input "{name}"'  # Now the name is one of the model's and need not be shortened.
    datatype = require_text(members.get("datatype"), f'"datatype" of {description}')
    if datatype not in NUMPY_DTYPES and datatype != BYTES:
        refuse_instances(
            f"expected one of the datatypes {', '.join(NUMPY_DTYPES)}, {BYTES}; got "
            f"{quote_text(datatype)} for input {quote_text(name)}",
            input=name,
        )
    row_count = _read_row_count(members.get("shape"), name, schema)
    size = read_binary_size(members, rest)
    if size is None:
        refuse_shared_memory(read_parameters(members, description), description)
        data = require_list(members.get("data"), f'"data" of {description}')
        parameters = members.get("parameters")
        return InputTensor(name, datatype, row_count, data, rest[:0], parameters), 0
    return InputTensor(name, datatype, row_count, None, rest[:size]), size


def list_input_names(schema: InputSchema) -> Collection[str]:
    """Return the names of a model's inputs: "features", or those of its columns."""
    return (FEATURES_INPUT,) if schema.has_single_input else schema.column_positions


def is_extra_input(members: dict[str, Any], schema: InputSchema) -> bool:
    """Return whether the model has no such input.

    Args:
        members: The members of the input's JSON object.
        schema: The columns of the model.

    Raises:
        InvalidInstancesError: If the input's "name" is not a text.
    """
    name = require_text(members.get("name"), '"name" of an input')
    return schema.resolve_column_name(name) not in list_input_names(schema)


def _read_row_count(shape: object, name: str, schema: InputSchema) -> int:
    """Return the number of instances that a tensor's shape declares."""
    lengths = list(map(peek_value, shape[:3])) if isinstance(shape, simdjson.Array) else []
    width = len(schema) if schema.has_single_input else 1
    are_valid = all(type(length) is int and 0 <= length < 2**40 for length in lengths)
    may_be_flat = not schema.has_single_input
    if not are_valid or not (lengths[1:] == [width] or (len(lengths) == 1 and may_be_flat)):
        refuse_instances(
            f'expected "shape" of input {quote_text(name)} to be [n, {width}]'
            f"{' or [n]' * may_be_flat}; got "
            f"{lengths if are_valid and lengths else 'another value'}",
            input=name,
        )
    row_count: int = lengths[0]  # type: ignore[assignment]
    return row_count


def require_text(value: object, description: str) -> str:
    """Return a member that has to be a text, or refuse the request.

    Args:
        value: A value of the JSON document.
        description: Description of the member, for error messages.

    Raises:
        InvalidInstancesError: If the value is not a text.
    """
    if not isinstance(value, str):
        refuse_instances(
            f"expected {description} to be a text; got {describe_value(peek_value(value))}"
        )
    return value
