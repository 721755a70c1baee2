"""Functions that make a hostile body of any size."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import zstandard

Make = Callable[[int], bytes]

LONGEST_VALUE = 130_000  # characters of a field of CSV; the server takes 131,072
WIDTH = 64  # columns of the model of numbers


def filled(before: str, part: str, after: str = "") -> Make:
    """Return a function that repeats `part` until the body has the wanted length."""

    def make(size: int) -> bytes:
        count = max(1, (size - len(before) - len(after)) // len(part))
        return (before + part * count + after).encode()

    return make


def long_values(before: str, digit: str, after: str) -> Make:
    """Return a function that makes lines of CSV, each with one value as long as a field may be."""

    def make(size: int) -> bytes:
        line = f"{before}{digit * min(size, LONGEST_VALUE)}{after}\n"
        return (line * max(1, size // len(line))).encode()

    return make


def npy(header: Make) -> Make:
    """Return a function that makes a NumPy file of version 2 with a long header."""

    def make(size: int) -> bytes:
        text = header(size)
        return b"\x93NUMPY\x02\0" + struct.pack("<I", len(text)) + text

    return make


def array_file(dtype: str, value: float = 1, last: float | None = None) -> Make:
    """Return a function that makes a NumPy file of rows of 64 equal numbers.

    Args:
        dtype: NumPy's type of the numbers.
        value: The number.
        last: Last number of the last row, where it is another.
    """

    def make(size: int) -> bytes:
        width = WIDTH
        rows = np.full((size // (np.dtype(dtype).itemsize * width), width), value, dtype)
        if last is not None:
            rows[-1, -1] = last
        file = io.BytesIO()
        np.save(file, rows)
        return file.getvalue()

    return make


def tensors(*inputs: dict[str, object], **more: object) -> str:
    """Return the JSON of an Open Inference request."""
    return json.dumps({"inputs": inputs, **more})


def binary(datatype: str, element: bytes, rows: int | None = None, name: str = "work") -> Make:
    """Return a function that makes a binary Open Inference request of one tensor.

    Args:
        datatype: Datatype of the tensor.
        element: Bytes of an element, which is repeated.
        rows: Rows that the shape claims; as many as there are elements if None.
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
        return tensors(tensor).encode() + element * count

    return make


def head_length(body: bytes) -> dict[str, str]:
    """Return the header that says where the JSON of a binary request ends."""
    _, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    return {"Inference-Header-Content-Length": str(end)}


def column_data(datatype: str, value: str, name: str = "work") -> Make:
    """Return a function that makes an Open Inference request of one column in JSON."""

    def make(size: int) -> bytes:
        count = max(1, size // (len(value) + 1))
        head = f'{{"inputs":[{{"name":"{name}","datatype":"{datatype}","shape":[{count},1],"data":['
        return (head + ",".join([value] * count) + "]}]}").encode()

    return make


def many_tensors(size: int) -> bytes:
    """Return an Open Inference request of very many tensors without bytes."""
    tensor = {
        "name": "work",
        "datatype": "FP32",
        "shape": [0, 1],
        "parameters": {"binary_data_size": 0},
    }
    return tensors(*[tensor] * (size // len(json.dumps(tensor)))).encode()


def many_outputs(size: int) -> bytes:
    """Return an Open Inference request that asks for very many outputs."""
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 64], "data": [0] * 64}
    return tensors(tensor, outputs=[{"name": "label"}] * (size // 20)).encode()


def long_shape(size: int) -> bytes:
    """Return an Open Inference request whose shape has very many dimensions."""
    tensor = {"name": "features", "datatype": "FP32", "shape": [2**40] * (size // 16), "data": []}
    return tensors(tensor).encode()


def unknown_columns(size: int) -> bytes:
    """Return a TensorFlow request in columns, of very many that the model does not have."""
    return json.dumps({"inputs": {f"c{i}": [1] for i in range(size // 14)}}).encode()


def unknown_fields(size: int) -> bytes:
    """Return a record of very many fields that the model does not have."""
    return json.dumps({"instances": [{f"c{i}": 1 for i in range(size // 12)}]}).encode()


def late_fault(good: str, bad: str) -> Make:
    """Return a function that makes instances of which only the last is wrong."""
    return filled('{"instances":[', f"{good},", f"{bad}]}}")


def gzip_members(content: bytes) -> Make:
    """Return a function that makes a gzip body of very many members."""
    member = gzip.compress(content, 9, mtime=0)
    return lambda size: member * (size // len(member))


def gzip_of(make: Make) -> Make:
    """Return a function that compresses what another makes."""
    return lambda size: gzip.compress(make(size), 1, mtime=0)


def gzip_blocks(size: int) -> bytes:
    """Return one gzip member of very many empty stored blocks."""
    block = b"\x00\x00\x00\xff\xff"
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    end = b"\x03\0" + struct.pack("<II", zlib.crc32(b""), 0)
    return head + block * (size // len(block)) + end


def zstd_of(make: Make) -> Make:
    """Return a function that compresses what another makes with zstd."""
    return lambda size: zstandard.ZstdCompressor(1).compress(make(size))


def zstd_empty_blocks(size: int, declared: bytes = b"") -> bytes:
    """Return one zstd frame of very many empty raw blocks."""
    head = zstandard.FRAME_HEADER + (b"\x20" + declared if declared else b"\x00\x38")
    return head + b"\0\0\0" * (size // 3) + b"\1\0\0"


def zstd_small_blocks(size: int) -> bytes:
    """Return one zstd frame of very many blocks, each with Huffman tables of its own."""
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


def zstd_skippable(size: int) -> bytes:
    """Return very many empty skippable frames of zstd."""
    return (b"\x50\x2a\x4d\x18" + bytes(4)) * (size // 8)
