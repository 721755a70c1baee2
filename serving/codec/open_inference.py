"""The Open Inference Protocol, version 2: decode requests, encode answers, describe models.

Tensors are named, and are JSON or raw bytes after the JSON. The protocol:
https://github.com/kserve/open-inference-protocol. The binary extension is Triton's:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
from typing_extensions import TypedDict

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
from serving.codec.input_schema import InputSchema
from serving.codec.json_syntax import read_json_document
from serving.codec.messages import JSON_LENGTH_HEADER, DecodedRequest, EncodedAnswer, EncodedRequest
from serving.codec.open_inference_binary import (
    BYTES,
    decode_numbers,
    decode_text,
    encode_tensor,
    get_datatype,
)
from serving.codec.open_inference_request import AnswerOptions, read_request
from serving.codec.outputs import ORJSON_OPTIONS, prepare_for_orjson, select_outputs
from serving.codec.validation import (
    build_inputs_from_columns,
    refuse_instances,
    validate_column,
    validate_numbers,
)
from serving.errors import MalformedBodyError

BINARY_MEDIA_TYPE = "application/octet-stream"
# A request without JSON gets all outputs as binary tensors.
RAW_ANSWER_OPTIONS = AnswerOptions(None, (), True, {})


def decode_inference_request(request: EncodedRequest, schema: InputSchema) -> DecodedRequest:
    """Decode `{"inputs": [{"name", "shape", "datatype", "data"}, …], "outputs"?, "id"?}`.

    If all columns are float32 numbers or booleans, the only input is `features` `[n, f]`. Otherwise
    each column is an input `[n, 1]` or `[n]`. Values are converted to the type that the graph
    takes; a date may be a number of seconds since 1970 in UTC, or BYTES in ISO 8601. A gap is null,
    NaN in a binary tensor, or an absent column.

    Args:
        request: The request. If its `json_length` is 0, the body is the model's only input and
            contains no JSON.
        schema: The columns of the model.

    Returns:
        The inputs of the graph, and the function that encodes the answer.

    Raises:
        NotJsonError: If the JSON part is not JSON.
        MalformedBodyError: If the body is shorter than its JSON part should be.
        InvalidInstancesError: If the request is invalid, or the model does not accept its inputs.
    """
    body, json_length = request.content, request.json_length
    if json_length == 0:
        encode_answer = partial(_encode_tensors_answer, RAW_ANSWER_OPTIONS)
        return DecodedRequest(_decode_raw_input(body, schema), encode_answer)
    if json_length is not None and not 0 < json_length <= len(body):
        raise MalformedBodyError(
            f"expected {pluralize(json_length, 'byte')} of JSON, as {JSON_LENGTH_HEADER} says; got "
            f"a body of {len(body)}"
        )
    head = body if json_length is None else body[:json_length]
    rest = memoryview(body)[len(head) :]
    read = partial(read_request, head=head, rest=rest, schema=schema)
    inputs, options = read_json_document(head, schema, read)
    return DecodedRequest(inputs, partial(_encode_tensors_answer, options))


def _decode_raw_input(body: bytes, schema: InputSchema) -> Arrays:
    """Decode a body that is the model's only input; for a category column, one text."""
    if schema.has_single_input:
        return decode_raw_float32(body, schema)
    if len(schema) > 1:
        refuse_instances(
            f"expected {JSON_LENGTH_HEADER} above 0, since the model has {len(schema)} inputs; "
            f"got 0"
        )
    (column,) = schema.columns
    values: Sequence[Any]
    if column.is_text:
        texts = [decode_text(memoryview(body), column.name, 0)]
        values = validate_column(column, texts)
    else:  # A float64 number or a date; other columns are the matrix `features`.
        numbers = decode_numbers(memoryview(body), "FP64", column.name)
        values = validate_numbers(column, numbers)
    return build_inputs_from_columns({column.name: values}, len(values), schema)


def _encode_tensors_answer(
    options: AnswerOptions, manifest: Manifest, outputs: Arrays
) -> EncodedAnswer:
    tensors: list[dict[str, Any]] = []
    binary_tensors: list[bytes] = []
    for name, array in select_outputs(outputs, options.output_names).items():
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": get_datatype(array),
            "shape": array.shape,
        }
        if options.is_binary_by_output.get(name, options.is_binary_by_default):
            binary_tensors.append(encode_tensor(array))
            tensor["parameters"] = {"binary_data_size": len(binary_tensors[-1])}
        else:
            tensor["data"] = prepare_for_orjson(array.ravel())
        tensors.append(tensor)
    answer: dict[str, Any] = {
        "model_name": manifest.name,
        "model_version": str(manifest.version),
        **({} if options.id is None else {"id": options.id}),
        "outputs": tensors,
    }
    head = orjson.dumps(answer, option=ORJSON_OPTIONS)
    if not binary_tensors:
        return EncodedAnswer(head)
    headers = ((JSON_LENGTH_HEADER, str(len(head))),)
    return EncodedAnswer(b"".join([head, *binary_tensors]), BINARY_MEDIA_TYPE, headers)


class TensorMetadata(TypedDict):
    """A tensor as the protocol describes it.

    Attributes:
        name: Name of the tensor.
        datatype: The protocol's name of its datatype, such as `FP32`.
        shape: Size of each dimension; the first, the number of rows, is -1.
    """

    name: str
    datatype: str
    shape: list[int]


class ModelTensors(TypedDict):
    """A model's input and output tensors."""

    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


def build_tensor_metadata(manifest: Manifest) -> ModelTensors:
    """Return a model's inputs and outputs as in the protocol's model metadata.

    Args:
        manifest: Manifest of the model's version.
    """
    if manifest.is_all_numeric:
        inputs = [_describe_tensor(FEATURES_INPUT, "FP32", -1, len(manifest.inputs))]
    else:
        inputs = [
            _describe_tensor(column.name, _get_column_datatype(column), -1, 1)
            for column in manifest.inputs
        ]
    if manifest.classes is None:
        outputs = [_describe_tensor("value", "FP32", -1, len(manifest.data.target))]
    else:
        label_datatype = BYTES if isinstance(manifest.classes[0], str) else "INT64"
        outputs = [
            _describe_tensor("label", label_datatype, -1),
            _describe_tensor("probabilities", "FP32", -1, len(manifest.classes)),
        ]
    return ModelTensors(inputs=inputs, outputs=outputs)


def _describe_tensor(name: str, datatype: str, *shape: int) -> TensorMetadata:
    return TensorMetadata(name=name, datatype=datatype, shape=list(shape))


def _get_column_datatype(column: InputColumn) -> str:
    match column:
        case CategoryColumn():
            return BYTES
        case DateColumn() | NumberColumn(dtype="float64"):
            return "FP64"
        case _:
            return "FP32"
