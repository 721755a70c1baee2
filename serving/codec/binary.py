"""Binary matrices: NumPy's file format, and raw float32 numbers.

Both contain one matrix, so only models whose columns are all float32 numbers or booleans accept
them. The `.npy` format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.bundle import FEATURES_INPUT, Arrays, are_gap_numbers, pluralize
from serving.bundle.quoting import quote_text
from serving.codec.input_schema import InputSchema
from serving.codec.validation import (
    NUMBERS_PER_BLOCK,
    iterate_cooperatively,
    refuse_instances,
    validate_numbers,
)
from serving.errors import MalformedBodyError

MAX_EXACT_INTEGER_BYTES = 4  # A float64 represents all integers of this size exactly.
NPY_MAGIC = b"\x93NUMPY"
NPY_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}  # Size of the header's length field by format version.
MAX_NPY_HEADER_BYTES = 10_000  # NumPy's own limit for files that are not trusted.
# Possessive quantifiers refuse a header that does not match in one pass. Groups that can fail
# halfway have none: up to Python 3.11.4, what they consumed before they failed stays consumed.
NPY_HEADER_PATTERN = re.compile(
    rb"\s*+\{\s*+'descr'\s*+:\s*+'([^']{1,40}+)'\s*+,\s*+'fortran_order'\s*+:\s*+(True|False)\s*+,"
    rb"\s*+'shape'\s*+:\s*+\(((?:\s*+\d{1,20}+\s*+,)*(?:\s*+\d{1,20}+)?)\s*+\)\s*+,?+\s*+\}\s*+"
)
NPY_DTYPE_PATTERN = re.compile(r"[<>|=]?(f[248]|[iu][1248]|b1)")


def decode_npy(body: bytes, schema: InputSchema) -> Arrays:
    """Decode a `.npy` file with an array `(n, len(schema))`, or `(len(schema),)` for one row.

    Args:
        body: The file: floats of 16, 32 or 64 bits, integers or booleans. Pickles are refused.
        schema: The columns of the model.

    Returns:
        `features`, float32 `(n, len(schema))`.

    Raises:
        MalformedBodyError: If the body is not such a file.
        InvalidInstancesError: If the model does not accept matrices, this shape, or a number.
    """
    require_numeric_columns(schema, "an array")
    dtype, order, shape, start = _read_npy_header(body)
    try:
        numbers = np.frombuffer(body, dtype, offset=start).reshape(shape, order=order)
    except (ValueError, OverflowError):
        raise MalformedBodyError(
            f"expected an array of {dtype} of the shape {str(shape)[:40]}, as its header says; got "
            f"{pluralize(len(body) - start, 'byte')}"
        ) from None
    return _build_npy_inputs(numbers, schema)


def decode_raw_float32(body: bytes, schema: InputSchema) -> Arrays:
    """Decode rows of little-endian float32 numbers without any header.

    Args:
        body: The rows, `4 * n * len(schema)` bytes.
        schema: The columns of the model.

    Returns:
        `features`, float32 `(n, len(schema))`, a view of the body.

    Raises:
        InvalidInstancesError: If the model does not accept matrices, the body's length is not a
            multiple of a row's, or a column does not accept a number.
    """
    require_numeric_columns(schema, "raw numbers")
    width = len(schema)
    if len(body) % (4 * width):
        refuse_instances(
            f"expected rows of {4 * width} bytes, {pluralize(width, 'number')} in float32; got "
            f"{pluralize(len(body), 'byte')}"
        )
    return build_matrix_inputs(np.frombuffer(body, "<f4").reshape(-1, width), schema)


def require_numeric_columns(schema: InputSchema, body_format: str) -> None:
    """Refuse a body that is one float32 matrix if the model does not accept a matrix.

    Args:
        schema: The columns of the model.
        body_format: Name of the body's format, for the error message.

    Raises:
        InvalidInstancesError: If a column is neither a float32 number nor a boolean.
    """
    if not schema.has_single_input:
        precise = [column.name for column in schema.columns if column.requires_float64]
        why = "this model's columns are of several types"
        if precise:
            why = f"this model reads {quote_text(precise[0])} in float64, as an input of its own"
        refuse_instances(
            f"expected records, since {why}; got {body_format}; send JSON, CSV or an Arrow stream, "
            f"or each column as a tensor"
        )


def build_matrix_inputs(numbers: NDArray[Any], schema: InputSchema) -> Arrays:
    """Validate a matrix and return it as the graph's input `features`.

    Args:
        numbers: Floats, integers or booleans `(n, len(schema))`, of any byte order and memory
            layout.
        schema: Columns of a model that are all float32 numbers or booleans.

    Returns:
        `features`, float32 `(n, len(schema))`, a view of `numbers` where possible. NaN is a gap,
        where the model accepts gaps.

    Raises:
        InvalidInstancesError: If a column does not accept a number; the message quotes both.
    """
    if schema.gap_numbers:
        numbers = _replace_gap_numbers(numbers, schema)
    rows = _to_float32(numbers)
    step = max(NUMBERS_PER_BLOCK // len(schema), 1)
    for start in iterate_cooperatively(range(0, len(rows), step), NUMBERS_PER_BLOCK):
        block = rows[start : start + step]
        if not np.isfinite(block).all() or not schema.accepts_rows(block):
            columns = numbers[start : start + step].T
            for column, values in zip(schema.columns, columns, strict=True):
                validate_numbers(column, values, start)
    return {FEATURES_INPUT: rows}


def _replace_gap_numbers(numbers: NDArray[Any], schema: InputSchema) -> NDArray[np.float64]:
    """Return the numbers `(n, len(schema))` with NaN for those that mean a gap in their column."""
    replaced = numbers.astype(np.float64)
    step = max(NUMBERS_PER_BLOCK // len(schema), 1)
    for start in iterate_cooperatively(range(0, len(replaced), step), NUMBERS_PER_BLOCK):
        rows = slice(start, start + step)
        for index, column in enumerate(schema.columns):
            are_gaps = are_gap_numbers(numbers[rows, index], column.gap_numbers)
            replaced[rows, index][are_gaps] = np.nan
    return replaced


def _to_float32(numbers: NDArray[Any]) -> NDArray[np.float32]:
    if numbers.dtype == np.float32 and numbers.flags.c_contiguous and numbers.flags.aligned:
        return numbers
    with np.errstate(over="ignore", invalid="ignore"):  # The caller refuses infinities.
        if numbers.dtype.kind in "iu" and numbers.dtype.itemsize > MAX_EXACT_INTEGER_BYTES:
            # JSON numbers become float64 first; rounding twice can differ from rounding once, and
            # both formats have to give the same answer.
            numbers = numbers.astype(np.float64)
        return numbers.astype(np.float32, order="C")


def _read_npy_header(body: bytes) -> tuple[np.dtype[Any], Literal["C", "F"], tuple[int, ...], int]:
    """Return the dtype, memory order and shape of the array, and the offset of its first byte."""
    version = body[6] if body.startswith(NPY_MAGIC) and len(body) > 7 else 0
    start = 8 + NPY_LENGTH_BYTES.get(version, 0)
    end = start + int.from_bytes(body[8:start], "little")
    is_short = start <= end <= min(len(body), start + MAX_NPY_HEADER_BYTES)
    match = NPY_HEADER_PATTERN.fullmatch(body, start, end) if is_short else None
    if match is None:
        raise MalformedBodyError(
            f"expected a file of NumPy's format with an array of numbers; got {body[:80]!r}; write "
            f"it with numpy.save"
        )
    dtype, is_fortran, shape = (group.decode("latin-1") for group in match.groups())
    if not NPY_DTYPE_PATTERN.fullmatch(dtype):
        refuse_instances(f"expected an array of floats, integers or booleans; got one of {dtype!r}")
    lengths = tuple(int(length) for length in shape.split(",") if length.strip())
    return np.dtype(dtype), "F" if is_fortran == "True" else "C", lengths, end


def _build_npy_inputs(numbers: NDArray[Any], schema: InputSchema) -> Arrays:
    if numbers.shape == (len(schema),):
        numbers = numbers[None]
    if numbers.ndim != 2 or numbers.shape[1] != len(schema):
        refuse_instances(
            f"expected an array of the shape (n, {len(schema)}), a number per feature; got "
            f"{numbers.shape}",
            expected=len(schema),
        )
    return build_matrix_inputs(numbers, schema)
