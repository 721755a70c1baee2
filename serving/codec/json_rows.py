"""JSON instances: `{"instances": [{…} or […], …]}` to what the graph takes.

Whatever the plain decoders do not take goes to the careful one, whose answer is the same arrays or
a precise error.
"""

from __future__ import annotations

from serving.bundle import Arrays
from serving.codec.beside import NO_OPTIONS, BodyOptions
from serving.codec.input_schema import InputSchema
from serving.codec.json_documents import LONG_BODY_BYTES
from serving.codec.json_plain_records import decode_json_fast
from serving.codec.json_strict import decode_json_strict


def decode_json(body: bytes, fields: InputSchema, beside: BodyOptions = NO_OPTIONS) -> Arrays:
    """The instances of a request body.

    Args:
        body: the JSON text, UTF-8; an instance is a record of named values, or a list of values in
            the order of the columns.
        fields: the model's columns.
        beside: what else the body may hold; it is told what it does.

    Returns:
        The graph's inputs: `features`, float32 `(n, len(fields))`, or each column under its name,
        `(n, 1)`; n ≥ 0. NaN or "" is a gap that the graph fills; every other number is finite.

    Raises:
        NotJsonError: the body is not JSON.
        InvalidInstancesError: it is JSON of another form; the message names instance and field.
    """
    # The careful decoder hands a long body to the plain one some instances at a time.
    inputs = decode_json_fast(body, fields, beside) if len(body) <= LONG_BODY_BYTES else None
    return decode_json_strict(body, fields, beside) if inputs is None else inputs
