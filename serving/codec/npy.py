"""NumPy's file format: an array of numbers, read without a copy where it is float32.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays, counted
from serving.codec.binary import inputs_of_matrix, require_numbers_alone
from serving.codec.input_schema import Fields
from serving.codec.validation import refuse
from serving.errors import MalformedBodyError

MAGIC = b"\x93NUMPY"
LENGTHS = {1: 2, 2: 4, 3: 4}  # bytes that tell how long the header is, by version
LONGEST_HEADER = 10_000  # bytes, as NumPy reads them of a file that it does not trust
# Possessive quantifiers give up a header that does not match after one look at it. Groups that can
# fail halfway have none: up to Python 3.11.4 what they read before they fail stays read.
HEADER = re.compile(
    rb"\s*+\{\s*+'descr'\s*+:\s*+'([^']{1,40}+)'\s*+,\s*+'fortran_order'\s*+:\s*+(True|False)\s*+,"
    rb"\s*+'shape'\s*+:\s*+\(((?:\s*+\d{1,20}+\s*+,)*(?:\s*+\d{1,20}+)?)\s*+\)\s*+,?+\s*+\}\s*+"
)
NUMBERS = re.compile(r"[<>|=]?(f[248]|[iu][1248]|b1)")


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
    dtype, order, shape, start = _header(body)
    try:
        numbers = np.frombuffer(body, dtype, offset=start).reshape(shape, order=order)
    except (ValueError, OverflowError):
        raise MalformedBodyError(
            f"expected an array of {dtype} of the shape {str(shape)[:40]}, as its header says; got "
            f"{counted(len(body) - start, 'byte')}"
        ) from None
    return _inputs(numbers, fields)


def _header(body: bytes) -> tuple[np.dtype[Any], Literal["C", "F"], tuple[int, ...], int]:
    """Type, layout and shape of the array, and where it begins."""
    start = 8 + LENGTHS.get(body[6] if body.startswith(MAGIC) and len(body) > 7 else 0, 0)
    end = start + int.from_bytes(body[8:start], "little")
    short = start <= end <= min(len(body), start + LONGEST_HEADER)
    found = HEADER.fullmatch(body, start, end) if short else None
    if found is None:
        raise MalformedBodyError(
            f"expected a file of NumPy's format with an array of numbers; got {body[:80]!r}; write "
            f"it with numpy.save"
        )
    kind, fortran, shape = (group.decode("latin-1") for group in found.groups())
    if not NUMBERS.fullmatch(kind):
        refuse(f"expected an array of floats, integers or booleans; got one of {kind!r}")
    lengths = tuple(int(length) for length in shape.split(",") if length.strip())
    return np.dtype(kind), "F" if fortran == "True" else "C", lengths, end


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
