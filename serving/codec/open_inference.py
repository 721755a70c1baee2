"""The Open Inference Protocol: tensors by name, as JSON or as raw bytes behind their JSON.

https://github.com/kserve/open-inference-protocol; the binary extension is Triton's:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson

from serving.bundle import (
    FEATURES_INPUT,
    Arrays,
    CategoryColumn,
    DateColumn,
    InputColumn,
    Manifest,
    NumberColumn,
    pluralize,
)
from serving.codec.binary import decode_raw_float32
from serving.codec.column_validators import CategoryValidator
from serving.codec.input_schema import InputSchema
from serving.codec.json_syntax import explain_syntax_error
from serving.codec.json_values import peek_value, read_document, read_members, require_list
from serving.codec.messages import JSON_LENGTH_HEADER, DecodedRequest, EncodedAnswer, EncodedRequest
from serving.codec.open_inference_binary import (
    BYTES,
    decode_numbers,
    decode_text,
    encode_tensor,
    get_datatype,
    read_binary_size,
    read_parameters,
    refuse_shared_memory,
)
from serving.codec.open_inference_tensors import (
    TENSOR_KEYS,
    InputTensor,
    decode_column_tensor,
    decode_matrix_tensor,
    decode_tensor_rows_fast,
    is_extra_input,
    read_tensor,
    require_text,
)
from serving.codec.outputs import (
    MAX_OUTPUTS,
    ORJSON_OPTIONS,
    prepare_for_orjson,
    require_distinct_outputs,
    select_outputs,
)
from serving.codec.quoting import describe_value, quote_text
from serving.codec.validation import (
    build_inputs_from_columns,
    iterate_cooperatively,
    refuse_instances,
    require_common_length,
    validate_column,
    validate_numbers,
)
from serving.errors import MalformedBodyError

MAX_ID_CHARACTERS = 256  # characters
INPUT_COST_IN_VALUES = 64  # values that take as long to check as the head of an input to read
# The last two are not the protocol's: KServe's client repeats there what the URL has said.
REQUEST_KEYS = ("inputs", "id", "parameters", "outputs", "model_name", "model_version")


class AnswerOptions(NamedTuple):
    """How the answer is to be told.

    Attributes:
        id: to be repeated; None where there is none.
        output_names: of the outputs; none for all.
        is_binary_by_default: whether an output of no word of its own is raw bytes.
        each: the outputs that have their own.
    """

    id: str | None
    output_names: tuple[str, ...]
    is_binary_by_default: bool
    is_binary_by_output: dict[str, bool]


def read_request(
    document: Any, head: bytes, rest: memoryview, fields: InputSchema
) -> tuple[Arrays, AnswerOptions]:
    """The graph's inputs, and how its answer is to be told.

    Args:
        document: simdjson's.
        head: that it was made of.
        rest: the binary tensors behind it.
        fields: the model's columns.

    Raises:
        InvalidInstancesError: anything is not what the model or the protocol takes.
    """
    request = read_members(document, REQUEST_KEYS, "the request")
    asked = _read_answer_options(request)
    tensors: dict[str, InputTensor] = {}
    inputs = require_list(request.get("inputs"), '"inputs"')
    if fields.should_ignore_extra and len(inputs) > fields.max_named_columns:
        refuse_instances(f"expected at most {fields.max_named_columns} inputs; got {len(inputs)}")
    # Without those that are left out there are no more inputs than columns.
    for value in (
        iterate_cooperatively(inputs, INPUT_COST_IN_VALUES)
        if fields.should_ignore_extra
        else inputs
    ):
        members = read_members(value, TENSOR_KEYS, "an input")
        if fields.should_ignore_extra and is_extra_input(members, fields):
            rest = rest[read_binary_size(members, rest) or 0 :]
            continue
        tensor, size = read_tensor(members, tensors, rest, fields)
        rest = rest[size:]
        tensors[tensor.name] = tensor
    if rest:
        refuse_instances(f"expected no bytes behind the last tensor; got {len(rest)}")
    if fields.has_single_input:
        if FEATURES_INPUT not in tensors:
            refuse_instances(f'expected the input "{FEATURES_INPUT}"; got none')
        tensor = tensors[FEATURES_INPUT]
        rows = (
            None
            if tensor.data is None
            else decode_tensor_rows_fast(tensor, head, request, len(fields))
        )
        if rows is not None and fields.accepts_rows(rows):
            return {FEATURES_INPUT: rows}, asked
        return decode_matrix_tensor(tensor, fields), asked
    # By what their shapes say, before they are decoded: too many rows are refused in no time.
    lengths = {name: range(tensor.row_count) for name, tensor in tensors.items()}
    size = len(head) + sum(len(tensor.content) for tensor in tensors.values())
    count = require_common_length(lengths, fields, size)
    columns = {
        name: decode_column_tensor(tensor, fields.columns[fields.column_positions[name]])
        for name, tensor in tensors.items()
    }
    return build_inputs_from_columns(columns, count, fields), asked


def _read_answer_options(request: dict[str, Any]) -> AnswerOptions:
    known = request.get("id")
    if known is not None and not (isinstance(known, str) and len(known) <= MAX_ID_CHARACTERS):
        refuse_instances(
            f'expected "id" to be a text of at most {MAX_ID_CHARACTERS} characters; got '
            f"{describe_value(peek_value(known))}"
        )
    binary = _read_flag(read_parameters(request, "the request"), "binary_data_output")
    outputs = require_list(request["outputs"], '"outputs"') if "outputs" in request else ()
    if len(outputs) > MAX_OUTPUTS:
        refuse_instances(f'expected "outputs" to name each output once; got {len(outputs)} names')
    each: dict[str, bool] = {}
    names = []
    for value in outputs:
        members = read_members(value, ("name", "parameters"), "an output")
        names.append(require_text(members.get("name"), '"name" of an output'))
        parameters = read_parameters(members, "an output")
        if "classification" in parameters:
            refuse_instances(
                'expected outputs as tensors; got "classification" among the parameters of '
                f'{quote_text(names[-1])}; ask for "probabilities" and sort them'
            )
        refuse_shared_memory(parameters, f"output {quote_text(names[-1])}")
        if "binary_data" in parameters:
            each[names[-1]] = _read_flag(parameters, "binary_data")
    return AnswerOptions(known, require_distinct_outputs(names) if names else (), binary, each)


def _read_flag(parameters: dict[str, Any], name: str) -> bool:
    found = parameters.get(name, False)
    if not isinstance(found, bool):
        refuse_instances(f'expected "{name}" to be true or false; got another value')
    return found


BINARY_MEDIA_TYPE = "application/octet-stream"
RAW_ANSWER_OPTIONS = AnswerOptions(None, (), True, {})  # how a body without JSON is answered


def decode_inference_request(message: EncodedRequest, fields: InputSchema) -> DecodedRequest:
    """Decode `{"inputs": [{"name", "shape", "datatype", "data"}, …], "outputs"?, "id"?}`.

    An input is `features` `[n, f]` if all columns are float32 numbers or booleans, else one column,
    `[n, 1]` or `[n]`. Its values are cast to the type that the graph takes: a date may be seconds
    since 1970 in UTC, or BYTES in ISO 8601. A gap is null, NaN in binary, or an absent column.

    Where `message.json_bytes` is 0, the body is the model's one input and nothing else.

    Raises:
        NotJsonError: If the JSON part is not JSON.
        MalformedBodyError: If the body is shorter than its JSON part should be.
        InvalidInstancesError: If the model or the protocol does not take an input.
    """
    body, length = message.content, message.json_length
    if length == 0:
        return DecodedRequest(
            _decode_raw_input(body, fields), partial(_encode_tensors_answer, RAW_ANSWER_OPTIONS)
        )
    if length is not None and not 0 < length <= len(body):
        raise MalformedBodyError(
            f"expected {pluralize(length, 'byte')} of JSON, as {JSON_LENGTH_HEADER} says; got a body of "
            f"{len(body)}"
        )
    head = body if length is None else body[:length]
    rest = memoryview(body)[len(head) :]
    read = partial(read_request, head=head, rest=rest, fields=fields)
    try:
        inputs, asked = read_document(head, read)
    except (ValueError, RuntimeError):
        raise explain_syntax_error(head, fields) from None
    return DecodedRequest(inputs, partial(_encode_tensors_answer, asked))


def _decode_raw_input(body: bytes, fields: InputSchema) -> Arrays:
    """Decode a body that is the model's one input without JSON; of BYTES it is one text."""
    if fields.has_single_input:
        return decode_raw_float32(body, fields)
    if len(fields) > 1:
        refuse_instances(
            f"expected {JSON_LENGTH_HEADER} above 0, since the model has {len(fields)} inputs; got 0"
        )
    (field,) = fields.columns
    values: Sequence[Any]
    if isinstance(field, CategoryValidator):
        texts = [decode_text(memoryview(body), field.name, 0)]
        values = validate_column(field, texts)
    else:  # a date, since a graph of one number or boolean takes a vector
        values = validate_numbers(field, decode_numbers(memoryview(body), "FP64", field.name))
    return build_inputs_from_columns({field.name: values}, len(values), fields)


