"""The Open Inference Protocol: tensors by name, as JSON or as raw bytes behind their JSON.

https://github.com/kserve/open-inference-protocol; the binary extension is Triton's:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

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
from serving.codec.answers import ORJSON_OPTIONS, prepare_for_orjson
from serving.codec.inference_request import AnswerOptions, read_request
from serving.codec.input_schema import CategoryValidator, InputSchema
from serving.codec.json_documents import read_document
from serving.codec.json_syntax import explain_syntax_error
from serving.codec.messages import JSON_LENGTH_HEADER, EncodedAnswer, EncodedRequest
from serving.codec.open_inference_binary import (
    BYTES,
    decode_numbers,
    decode_text,
    encode_tensor,
    get_datatype,
)
from serving.codec.outputs import select_outputs
from serving.codec.question import DecodedRequest
from serving.codec.raw import decode_raw_float32
from serving.codec.validation import (
    build_inputs_from_columns,
    refuse_instances,
    validate_column,
    validate_numbers,
)
from serving.errors import MalformedBodyError

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
    if fields.all_numbers:
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
    for name, array in select_outputs(outputs, asked.names).items():
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": get_datatype(array),
            "shape": array.shape,
        }
        if asked.is_binary_by_output.get(name, asked.binary):
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
    if manifest.all_numbers:
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
