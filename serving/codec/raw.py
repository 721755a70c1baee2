"""Raw numbers: little-endian float32, row after row, and nothing else."""

from __future__ import annotations

import numpy as np

from serving.bundle import Arrays, counted
from serving.codec.binary import inputs_of_matrix, require_numbers_alone
from serving.codec.input_schema import Fields
from serving.codec.validation import refuse


def decode_raw(body: bytes, fields: Fields) -> Arrays:
    """The rows of `4 * n * len(fields)` bytes.

    Args:
        body: the numbers.
        fields: the model's columns, all of them numbers or booleans.

    Raises:
        InvalidInstancesError: it is not as long as rows are, or a number is not what its column
            takes.
    """
    require_numbers_alone(fields, "raw numbers")
    width = len(fields)
    if len(body) % (4 * width):
        refuse(
            f"expected rows of {4 * width} bytes, {counted(width, 'number')} in float32; got "
            f"{counted(len(body), 'byte')}"
        )
    return inputs_of_matrix(np.frombuffer(body, "<f4").reshape(-1, width), fields)
