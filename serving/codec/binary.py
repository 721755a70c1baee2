"""Binary matrices: raw float32 and NumPy's file format."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.bundle import FEATURES_INPUT, Arrays, are_gap_numbers, pluralize
from serving.codec.column_validators import Float64Validator
from serving.codec.input_schema import InputSchema
from serving.codec.quoting import quote_text
from serving.codec.validation import (
    NUMBERS_PER_BLOCK,
    iterate_cooperatively,
    refuse_instances,
    validate_numbers,
)
from serving.errors import MalformedBodyError

MAX_EXACT_INTEGER_BYTES = 4  # of integers that a float64 holds, all of them


def build_matrix_inputs(numbers: NDArray[Any], fields: InputSchema) -> Arrays:
    """Return the graph's `features` input; a view of `numbers` where that is possible.

    Args:
        numbers: `(n, len(fields))`, floats, integers or booleans of any byte order and layout.
        fields: Columns of a model that are all float32 numbers or booleans.

    Returns:
        `features`, float32 `(n, len(fields))`. NaN is a gap where the graph fills one.

    Raises:
        InvalidInstancesError: If a column refuses a number; the message names both.
    """
    if fields.gap_numbers:
        numbers = _replace_gap_numbers(numbers, fields)
    rows = _to_float32(numbers)
    step = max(NUMBERS_PER_BLOCK // len(fields), 1)
    for start in iterate_cooperatively(range(0, len(rows), step), NUMBERS_PER_BLOCK):
        part = rows[start : start + step]
        if not np.isfinite(part).all() or not fields.accepts_rows(part):
            columns = numbers[start : start + step].T
            for field, column in zip(fields.columns, columns, strict=True):
                validate_numbers(field, column, start)
    return {FEATURES_INPUT: rows}


def _replace_gap_numbers(numbers: NDArray[Any], fields: InputSchema) -> NDArray[np.float64]:
    """Return the numbers with NaN for those that stand for a gap in their column."""
    found = numbers.astype(np.float64)
    step = max(NUMBERS_PER_BLOCK // len(fields), 1)
    for start in iterate_cooperatively(range(0, len(found), step), NUMBERS_PER_BLOCK):
        part = slice(start, start + step)
        for place, field in enumerate(fields.columns):
            found[part, place][are_gap_numbers(numbers[part, place], field.gap_numbers)] = np.nan
    return found


def _to_float32(numbers: NDArray[Any]) -> NDArray[np.float32]:
    if numbers.dtype == np.float32 and numbers.flags.c_contiguous and numbers.flags.aligned:
        return numbers
    with np.errstate(over="ignore", invalid="ignore"):  # the caller refuses infinities
        if numbers.dtype.kind in "iu" and numbers.dtype.itemsize > MAX_EXACT_INTEGER_BYTES:
            # JSON numbers become float64 first; rounding twice can differ from rounding once.
            numbers = numbers.astype(np.float64)
        return numbers.astype(np.float32, order="C")


def require_numeric_columns(fields: InputSchema, form: str) -> None:
    """Refuse a body format that holds one float32 matrix, for a model that does not take one.

    Args:
        fields: Columns of the model.
        form: Body format of the request, such as `.npy`, for the message.

    Raises:
        InvalidInstancesError: If a column is neither a float32 number nor a boolean.
    """
    if not fields.has_single_input:
        precise = [field.name for field in fields.columns if isinstance(field, Float64Validator)]
        why = "this model's columns are of several types"
        if precise:
            why = f"this model reads {quote_text(precise[0])} in float64, as an input of its own"
        refuse_instances(
            f"expected records, since {why}; got {form}; send JSON, CSV or an Arrow stream, or "
            f"each column as a tensor"
        )


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


def decode_raw_float32(body: bytes, fields: InputSchema) -> Arrays:
    """The rows of `4 * n * len(fields)` bytes.

    Args:
        body: the numbers.
        fields: the model's columns, all of them numbers or booleans.

    Raises:
        InvalidInstancesError: it is not as long as rows are, or a number is not what its column
            takes.
    """
    require_numeric_columns(fields, "raw numbers")
    width = len(fields)
    if len(body) % (4 * width):
        refuse_instances(
            f"expected rows of {4 * width} bytes, {pluralize(width, 'number')} in float32; got "
            f"{pluralize(len(body), 'byte')}"
        )
    return build_matrix_inputs(np.frombuffer(body, "<f4").reshape(-1, width), fields)
