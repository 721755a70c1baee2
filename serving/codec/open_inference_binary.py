"""Datatypes and the binary tensor extension of the Open Inference Protocol.

In the binary extension, an input's parameters give the size of its tensor, and the raw bytes of all
such tensors follow the JSON of the request. https://github.com/kserve/open-inference-protocol has
the datatypes; the extension is Triton's:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import pluralize
from serving.bundle.quoting import MAX_QUOTED_CHARACTERS, quote_text
from serving.codec.json_values import build_value
from serving.codec.validation import VALUES_PER_BLOCK, iterate_cooperatively, refuse_instances

MAX_TENSOR_PARAMETERS_CHARACTERS = 4096
BYTES, BOOL = "BYTES", "BOOL"
BF16 = "BF16"  # The upper 16 bits of a float32; NumPy has no such dtype.
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


def read_parameters(members: dict[str, Any], description: str) -> dict[str, Any]:
    """Return the "parameters" of the request, of an input or of an output.

    Args:
        members: The members of the JSON object.
        description: Description of the object, for error messages.

    Returns:
        The parameters as Python objects; an empty dict if there are none.

    Raises:
        InvalidInstancesError: If the parameters are not an object, or have more than 4096
            characters.
    """
    if members.get("parameters") is None:
        return {}
    parameters = build_value(
        members["parameters"], MAX_TENSOR_PARAMETERS_CHARACTERS, f'"parameters" of {description}'
    )
    if not isinstance(parameters, dict):
        refuse_instances(
            f'expected "parameters" of {description} to be an object; got another value'
        )
    return parameters


def refuse_shared_memory(parameters: dict[str, Any], description: str) -> None:
    """Refuse a tensor that is to be read from or written to a shared memory region.

    Args:
        parameters: The parameters of an input or an output.
        description: Description of the tensor, for error messages.

    Raises:
        InvalidInstancesError: If the parameters name a shared memory region.
    """
    if "shared_memory_region" in parameters:
        refuse_instances(
            f"expected {description} in a body; got a shared memory region; this server uses none; "
            f"send and request binary tensors"
        )


def read_binary_size(members: dict[str, Any], rest: memoryview) -> int | None:
    """Return the size of an input's binary tensor.

    Args:
        members: The members of the input; its "name" is a text.
        rest: The binary part of the body, without the tensors of preceding inputs.

    Returns:
        The size in bytes; None if the values are in the JSON.

    Raises:
        InvalidInstancesError: If "binary_data_size" is not a size, is larger than `rest`, or if
            there is "data" as well.
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
            f"expected {pluralize(size, 'byte')} of input {quote_text(name)} after the JSON; got "
            f"{len(rest)}",
            input=name[:MAX_QUOTED_CHARACTERS],
        )
    return size


def decode_numbers(content: memoryview, datatype: str, input_name: str) -> NDArray[Any]:
    """Decode a binary tensor of numbers or booleans.

    Args:
        content: The bytes of the tensor.
        datatype: Datatype of the elements, a key of `NUMPY_DTYPES`.
        input_name: Name of the input, for error messages.

    Returns:
        The elements `(n,)`, as a view of `content` except for BF16, which becomes float32.

    Raises:
        InvalidInstancesError: If the length is not a multiple of the element size.
    """
    dtype = np.dtype(NUMPY_DTYPES[datatype])
    if len(content) % dtype.itemsize:
        refuse_instances(
            f"expected input {quote_text(input_name)} in elements of {dtype.itemsize} bytes, "
            f"{datatype}; got {pluralize(len(content), 'byte')}",
            input=input_name,
        )
    array = np.frombuffer(content, dtype)
    return (array.astype("<u4") << 16).view("<f4") if datatype == BF16 else array


