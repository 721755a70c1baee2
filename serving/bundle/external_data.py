"""Outside data: a graph that keeps weights in files of its own choosing is refused.

ONNX Runtime, given a graph as bytes, reads such files below the working directory. No sum in the
manifest covers them. So the graph's protobuf is walked before a session is made: only along the
fields that can hold a tensor, by their numbers in
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_MESSAGE_DEPTH = 100  # messages in one another: protobuf's own bound

# Of each message, the fields that lead to tensors: number -> message.
_TENSOR, _SPARSE = "TensorProto", "SparseTensorProto"
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
# Operators that repeat a part of the graph, as often as an input says. SequenceMap is made of Loop.
LOOP_OPERATORS = {"Loop", "Scan", "SequenceMap"}
# ONNX Runtime's own ones.
LOOP_OPERATORS |= {"BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"}
_VARINT, _EIGHT_BYTES, _LENGTH_PREFIXED, _FOUR_BYTES = 0, 1, 2, 5  # wire types


class MalformedGraphError(Exception):
    """The bytes are no protobuf message."""


def find_external_data(graph: bytes) -> str | None:
    """The name of the first tensor that is not in the file itself; None if all are.

    Args:
        graph: an ONNX file's content.

    Raises:
        MalformedError: it is no protobuf, or deeper than any graph.
    """
    for message, content in _walk_messages(graph):
        if message == _TENSOR and (name := _find_external_name(content)) is not None:
            return name
    return None


def find_loop_operator(graph: bytes) -> str | None:
    """Return the first operator in the graph that repeats a part of it; None if there is none.

    Args:
        graph: Content of an ONNX file.

    Raises:
        MalformedError: If it is no protobuf, or deeper than any graph.
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
    """Yield the type and content of every message that can hold a tensor or a node."""
    waiting = [("ModelProto", memoryview(graph), 0)]
    while waiting:
        message, content, depth = waiting.pop()
        if depth > MAX_MESSAGE_DEPTH:
            raise MalformedGraphError(
                f"expected messages at most {MAX_MESSAGE_DEPTH} deep; got deeper ones"
            )
        yield message, content
        if not (leads := _FIELDS_TO_TENSORS[message]):
            continue
        waiting += [
            (leads[field], value, depth + 1)
            for field, value in _parse_fields(content)
            if field in leads and isinstance(value, memoryview)
        ]


def _find_external_name(tensor: memoryview) -> str | None:
    name, outside = "", False
    for field, value in _parse_fields(tensor):
        if field == _NAME and isinstance(value, memoryview):
            name = bytes(value[:64]).decode(errors="replace")
        # Either of them; a runtime may go by the one or the other.
        outside |= field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)
    return name if outside else None


def _parse_fields(content: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Of a message the number of each field, and its content or, where it has none, its integer.

    Source: https://protobuf.dev/programming-guides/encoding.
    """
    at = 0
    while at < len(content):
        key, at = _parse_varint(content, at)
        match key & 7:
            case kind if kind == _VARINT:
                value, at = _parse_varint(content, at)
                yield key >> 3, value
                continue
            case kind if kind == _LENGTH_PREFIXED:
                size, at = _parse_varint(content, at)
            case kind if kind == _EIGHT_BYTES:
                size = 8
            case kind if kind == _FOUR_BYTES:
                size = 4
            case kind:
                raise MalformedGraphError(f"expected a wire type of protobuf; got {kind}")
        if size > len(content) - at:
            raise MalformedGraphError("expected a whole message; got one that breaks off")
        yield key >> 3, content[at : at + size]
        at += size


def _parse_varint(content: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise MalformedGraphError("expected a whole message; got one that breaks off")
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedGraphError("expected an integer of at most 64 bits; got more")
