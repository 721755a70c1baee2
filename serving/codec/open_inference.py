"""The Open Inference Protocol: tensors by name, as JSON or as raw bytes behind their JSON.

https://github.com/kserve/open-inference-protocol; the binary extension is Triton's:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson

from serving.bundle import FEATURES, Arrays, Category, Date, Input, Manifest, Number, counted
from serving.codec.answers import OPTIONS, plain
from serving.codec.inference_request import Asked, read_request
from serving.codec.input_schema import CategoryField, Fields
from serving.codec.json_documents import read_document
from serving.codec.json_syntax import syntax_error
from serving.codec.messages import JSON_BYTES, Message, Reply
from serving.codec.open_inference_binary import BYTES, bytes_of, datatype_of, numbers_of, text_of
from serving.codec.outputs import chosen
from serving.codec.question import Question
from serving.codec.raw import decode_raw
from serving.codec.validation import check_column, check_numbers, inputs_of_columns, refuse
from serving.errors import MalformedBodyError

BINARY = "application/octet-stream"
RAW = Asked(None, (), True, {})  # how a body without JSON is answered


def ask_inference(message: Message, fields: Fields) -> Question:
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
    body, length = message.content, message.json_bytes
    if length == 0:
        return Question(_raw_input(body, fields), partial(_reply, RAW))
    if length is not None and not 0 < length <= len(body):
        raise MalformedBodyError(
            f"expected {counted(length, 'byte')} of JSON, as {JSON_BYTES} says; got a body of "
            f"{len(body)}"
        )
    head = body if length is None else body[:length]
    rest = memoryview(body)[len(head) :]
    read = partial(read_request, head=head, rest=rest, fields=fields)
    try:
        inputs, asked = read_document(head, read)
    except (ValueError, RuntimeError):
        raise syntax_error(head, fields) from None
    return Question(inputs, partial(_reply, asked))


def _raw_input(body: bytes, fields: Fields) -> Arrays:
    """Decode a body that is the model's one input without JSON; of BYTES it is one text."""
    if fields.all_numbers:
        return decode_raw(body, fields)
    if len(fields) > 1:
        refuse(f"expected {JSON_BYTES} above 0, since the model has {len(fields)} inputs; got 0")
    (field,) = fields.columns
    values: Sequence[Any]
    if isinstance(field, CategoryField):
        texts = [text_of(memoryview(body), field.name, 0)]
        values = check_column(field, texts)
    else:  # a date, since a graph of one number or boolean takes a vector
        values = check_numbers(field, numbers_of(memoryview(body), "FP64", field.name))
    return inputs_of_columns({field.name: values}, len(values), fields)


def _reply(asked: Asked, manifest: Manifest, outputs: Arrays) -> Reply:
    tensors: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, array in chosen(outputs, asked.names).items():
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": datatype_of(array),
            "shape": array.shape,
        }
        if asked.each.get(name, asked.binary):
            parts.append(bytes_of(array))
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor["data"] = plain(array.ravel())
        tensors.append(tensor)
    answer: dict[str, Any] = {
        "model_name": manifest.name,
        "model_version": str(manifest.version),
        **({} if asked.id is None else {"id": asked.id}),
        "outputs": tensors,
    }
    head = orjson.dumps(answer, option=OPTIONS)
    if not parts:
        return Reply(head)
    return Reply(b"".join([head, *parts]), BINARY, ((JSON_BYTES, str(len(head))),))


def face(manifest: Manifest) -> dict[str, list[dict[str, Any]]]:
    """Return a model's inputs and outputs as in the protocol's metadata; -1 is the batch size.

    Args:
        manifest: Manifest of the model.

    Returns:
        `{"inputs": [{"name", "datatype", "shape"}, …], "outputs": […]}`.
    """
    if manifest.all_numbers:
        inputs = [_tensor(FEATURES, "FP32", -1, len(manifest.inputs))]
    else:
        inputs = [_tensor(column.name, _datatype(column), -1, 1) for column in manifest.inputs]
    if manifest.classes is None:
        return {
            "inputs": inputs,
            "outputs": [_tensor("value", "FP32", -1, len(manifest.data.target))],
        }
    texts = isinstance(manifest.classes[0], str)
    return {
        "inputs": inputs,
        "outputs": [
            _tensor("label", BYTES if texts else "INT64", -1),
            _tensor("probabilities", "FP32", -1, len(manifest.classes)),
        ],
    }


def _tensor(name: str, datatype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}


def _datatype(column: Input) -> str:
    match column:
        case Category():
            return BYTES
        case Date() | Number(dtype="float64"):
            return "FP64"
        case _:
            return "FP32"
