"""JSON rows: `{"instances": [[…], …]}` to a float32 array.

Whatever the plain decoder does not take goes to the careful one, whose answer is the same array or
a precise error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.codec.json_careful import decode_carefully
from serving.codec.json_plain import decode_plain


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
    rows = decode_plain(body, len(fields))
    return decode_carefully(body, fields) if rows is None else rows
