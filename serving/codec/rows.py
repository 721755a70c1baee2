"""`/predict`'s own protocol: records or rows in, predictions out; one decoder a media type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from serving.bundle import Arrays, Manifest
from serving.codec import arrow_stream as arrow
from serving.codec import csv as csv_rows
from serving.codec.arrow_stream import decode_arrow
from serving.codec.binary import decode_npy, decode_raw_float32
from serving.codec.csv import decode_csv
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


BODY_DECODERS: Mapping[str, Callable[[bytes, InputSchema], Arrays]] = {
    csv_rows.CSV_MEDIA_TYPE: decode_csv,
    "application/x-npy": decode_npy,
    arrow.ARROW_MEDIA_TYPE: decode_arrow,
    "application/octet-stream": decode_raw_float32,
}


def decode_rows_request(message: EncodedRequest, fields: InputSchema) -> DecodedRequest:
    """The question of `{"instances": [{…} or […], …], "parameters"?: {"outputs": [name, …]}}`.

    Or of the same instances as CSV, as a NumPy file, as an Arrow stream, or as raw float32.

    The answer is JSON, or CSV for those who accept `text/csv`. Who accepts only something else
    gets JSON as well: an answer is of more use than a refusal.

    Raises:
        UnsupportedMediaTypeError: the body is of another type.
        NotJsonError: it is not JSON, though it says so.
        MalformedBodyError: nor what else it says it is.
        InvalidInstancesError: an instance is not what the model takes.
    """
    in_csv = message.accepted_media_type == csv_rows.CSV_MEDIA_TYPE
    if message.media_type != JSON_MEDIA_TYPE:
        require_media_type(message.media_type)
        decode = BODY_DECODERS[message.media_type]
        return DecodedRequest(
            decode(message.content, fields), partial(_encode_rows_answer, (), in_csv=in_csv)
        )
    beside = BodyOptions("parameters")
    inputs = decode_json(message.content, fields, beside)
    names = parse_requested_outputs(beside.values.get("parameters"))
    return DecodedRequest(inputs, partial(_encode_rows_answer, names, in_csv=in_csv))


def require_media_type(media: str) -> None:
    """Refuse a media type that no decoder reads.

    Args:
        media: Media type of a body, in lower case, without parameters.

    Raises:
        UnsupportedMediaTypeError: If there is no decoder for it.
    """
    if media != JSON_MEDIA_TYPE and media not in BODY_DECODERS:
        raise UnsupportedMediaTypeError(
            f"expected Content-Type: application/json; got {media[:64] or 'none'}; "
            f"with curl, add -H 'Content-Type: application/json'; what is taken else is "
            f"{', '.join(BODY_DECODERS)}"
        )


def _encode_rows_answer(
    names: tuple[str, ...], manifest: Manifest, outputs: Arrays, *, in_csv: bool
) -> EncodedAnswer:
    answered = select_outputs(outputs, names)
    if in_csv:
        return EncodedAnswer(encode_csv_answer(answered), csv_rows.CSV_MEDIA_TYPE)
    return EncodedAnswer(encode_json_answer(manifest, answered))
