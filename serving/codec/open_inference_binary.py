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
from serving.codec.json_values import (
    build_value,
)
from serving.codec.quoting import MAX_QUOTED_CHARACTERS, quote_text
from serving.codec.validation import (
    VALUES_PER_BLOCK,
    iterate_cooperatively,
    refuse_instances,
)

MAX_TENSOR_PARAMETERS_CHARACTERS = 4096  # characters of parameters


def read_binary_size(members: dict[str, Any], rest: memoryview) -> int | None:
    """Return the number of bytes of an input behind the JSON, None if its data are in the JSON.

    Args:
        members: What the request says of the input; its name is a text.
        rest: Binary bytes that no input before has taken.

    Raises:
        InvalidInstancesError: If that is no number of bytes, or there are not so many.
    """
    if members.get("parameters") is None:
        return None
    name = members["name"]
    size = read_parameters(members, f"input {quote_text(name)}").get("binary_data_size")
    if size is None:
        return None
    if "data" in members or isinstance(size, bool) or not isinstance(size, int) or size < 0:
        refuse_instances(
            f'expected either "data" or the number of bytes in "binary_data_size" of input '
            f"{quote_text(name)}; got {'both' if 'data' in members else 'another value'}",
            input=name[:MAX_QUOTED_CHARACTERS],
        )
    if size > len(rest):
        refuse_instances(
            f"expected {pluralize(size, 'byte')} of input {quote_text(name)} behind the JSON; got "
            f"{len(rest)}",
            input=name[:MAX_QUOTED_CHARACTERS],
        )
    return size


def are_of_datatype(numbers: NDArray[np.float64], datatype: str) -> bool:
    """Whether all numbers `(n,)` surely are of a datatype; as floats, the largest might not be."""
    if datatype == "BOOL":
        return bool(((numbers == 0) | (numbers == 1)).all())
    if "INT" not in datatype:
        return True
    limits = np.iinfo(NUMPY_DTYPES[datatype])
    # The bound above the largest is a power of two, which a float is exactly.
    inside = (numbers >= float(limits.min)) & (numbers < float(limits.max + 1))
    return bool(inside.all() and (np.trunc(numbers) == numbers).all())


def is_of_datatype(value: Any, datatype: str) -> bool:
    """Whether a value of JSON is one of a datatype, or null."""
    if value is None:
        return True
    if not isinstance(value, int | float):
        return False
    if datatype == "BOOL":
        return value in (0, 1)
    if isinstance(value, bool):
        return False
    if "INT" in datatype:
        limits = np.iinfo(NUMPY_DTYPES[datatype])
        return value == int(value) and limits.min <= value <= limits.max
    return True


def read_parameters(members: dict[str, Any], what: str) -> dict[str, Any]:
    """The parameters of the request, or of a tensor; empty where there are none."""
    if members.get("parameters") is None:
        return {}
    found = build_value(
        members["parameters"], MAX_TENSOR_PARAMETERS_CHARACTERS, f'"parameters" of {what}'
    )
    if not isinstance(found, dict):
        refuse_instances(f'expected "parameters" of {what} to be an object; got another value')
    return found


def refuse_shared_memory(parameters: dict[str, Any], what: str) -> None:
    """Refuse a tensor that is to be read from, or written to, a region of shared memory."""
    if "shared_memory_region" in parameters:
        refuse_instances(
            f"expected {what} in a body; got a shared memory region; this server uses none; send "
            f"and ask for binary tensors"
        )


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
