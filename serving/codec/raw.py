"""Raw numbers: little-endian float32, row after row, and nothing else."""

from __future__ import annotations

import numpy as np

from serving.bundle import Arrays, pluralize
from serving.codec.binary import build_matrix_inputs, require_numeric_columns
from serving.codec.input_schema import InputSchema
from serving.codec.validation import refuse_instances


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
