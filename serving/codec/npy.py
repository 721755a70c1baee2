"""NumPy's file format: an array of numbers, read without a copy where it is float32.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays, pluralize
from serving.codec.binary import build_matrix_inputs, require_numeric_columns
from serving.codec.input_schema import InputSchema
from serving.codec.validation import refuse_instances
from serving.errors import MalformedBodyError

NPY_MAGIC = b"\x93NUMPY"
NPY_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}  # bytes that tell how long the header is, by version
MAX_NPY_HEADER_BYTES = 10_000  # bytes, as NumPy reads them of a file that it does not trust
# Possessive quantifiers give up a header that does not match after one look at it. Groups that can
# fail halfway have none: up to Python 3.11.4 what they read before they fail stays read.
NPY_HEADER_PATTERN = re.compile(
    rb"\s*+\{\s*+'descr'\s*+:\s*+'([^']{1,40}+)'\s*+,\s*+'fortran_order'\s*+:\s*+(True|False)\s*+,"
    rb"\s*+'shape'\s*+:\s*+\(((?:\s*+\d{1,20}+\s*+,)*(?:\s*+\d{1,20}+)?)\s*+\)\s*+,?+\s*+\}\s*+"
)
NPY_DTYPE_PATTERN = re.compile(r"[<>|=]?(f[248]|[iu][1248]|b1)")


def decode_npy(body: bytes, fields: InputSchema) -> Arrays:
    """The rows of an array `(n, len(fields))`, or the one row of `(len(fields),)`.

    Args:
        body: the file; floats of 16, 32 or 64 bits, integers or booleans. No pickle is read.
        fields: the model's columns, all of them numbers or booleans.

    Raises:
        MalformedBodyError: it is no such file.
        InvalidInstancesError: its shape or a number is not what the model takes.
    """
    require_numeric_columns(fields, "an array")
    dtype, order, shape, start = _read_npy_header(body)
    try:
        numbers = np.frombuffer(body, dtype, offset=start).reshape(shape, order=order)
    except (ValueError, OverflowError):
        raise MalformedBodyError(
            f"expected an array of {dtype} of the shape {str(shape)[:40]}, as its header says; got "
            f"{pluralize(len(body) - start, 'byte')}"
        ) from None
    return _build_npy_inputs(numbers, fields)


def _read_npy_header(body: bytes) -> tuple[np.dtype[Any], Literal["C", "F"], tuple[int, ...], int]:
    """Type, layout and shape of the array, and where it begins."""
    start = 8 + NPY_LENGTH_BYTES.get(
        body[6] if body.startswith(NPY_MAGIC) and len(body) > 7 else 0, 0
    )
    end = start + int.from_bytes(body[8:start], "little")
    short = start <= end <= min(len(body), start + MAX_NPY_HEADER_BYTES)
    found = NPY_HEADER_PATTERN.fullmatch(body, start, end) if short else None
    if found is None:
        raise MalformedBodyError(
            f"expected a file of NumPy's format with an array of numbers; got {body[:80]!r}; write "
            f"it with numpy.save"
        )
    kind, fortran, shape = (group.decode("latin-1") for group in found.groups())
    if not NPY_DTYPE_PATTERN.fullmatch(kind):
        refuse_instances(f"expected an array of floats, integers or booleans; got one of {kind!r}")
    lengths = tuple(int(length) for length in shape.split(",") if length.strip())
    return np.dtype(kind), "F" if fortran == "True" else "C", lengths, end


def _build_npy_inputs(numbers: NDArray[Any], fields: InputSchema) -> Arrays:
    if numbers.shape == (len(fields),):
        numbers = numbers[None]
    if numbers.ndim != 2 or numbers.shape[1] != len(fields):
        refuse_instances(
            f"expected an array of the shape (n, {len(fields)}), a number per feature; got "
            f"{numbers.shape}",
            expected=len(fields),
        )
    return build_matrix_inputs(numbers, fields)
