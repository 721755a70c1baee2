"""Datatypes of the Open Inference Protocol: tensors as raw bytes, and back.

https://github.com/kserve/open-inference-protocol, with Triton's extension for binary tensors.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import pluralize
from serving.codec.quoting import quote_text
from serving.codec.validation import VALUES_PER_BLOCK, iterate_cooperatively, refuse_instances

BYTES, BOOL = "BYTES", "BOOL"
BF16 = "BF16"  # the upper half of a float32
NUMPY_DTYPES = {
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
DATATYPES_BY_DTYPE = {"float32": "FP32", "float64": "FP64", "int64": "INT64"}


def decode_numbers(content: memoryview, datatype: str, name: str) -> NDArray[Any]:
    """The numbers of a raw tensor `(n,)`, a view of it where that is possible.

    Args:
        content: the tensor.
        datatype: of its elements, one of `NUMPY_DTYPES`.
        name: of the input.

    Raises:
        InvalidInstancesError: it ends within an element.
    """
    dtype = np.dtype(NUMPY_DTYPES[datatype])
    if len(content) % dtype.itemsize:
        refuse_instances(
            f"expected input {quote_text(name)} in elements of {dtype.itemsize} bytes, {datatype}; got "
            f"{pluralize(len(content), 'byte')}",
            input=name,
        )
    array = np.frombuffer(content, dtype)
    return (array.astype("<u4") << 16).view("<f4") if datatype == BF16 else array


def decode_texts(content: memoryview, name: str, max_texts: int) -> Iterator[str]:
    """Yield the texts of a raw tensor of BYTES: of each its length in 32 bits, then itself.

    Args:
        content: Bytes of the tensor.
        name: Name of the input.
        max_texts: Largest number of texts, as the tensor's shape says.

    Raises:
        InvalidInstancesError: If it breaks off, has more texts, or cannot have as many, or if a
            text is not UTF-8.
    """
    at = count = 0
    if 4 * max_texts > len(content):
        refuse_instances(
            f"expected {pluralize(max_texts, 'element')} of input {quote_text(name)}, as its shape says; "
            f"got fewer in {pluralize(len(content), 'byte')}",
            input=name,
            expected=max_texts,
        )
    while at < len(content):
        end = at + 4
        if end <= len(content):
            end += struct.unpack_from("<I", content, at)[0]
        if end > len(content):
            refuse_instances(
                f"expected input {quote_text(name)} in whole elements of BYTES; got one that breaks "
                f"off after element {count}",
                input=name,
            )
        if count == max_texts:
            refuse_instances(
                f"expected {max_texts} elements of input {quote_text(name)}, as its shape says; got more",
                input=name,
                expected=max_texts,
            )
        yield decode_text(content[at + 4 : end], name, count)
        at, count = end, count + 1


def decode_text(content: memoryview, name: str, element_number: int) -> str:
    """One element of BYTES as a text."""
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError:
        refuse_instances(
            f"expected BYTES in UTF-8; got other bytes in element {element_number} of input {quote_text(name)}",
            input=name,
            instance=element_number,
        )


def get_datatype(array: NDArray[Any]) -> str:
    """The word for what an output is of."""
    return DATATYPES_BY_DTYPE.get(array.dtype.name, BYTES)


def encode_tensor(array: NDArray[Any]) -> bytes:
    """An output as a raw tensor."""
    if get_datatype(array) != BYTES:
        return array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).tobytes()
    flat, parts = array.ravel(), []
    for start in iterate_cooperatively(range(0, len(flat), VALUES_PER_BLOCK), VALUES_PER_BLOCK):
        texts = [str(text).encode() for text in flat[start : start + VALUES_PER_BLOCK].tolist()]
        parts += [struct.pack("<I", len(text)) + text for text in texts]
    return b"".join(parts)
