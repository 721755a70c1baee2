"""NumPy's file format: an array of numbers, read without a copy where it is float32.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays
from serving.codec.columns import refuse
from serving.codec.fields import Fields
from serving.codec.matrix import KINDS, inputs_of_matrix, require_numbers_alone
from serving.errors import MalformedBodyError

LONGEST_HEADER = 1024  # bytes
# As NumPy itself writes the header of float32 rows in this machine's order of bytes.
PLAIN = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '<f4', 'fortran_order': False, "
    rb"'shape': \((\d{1,9}), (\d{1,9})\), \} *\n",
    re.DOTALL,
)


def decode_npy(body: bytes, fields: Fields) -> Arrays:
    """The rows of an array `(n, len(fields))`, or the one row of `(len(fields),)`.

    Args:
        body: the file; floats of 16, 32 or 64 bits, integers or booleans. No pickle is read.
        fields: the model's columns, all of them numbers or booleans.

    Raises:
        MalformedBodyError: it is no such file.
        InvalidInstancesError: its shape or a number is not what the model takes.
    """
    require_numbers_alone(fields, "an array")
    plain = PLAIN.match(body)
    if plain and plain.end() == 10 + int.from_bytes(body[8:10], "little"):
        shape, start = (int(plain[1]), int(plain[2])), plain.end()
        if len(body) - start == 4 * shape[0] * shape[1]:
            return _inputs(np.frombuffer(body, "<f4", offset=start).reshape(shape), fields)
    return _inputs(_read(body), fields)


def _read(body: bytes) -> NDArray[Any]:
    shape, fortran, dtype, start = _header(body)
    if dtype.kind not in KINDS or dtype.itemsize > 8:
        refuse(f"expected an array of floats, integers or booleans; got one of {dtype.str[:40]}")
    try:
        flat = np.frombuffer(body, dtype, offset=start)
        return flat.reshape(shape, order="F" if fortran else "C")
    except (ValueError, OverflowError):
        raise MalformedBodyError(
            f"expected an array of {dtype} of the shape {str(shape)[:40]}, as its header says; got "
            f"{len(body) - start} bytes"
        ) from None


def _header(body: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    stream = BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        header = read(stream, max_header_size=LONGEST_HEADER)
    except (ValueError, KeyError, TypeError, MemoryError, RecursionError) as error:
        raise MalformedBodyError(
            f"expected a file of NumPy's format, version 1 or 2; got another: {str(error)[:100]}; "
            f"write it with numpy.save"
        ) from None
    return *header, stream.tell()


def _inputs(numbers: NDArray[Any], fields: Fields) -> Arrays:
    if numbers.shape == (len(fields),):
        numbers = numbers[None]
    if numbers.ndim != 2 or numbers.shape[1] != len(fields):
        refuse(
            f"expected an array of the shape (n, {len(fields)}), a number per feature; got "
            f"{numbers.shape}",
            expected=len(fields),
        )
    return inputs_of_matrix(numbers, fields)
