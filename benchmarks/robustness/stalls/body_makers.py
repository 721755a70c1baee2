"""Functions that make a hostile body of any size."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
import zstandard

MakeBody = Callable[[int], bytes]  # a body of about that length in bytes

MAX_FIELD_CHARACTERS = 130_000  # of a CSV field; the server accepts 131,072
COLUMN_COUNT = 64  # of the model `numbers`


def repeat_part(before: str, part: str, after: str = "") -> MakeBody:
    """Return a function that repeats `part` until the body has the requested length."""

    def make(size: int) -> bytes:
        count = max(1, (size - len(before) - len(after)) // len(part))
        return (before + part * count + after).encode()

    return make


def repeat_long_values(before: str, digit: str, after: str) -> MakeBody:
    """Return a function that makes CSV lines, each with one value of the maximum length."""

    def make(size: int) -> bytes:
        line = f"{before}{digit * min(size, MAX_FIELD_CHARACTERS)}{after}\n"
        return (line * max(1, size // len(line))).encode()

    return make


def make_npy_header(header: MakeBody) -> MakeBody:
    """Return a function that makes a NumPy file of version 2 with a long header."""

    def make(size: int) -> bytes:
        text = header(size)
        return b"\x93NUMPY\x02\0" + struct.pack("<I", len(text)) + text

    return make


def make_npy_rows(dtype: str, value: float = 1, last: float | None = None) -> MakeBody:
    """Return a function that makes a NumPy file of rows of 64 equal numbers.

    Args:
        dtype: NumPy's type of the numbers.
        value: The number.
        last: Last number of the last row; None for the same number.
    """

    def make(size: int) -> bytes:
        width = COLUMN_COUNT
        rows = np.full((size // (np.dtype(dtype).itemsize * width), width), value, dtype)
        if last is not None:
            rows[-1, -1] = last
        file = io.BytesIO()
        np.save(file, rows)
        return file.getvalue()

    return make


def encode_tensors(*inputs: Mapping[str, object], **more: object) -> str:
    """Return the JSON of an Open Inference request."""
    return json.dumps({"inputs": inputs, **more})


def make_binary_tensor(
    datatype: str, element: bytes, rows: int | None = None, name: str = "work"
) -> MakeBody:
    """Return a function that makes a binary Open Inference request of one tensor.

    Args:
        datatype: Datatype of the tensor.
        element: Bytes of one element, which is repeated.
        rows: Number of rows in the shape; None for the number of elements.
        name: Name of the input.
    """

    def make(size: int) -> bytes:
        count = size // len(element)
        tensor = {
            "name": name,
            "datatype": datatype,
            "shape": [count if rows is None else rows, 1],
            "parameters": {"binary_data_size": count * len(element)},
        }
        return encode_tensors(tensor).encode() + element * count

    return make


def make_json_length_header(body: bytes) -> dict[str, str]:
    """Return the header that states the length of the JSON in a binary request."""
    _, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    return {"Inference-Header-Content-Length": str(end)}


def make_json_column(datatype: str, value: str, name: str = "work") -> MakeBody:
    """Return a function that makes an Open Inference request of one column in JSON."""

    def make(size: int) -> bytes:
        count = max(1, size // (len(value) + 1))
        head = f'{{"inputs":[{{"name":"{name}","datatype":"{datatype}","shape":[{count},1],"data":['
        return (head + ",".join([value] * count) + "]}]}").encode()

    return make


def make_many_tensors(size: int) -> bytes:
    """Return an Open Inference request of very many tensors without bytes."""
    tensor = {
        "name": "work",
        "datatype": "FP32",
        "shape": [0, 1],
        "parameters": {"binary_data_size": 0},
    }
    return encode_tensors(*[tensor] * (size // len(json.dumps(tensor)))).encode()


def make_many_outputs(size: int) -> bytes:
    """Return an Open Inference request that asks for very many outputs."""
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 64], "data": [0] * 64}
    return encode_tensors(tensor, outputs=[{"name": "label"}] * (size // 20)).encode()


def make_long_shape(size: int) -> bytes:
    """Return an Open Inference request whose shape has very many dimensions."""
    tensor = {"name": "features", "datatype": "FP32", "shape": [2**40] * (size // 16), "data": []}
    return encode_tensors(tensor).encode()


def make_unknown_columns(size: int) -> bytes:
    """Return a TensorFlow request in columns, with very many that the model does not have."""
    return json.dumps({"inputs": {f"c{i}": [1] for i in range(size // 14)}}).encode()


def make_unknown_fields(size: int) -> bytes:
    """Return a record of very many fields that the model does not have."""
    return json.dumps({"instances": [{f"c{i}": 1 for i in range(size // 12)}]}).encode()


def make_late_fault(good: str, bad: str) -> MakeBody:
    """Return a function that makes instances, of which only the last is faulty."""
    return repeat_part('{"instances":[', f"{good},", f"{bad}]}}")


def make_gzip_members(content: bytes) -> MakeBody:
    """Return a function that makes a gzip body of very many members."""
    member = gzip.compress(content, 9, mtime=0)
    return lambda size: member * (size // len(member))


def compress_with_gzip(make: MakeBody) -> MakeBody:
    """Return a function that compresses the bodies of another one with gzip."""
    return lambda size: gzip.compress(make(size), 1, mtime=0)


def make_gzip_blocks(size: int) -> bytes:
    """Return one gzip member of very many empty stored blocks."""
    block = b"\x00\x00\x00\xff\xff"
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    end = b"\x03\0" + struct.pack("<II", zlib.crc32(b""), 0)
    return head + block * (size // len(block)) + end


def compress_with_zstd(make: MakeBody) -> MakeBody:
    """Return a function that compresses the bodies of another one with zstd."""
    return lambda size: zstandard.ZstdCompressor(1).compress(make(size))


def make_zstd_empty_blocks(size: int, declared: bytes = b"") -> bytes:
    """Return one zstd frame of very many empty raw blocks."""
    head = zstandard.FRAME_HEADER + (b"\x20" + declared if declared else b"\x00\x38")
    return head + b"\0\0\0" * (size // 3) + b"\1\0\0"


def make_zstd_small_blocks(size: int) -> bytes:
    """Return one zstd frame of very many blocks, each with its own Huffman tables."""
    rng = random.Random(0)
    weights = [2**-i for i in range(12)]
    compressor = zstandard.ZstdCompressor(3, write_content_size=True).compressobj(size)
    parts, left = [], size
    while left:
        text = bytes(rng.choices(range(32, 44), weights, k=min(left, 96)))
        parts += [compressor.compress(text), compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
        left -= len(text)
    parts.append(compressor.flush())
    return b"".join(parts)


def make_zstd_skippable_frames(size: int) -> bytes:
    """Return very many empty skippable frames of zstd."""
    return (b"\x50\x2a\x4d\x18" + bytes(4)) * (size // 8)
