"""Find two things that a served ONNX graph must not contain: weights in other files, and loops.

When ONNX Runtime loads a graph from bytes, it reads external weights from files below the working
directory, which no checksum of the manifest covers. A loop may run for ever. Both are found before
a session is created, by reading the graph's protobuf messages, but only the fields that can lead to
a tensor. Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_MESSAGE_DEPTH = 100  # levels of nested messages: protobuf's own limit

_TENSOR, _SPARSE = "TensorProto", "SparseTensorProto"
# The fields of each message that can lead to a tensor: {message: {field number: its message}}.
_FIELDS_TO_TENSORS: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: _TENSOR, 15: _SPARSE},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: _TENSOR,
        6: "GraphProto",
        10: _TENSOR,
        11: "GraphProto",
        22: _SPARSE,
        23: _SPARSE,
    },
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {},
}
_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14  # fields of a TensorProto
_OP_TYPE = 4  # field of a NodeProto
# ONNX operators that run a part of the graph as often as an input requests. SequenceMap is expanded
# to a Loop.
LOOP_OPERATORS = {"Loop", "Scan", "SequenceMap"}
# ONNX Runtime's own operators that repeat a part of the graph.
LOOP_OPERATORS |= {"BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"}
_VARINT, _EIGHT_BYTES, _LENGTH_PREFIXED, _FOUR_BYTES = 0, 1, 2, 5  # wire types


class MalformedGraphError(Exception):
    """The bytes are not a valid protobuf message, or are nested too deeply."""


def find_external_data(graph: bytes) -> str | None:
    """Return the name of the first tensor whose data is in another file; None if there is none.

    Args:
        graph: Content of an ONNX file.

    Raises:
        MalformedGraphError: If the content is not protobuf or is nested too deeply.
    """
    for message, content in _walk_messages(graph):
        if message == _TENSOR and (name := _find_external_name(content)) is not None:
            return name
    return None


def find_loop_operator(graph: bytes) -> str | None:
    """Return the first operator that repeats a part of the graph; None if there is none.

    Args:
        graph: Content of an ONNX file.

    Raises:
        MalformedGraphError: If the content is not protobuf or is nested too deeply.
    """
    for message, content in _walk_messages(graph):
        if message != "NodeProto":
            continue
        for field, value in _parse_fields(content):
            if field == _OP_TYPE and isinstance(value, memoryview) and len(value) < 64:
                operator = bytes(value).decode(errors="replace")
                if operator in LOOP_OPERATORS:
                    return operator
    return None


def _walk_messages(graph: bytes) -> Iterator[tuple[str, memoryview]]:
    """Yield the type and content of every message on the way to a tensor, nodes included."""
    pending = [("ModelProto", memoryview(graph), 0)]
    while pending:
        message, content, depth = pending.pop()
        if depth > MAX_MESSAGE_DEPTH:
            raise MalformedGraphError(
                f"expected messages at most {MAX_MESSAGE_DEPTH} levels deep; got deeper ones"
            )
        yield message, content
        if not (fields := _FIELDS_TO_TENSORS[message]):
            continue
        pending += [
            (fields[field], value, depth + 1)
            for field, value in _parse_fields(content)
            if field in fields and isinstance(value, memoryview)
        ]


def _find_external_name(tensor: memoryview) -> str | None:
    name, is_external = "", False
    for field, value in _parse_fields(tensor):
        if field == _NAME and isinstance(value, memoryview):
            name = bytes(value[:64]).decode(errors="replace")
        # Either field is enough, since a runtime may look at only one of them.
        is_external |= field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)
    return name if is_external else None


def _parse_fields(content: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield the number and value of each field of a message: an integer, or the field's bytes.

    Source: https://protobuf.dev/programming-guides/encoding.
    """
    position = 0
    while position < len(content):
        key, position = _parse_varint(content, position)
        match key & 7:
            case wire_type if wire_type == _VARINT:
                value, position = _parse_varint(content, position)
                yield key >> 3, value
                continue
            case wire_type if wire_type == _LENGTH_PREFIXED:
                size, position = _parse_varint(content, position)
            case wire_type if wire_type == _EIGHT_BYTES:
                size = 8
            case wire_type if wire_type == _FOUR_BYTES:
                size = 4
            case wire_type:
                raise MalformedGraphError(f"expected a protobuf wire type; got {wire_type}")
        if size > len(content) - position:
            raise MalformedGraphError("expected a complete message; got a truncated one")
        yield key >> 3, content[position : position + size]
        position += size


def _parse_varint(content: memoryview, position: int) -> tuple[int, int]:
    """Return the integer at a position, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(content):
            raise MalformedGraphError("expected a complete message; got a truncated one")
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise MalformedGraphError("expected an integer of at most 64 bits; got a longer one")
