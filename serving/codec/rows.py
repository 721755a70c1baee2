"""The protocol of `/predict`: rows or records as JSON, CSV, Arrow, npy or raw float32.

There is one decoder for each media type. Answers are JSON or CSV.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from serving.bundle import Arrays, Manifest
from serving.codec.arrow_stream import ARROW_MEDIA_TYPE, decode_arrow
from serving.codec.binary import decode_npy, decode_raw_float32
from serving.codec.csv import CSV_MEDIA_TYPE, decode_csv
from serving.codec.input_schema import InputSchema
from serving.codec.json_fast import decode_json_fast
from serving.codec.json_strict import decode_json_strict
from serving.codec.json_values import LONG_BODY_BYTES, NO_OPTIONS, BodyOptions
from serving.codec.messages import JSON_MEDIA_TYPE, DecodedRequest, EncodedAnswer, EncodedRequest
from serving.codec.outputs import (
    encode_csv_answer,
    encode_json_answer,
    parse_requested_outputs,
    select_outputs,
)
from serving.errors import UnsupportedMediaTypeError

MAX_QUOTED_MEDIA_TYPE_CHARACTERS = 64
BODY_DECODERS: Mapping[str, Callable[[bytes, InputSchema], Arrays]] = {
    CSV_MEDIA_TYPE: decode_csv,
    "application/x-npy": decode_npy,
    ARROW_MEDIA_TYPE: decode_arrow,
    "application/octet-stream": decode_raw_float32,
}


def decode_json(body: bytes, schema: InputSchema, options: BodyOptions = NO_OPTIONS) -> Arrays:
    """Return the graph's inputs of a JSON body: by the fast decoder, or else by the strict one.

    Both return the same arrays; the strict decoder raises a precise error.

    Args:
        body: JSON text in UTF-8: `{"instances": [{…} or […], …]}`. An instance is a record of named
            values, or a list of values in the order of the columns.
        schema: The model's columns.
        options: Keys that the body may have besides `instances`; their values are stored in it.

    Returns:
        `features`, float32 `(n, len(schema))`, or one array `(n, 1)` for each column under its
        name; n ≥ 0. NaN or "" is a gap that the graph imputes; all other numbers are finite.

    Raises:
        NotJsonError: If the body is not JSON.
        InvalidInstancesError: If it has another form, or the model does not accept a value. The
            message names the instance and the field.
    """
    # The strict decoder hands a long body to the fast one in pieces, and yields in between.
    inputs = decode_json_fast(body, schema, options) if len(body) <= LONG_BODY_BYTES else None
    return decode_json_strict(body, schema, options) if inputs is None else inputs


def decode_rows_request(request: EncodedRequest, schema: InputSchema) -> DecodedRequest:
    """Decode a request to `/predict`.

    A JSON body is `{"instances": [{…} or […], …], "parameters"?: {"outputs": [name, …]}}`. CSV,
    Arrow, npy and raw float32 hold the same instances as a table.

    The answer is CSV for a client that accepts `text/csv`, and otherwise JSON, even for one that
    accepts only something else: an answer is of more use to it than an error.

    Args:
        request: Body of the request, and the headers that describe it.
        schema: The model's columns.

    Raises:
        UnsupportedMediaTypeError: If no decoder reads the body's media type.
        NotJsonError: If the body should be JSON and is not.
        MalformedBodyError: If the body should have another media type's format and does not.
        InvalidInstancesError: If the model does not accept an instance.
    """
    is_csv = request.accepted_media_type == CSV_MEDIA_TYPE
    if request.media_type != JSON_MEDIA_TYPE:
        require_media_type(request.media_type)
        decode = BODY_DECODERS[request.media_type]
        inputs = decode(request.content, schema)
        return DecodedRequest(inputs, partial(_encode_rows_answer, (), is_csv=is_csv))
    options = BodyOptions("parameters")
    inputs = decode_json(request.content, schema, options)
    names = parse_requested_outputs(options.values.get("parameters"))
    return DecodedRequest(inputs, partial(_encode_rows_answer, names, is_csv=is_csv))


def require_media_type(media_type: str) -> None:
    """Refuse a media type that no decoder reads.

    Args:
        media_type: Media type of a body, in lower case, without parameters.

    Raises:
        UnsupportedMediaTypeError: If there is no decoder for it.
    """
    if media_type != JSON_MEDIA_TYPE and media_type not in BODY_DECODERS:
        got = media_type[:MAX_QUOTED_MEDIA_TYPE_CHARACTERS] or "none"
        raise UnsupportedMediaTypeError(
            f"expected Content-Type: application/json; got {got}; with curl, add "
            f"-H 'Content-Type: application/json'; {', '.join(BODY_DECODERS)} are accepted, too"
        )


def _encode_rows_answer(
    names: tuple[str, ...], manifest: Manifest, outputs: Arrays, *, is_csv: bool
) -> EncodedAnswer:
    selected = select_outputs(outputs, names)
    if is_csv:
        return EncodedAnswer(encode_csv_answer(selected), CSV_MEDIA_TYPE)
    return EncodedAnswer(encode_json_answer(manifest, selected))
