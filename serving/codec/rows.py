"""`/predict`'s own protocol: records or rows in, predictions out; one decoder a media type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from serving.bundle import Arrays, Manifest
from serving.codec import arrow_stream as arrow
from serving.codec import csv as csv_rows
from serving.codec.answers import encode_csv_answer, encode_json_answer
from serving.codec.arrow_stream import decode_arrow
from serving.codec.beside import BodyOptions
from serving.codec.csv import decode_csv
from serving.codec.input_schema import InputSchema
from serving.codec.json_rows import decode_json
from serving.codec.messages import JSON_MEDIA_TYPE, EncodedAnswer, EncodedRequest
from serving.codec.npy import decode_npy
from serving.codec.outputs import parse_requested_outputs, select_outputs
from serving.codec.question import DecodedRequest
from serving.codec.raw import decode_raw_float32
from serving.errors import UnsupportedMediaTypeError

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
    in_csv = message.accept == csv_rows.CSV_MEDIA_TYPE
    if message.media != JSON_MEDIA_TYPE:
        require_media_type(message.media)
        decode = BODY_DECODERS[message.media]
        return DecodedRequest(
            decode(message.content, fields), partial(_encode_rows_answer, (), in_csv=in_csv)
        )
    beside = BodyOptions("parameters")
    inputs = decode_json(message.content, fields, beside)
    names = parse_requested_outputs(beside.said.get("parameters"))
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
