"""The plain decoder: well-formed rows to a float32 array, without a Python object per number."""

from __future__ import annotations

import numpy as np
import simdjson
from numpy.typing import NDArray


def decode_plain(body: bytes, width: int) -> NDArray[np.float32] | None:
    """The rows of `{"instances": [[…], …]}`, or None where anything at all is out of the ordinary.

    Args:
        body: the JSON text, UTF-8.
        width: numbers in a row.

    Returns:
        Finite float32 `(n, width)`, n ≥ 0.
    """
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
        if signs(body, "[") != count + 1 or not all(_is_row(row, width) for row in instances):
            return None
        flat = np.frombuffer(instances.as_buffer(of_type="d"), np.float64)
    except (ValueError, TypeError, RuntimeError):  # simdjson's refusals; UnicodeDecodeError is one
        return None
    with np.errstate(over="ignore"):
        rows = flat.astype(np.float32).reshape(count, width)
    return rows if np.isfinite(rows).all() else None


def _is_row(value: object, width: int) -> bool:
    return isinstance(value, simdjson.Array) and len(value) == width


def signs(body: bytes, sign: str) -> int:
    """How often a sign of ASCII comes in a body, texts and all."""
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(sign)))
