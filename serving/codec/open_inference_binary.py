"""Datatypes of the Open Inference Protocol: tensors as raw bytes, and back.

https://github.com/kserve/open-inference-protocol, with Triton's extension for binary tensors.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import counted
from serving.codec.quoting import quoted
from serving.codec.validation import VALUES, in_turns, refuse

BYTES, BOOL = "BYTES", "BOOL"
BF16 = "BF16"  # the upper half of a float32
DTYPES = {
    "BOOL": "?",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    BF16: "<u2",
    "FP32": "<f4",
    "FP64": "<f8",
}
WORDS = {"float32": "FP32", "float64": "FP64", "int64": "INT64"}


def numbers_of(content: memoryview, datatype: str, name: str) -> NDArray[Any]:
    """The numbers of a raw tensor `(n,)`, a view of it where that is possible.

    Args:
        content: the tensor.
        datatype: of its elements, one of `DTYPES`.
        name: of the input.

    Raises:
        InvalidInstancesError: it ends within an element.
    """
    dtype = np.dtype(DTYPES[datatype])
    if len(content) % dtype.itemsize:
        refuse(
            f"expected input {quoted(name)} in elements of {dtype.itemsize} bytes, {datatype}; got "
            f"{counted(len(content), 'byte')}",
            input=name,
        )
    array = np.frombuffer(content, dtype)
    return (array.astype("<u4") << 16).view("<f4") if datatype == BF16 else array


def texts_of(content: memoryview, name: str, most: int) -> Iterator[str]:
    """Yield the texts of a raw tensor of BYTES: of each its length in 32 bits, then itself.

    Args:
        content: Bytes of the tensor.
        name: Name of the input.
        most: Largest number of texts, as the tensor's shape says.

    Raises:
        InvalidInstancesError: If it breaks off, has more texts, or cannot have as many, or if a
            text is not UTF-8.
    """
    at = count = 0
    if 4 * most > len(content):
        refuse(
            f"expected {counted(most, 'element')} of input {quoted(name)}, as its shape says; "
            f"got fewer in {counted(len(content), 'byte')}",
            input=name,
            expected=most,
        )
    while at < len(content):
        end = at + 4
        if end <= len(content):
            end += struct.unpack_from("<I", content, at)[0]
        if end > len(content):
            refuse(
                f"expected input {quoted(name)} in whole elements of BYTES; got one that breaks "
                f"off after element {count}",
                input=name,
            )
        if count == most:
            refuse(
                f"expected {most} elements of input {quoted(name)}, as its shape says; got more",
                input=name,
                expected=most,
            )
        yield text_of(content[at + 4 : end], name, count)
        at, count = end, count + 1


def text_of(content: memoryview, name: str, place: int) -> str:
    """One element of BYTES as a text."""
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError:
        refuse(
            f"expected BYTES in UTF-8; got other bytes in element {place} of input {quoted(name)}",
            input=name,
            instance=place,
        )


def datatype_of(array: NDArray[Any]) -> str:
    """The word for what an output is of."""
    return WORDS.get(array.dtype.name, BYTES)


def bytes_of(array: NDArray[Any]) -> bytes:
    """An output as a raw tensor."""
    if datatype_of(array) != BYTES:
        return array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).tobytes()
    flat, parts = array.ravel(), []
    for start in in_turns(range(0, len(flat), VALUES), VALUES):
        texts = [str(text).encode() for text in flat[start : start + VALUES].tolist()]
        parts += [struct.pack("<I", len(text)) + text for text in texts]
    return b"".join(parts)