def decode_texts(content: memoryview, input_name: str, max_texts: int) -> Iterator[str]:
    """Yield the texts of a binary BYTES tensor: each is its length in 32 bits, then its bytes.

    Args:
        content: The bytes of the tensor.
        input_name: Name of the input, for error messages.
        max_texts: Largest number of texts, as given by the tensor's shape.

    Raises:
        InvalidInstancesError: If the tensor is truncated, has more texts, is too short for as many,
            or if a text is not UTF-8.
    """
    at = count = 0
    if 4 * max_texts > len(content):
        refuse_instances(
            f"expected {pluralize(max_texts, 'element')} of input {quote_text(input_name)}, as its "
            f"shape says; got fewer in {pluralize(len(content), 'byte')}",
            input=input_name,
            expected=max_texts,
        )
    while at < len(content):
        end = at + 4
        if end <= len(content):
            end += struct.unpack_from("<I", content, at)[0]
        if end > len(content):
            refuse_instances(
                f"expected complete BYTES elements in input {quote_text(input_name)}; got a "
                f"truncated one after {pluralize(count, 'element')}",
                input=input_name,
            )
        if count == max_texts:
            refuse_instances(
                f"expected {pluralize(max_texts, 'element')} of input {quote_text(input_name)}, as "
                f"its shape says; got more",
                input=input_name,
                expected=max_texts,
            )
        yield decode_text(content[at + 4 : end], input_name, count)
        at, count = end, count + 1


def decode_text(content: memoryview, input_name: str, element_number: int) -> str:
    """Decode one element of a BYTES tensor.

    Args:
        content: The bytes of the element, without its length.
        input_name: Name of the input, for error messages.
        element_number: Index of the element in the tensor, for error messages.

    Raises:
        InvalidInstancesError: If the element is not UTF-8.
    """
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError:
        refuse_instances(
            f"expected BYTES in UTF-8; got other bytes in element {element_number} of input "
            f"{quote_text(input_name)}",
            input=input_name,
            instance=element_number,
        )


def are_of_datatype(numbers: NDArray[np.float64], datatype: str) -> bool:
    """Return whether all numbers are certainly values of a datatype.

    Args:
        numbers: Numbers `(n,)` without NaN. Their conversion to float64 may have rounded a large
            integer up to the first one out of range; this is reported as false.
        datatype: A key of `NUMPY_DTYPES`.
    """
    if datatype == BOOL:
        return bool(((numbers == 0) | (numbers == 1)).all())
    if "INT" not in datatype:
        return True
    limits = np.iinfo(NUMPY_DTYPES[datatype])
    # The maximum itself may not be representable as a float64; the power of two above it is.
    are_inside = (numbers >= float(limits.min)) & (numbers < float(limits.max + 1))
    return bool(are_inside.all() and (np.trunc(numbers) == numbers).all())


def is_of_datatype(value: Any, datatype: str) -> bool:
    """Return whether a JSON value is null or a value of a datatype.

    Args:
        value: A JSON value as a Python object.
        datatype: A key of `NUMPY_DTYPES`.
    """
    if value is None:
        return True
    if not isinstance(value, int | float):
        return False
    if datatype == BOOL:
        return value in (0, 1)
    if isinstance(value, bool):
        return False
    if "INT" in datatype:
        limits = np.iinfo(NUMPY_DTYPES[datatype])
        return value == int(value) and limits.min <= value <= limits.max
    return True


def get_datatype(array: NDArray[Any]) -> str:
    """Return the datatype of an output of the graph; texts are BYTES."""
    return DATATYPES_BY_DTYPE.get(array.dtype.name, BYTES)


def encode_tensor(array: NDArray[Any]) -> bytes:
    """Return an output of the graph as a binary tensor.

    Args:
        array: Numbers or texts of any shape.
    """
    if get_datatype(array) != BYTES:
        return array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).tobytes()
    flat, parts = array.ravel(), []
    for start in iterate_cooperatively(range(0, len(flat), VALUES_PER_BLOCK), VALUES_PER_BLOCK):
        texts = [str(text).encode() for text in flat[start : start + VALUES_PER_BLOCK].tolist()]
        parts += [struct.pack("<I", len(text)) + text for text in texts]
    return b"".join(parts)
