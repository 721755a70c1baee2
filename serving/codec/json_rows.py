"""JSON rows: `{"instances": [[…], …]}` to a float32 array, without a Python object per number.

This decoder takes what is well formed and plain, and nothing else. Whatever it does not take goes
to the careful decoder of `json_careful`, whose answer is the same array or a precise error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import simdjson
from numpy.typing import NDArray

from serving.codec.json_careful import decode_carefully

OPENING_BRACKET = ord("[")


def decode_rows(body: bytes, fields: Sequence[str]) -> NDArray[np.float32]:
    """The instances of a request body.

    Args:
        body: the JSON text, UTF-8.
        fields: names of the features, in order.

    Returns:
        Finite float32 `(n, len(fields))`, n ≥ 0.

    Raises:
        NotJsonError: the body is not JSON.
        InvalidInstancesError: it is JSON of another form; the message names instance and field.
    """
    rows = _decode_plain(body, len(fields))
    return decode_carefully(body, fields) if rows is None else rows


def _decode_plain(body: bytes, width: int) -> NDArray[np.float32] | None:
    """The rows, or None where anything at all is out of the ordinary."""
    try:
        document = simdjson.Parser().parse(body)
        if not isinstance(document, simdjson.Object) or list(document.keys()) != ["instances"]:
            return None
        instances = document["instances"]
        if not isinstance(instances, simdjson.Array):
            return None
        count = len(instances)
        # `as_buffer` flattens whatever it is given. One bracket for the list and one for each
        # instance leaves none for nesting inside a row, once every instance is known to be a list.
        if _brackets(body) != count + 1 or not all(_is_row(row, width) for row in instances):
            return None
        flat = np.frombuffer(instances.as_buffer(of_type="d"), np.float64)
    except (ValueError, TypeError, RuntimeError):  # simdjson's refusals; UnicodeDecodeError is one
        return None
    with np.errstate(over="ignore"):
        rows = flat.astype(np.float32).reshape(count, width)
    return rows if np.isfinite(rows).all() else None


def _is_row(value: object, width: int) -> bool:
    return isinstance(value, simdjson.Array) and len(value) == width


def _brackets(body: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == OPENING_BRACKET))
