"""The plain decoder: well-formed rows to a float32 array, without a Python object per number."""

from __future__ import annotations

from typing import Any

import numpy as np
import simdjson
from numpy.typing import NDArray

from serving.codec.json_documents import read_document, yield_after_step
from serving.codec.validation import iterate_cooperatively

SPARSE_BYTES_PER_CHARACTER = (
    2048  # bytes from one sign to the next, from which on stepping is quicker than counting
)


def decode_json_matrix(body: bytes, width: int) -> NDArray[np.float32] | None:
    """The rows of `{"instances": [[…], …]}`, or None where anything at all is out of the ordinary.

    Args:
        body: the JSON text, UTF-8.
        width: numbers in a row.

    Returns:
        Finite float32 `(n, width)`, n ≥ 0.
    """

    def use(document: Any) -> NDArray[np.float32] | None:
        if not isinstance(document, simdjson.Object) or len(document) != 1:
            return None
        if next(iter(document)) != "instances":
            return None
        return read_float32_rows(document["instances"], width, body, brackets=0)

    try:
        return read_document(body, use)
    except (ValueError, TypeError, RuntimeError):  # simdjson's refusals; UnicodeDecodeError is one
        return None


def read_float32_rows(
    instances: object, width: int, body: bytes, *, brackets: int
) -> NDArray[np.float32] | None:
    """A list of lists of numbers, or None where it is anything else.

    Args:
        instances: simdjson's.
        width: numbers in a row.
        body: that holds them.
        brackets: that open in the body elsewhere.

    Returns:
        Finite float32 `(n, width)`, n ≥ 0.

    Raises:
        TypeError: a value is no number.
        ValueError: a number is none of float64's.
    """
    numbers = read_float64_numbers(instances, width, body, brackets=brackets)
    if numbers is None:
        return None
    yield_after_step(body)
    rows = narrow_to_float32(numbers)
    return None if rows is None else rows.reshape(-1, width)


def read_float64_numbers(
    instances: object, width: int, body: bytes, *, brackets: int
) -> NDArray[np.float64] | None:
    """The numbers of a list of lists, row after row, or None where it is anything else.

    Args:
        instances: simdjson's.
        width: numbers in a row.
        body: that holds them.
        brackets: that open in the body elsewhere.

    Returns:
        float64 `(n * width,)`, n ≥ 0; raises as `read_float32_rows` does.
    """
    if not isinstance(instances, simdjson.Array):
        return None
    count = len(instances)
    for row in iterate_cooperatively(instances):
        if type(row) is not simdjson.Array or len(row) != width:
            return None
    # `as_buffer` flattens whatever it is given. One bracket for the list and one for each
    # instance leaves none for nesting inside a row, once every instance is known to be a list.
    if not has_character_count(body, b"[", count + 1 + brackets):
        return None
    yield_after_step(body)
    return np.frombuffer(instances.as_buffer(of_type="d"), np.float64)


def narrow_to_float32(numbers: NDArray[np.float64]) -> NDArray[np.float32] | None:
    """Finite numbers `(n,)` as float32, or None where one of them overflows it."""
    with np.errstate(over="ignore"):
        narrowed = numbers.astype(np.float32)
    return narrowed if np.isfinite(narrowed).all() else None


def count_character(body: bytes, sign: bytes) -> int:
    """How often a sign of ASCII comes in a body, texts and all."""
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(sign)))


def has_character_count(body: bytes, sign: bytes, count: int) -> bool:
    """Whether it comes just so often."""
    if len(body) < count * SPARSE_BYTES_PER_CHARACTER:
        return count_character(body, sign) == count
    at = -1
    for _ in range(count):
        at = body.find(sign, at + 1)
        if at < 0:
            return False
    return body.find(sign, at + 1) < 0