def _encode_tensors_answer(
    asked: AnswerOptions, manifest: Manifest, outputs: Arrays
) -> EncodedAnswer:
    tensors: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, array in select_outputs(outputs, asked.output_names).items():
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": get_datatype(array),
            "shape": array.shape,
        }
        if asked.is_binary_by_output.get(name, asked.is_binary_by_default):
            parts.append(encode_tensor(array))
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor["data"] = prepare_for_orjson(array.ravel())
        tensors.append(tensor)
    answer: dict[str, Any] = {
        "model_name": manifest.name,
        "model_version": str(manifest.version),
        **({} if asked.id is None else {"id": asked.id}),
        "outputs": tensors,
    }
    head = orjson.dumps(answer, option=ORJSON_OPTIONS)
    if not parts:
        return EncodedAnswer(head)
    return EncodedAnswer(
        b"".join([head, *parts]), BINARY_MEDIA_TYPE, ((JSON_LENGTH_HEADER, str(len(head))),)
    )


def build_tensor_metadata(manifest: Manifest) -> dict[str, list[dict[str, Any]]]:
    """Return a model's inputs and outputs as in the protocol's metadata; -1 is the batch size.

    Args:
        manifest: Manifest of the model.

    Returns:
        `{"inputs": [{"name", "datatype", "shape"}, …], "outputs": […]}`.
    """
    if manifest.is_all_numeric:
        inputs = [_describe_tensor(FEATURES_INPUT, "FP32", -1, len(manifest.inputs))]
    else:
        inputs = [
            _describe_tensor(column.name, _get_column_datatype(column), -1, 1)
            for column in manifest.inputs
        ]
    if manifest.classes is None:
        return {
            "inputs": inputs,
            "outputs": [_describe_tensor("value", "FP32", -1, len(manifest.data.target))],
        }
    texts = isinstance(manifest.classes[0], str)
    return {
        "inputs": inputs,
        "outputs": [
            _describe_tensor("label", BYTES if texts else "INT64", -1),
            _describe_tensor("probabilities", "FP32", -1, len(manifest.classes)),
        ],
    }


def _describe_tensor(name: str, datatype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}


def _get_column_datatype(column: InputColumn) -> str:
    match column:
        case CategoryColumn():
            return BYTES
        case DateColumn() | NumberColumn(dtype="float64"):
            return "FP64"
        case _:
            return "FP32"
