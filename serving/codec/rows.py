"""`/predict`'s own protocol: records or rows in, predictions out; one decoder a media type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from serving.bundle import Arrays, Manifest
from serving.codec import arrow_stream as arrow
from serving.codec import csv as csv_rows
from serving.codec.answers import encode_answers, encode_csv
from serving.codec.arrow_stream import decode_arrow
from serving.codec.beside import Beside
from serving.codec.csv import decode_csv
from serving.codec.input_schema import Fields
from serving.codec.json_rows import decode_rows
from serving.codec.messages import JSON, Message, Reply
from serving.codec.npy import decode_npy
from serving.codec.outputs import asked_outputs, chosen
from serving.codec.question import Question
from serving.codec.raw import decode_raw
from serving.errors import UnsupportedMediaTypeError

DECODERS: Mapping[str, Callable[[bytes, Fields], Arrays]] = {
    csv_rows.MEDIA: decode_csv,
    "application/x-npy": decode_npy,
    arrow.MEDIA: decode_arrow,
    "application/octet-stream": decode_raw,
}


def ask_rows(message: Message, fields: Fields) -> Question:
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
    in_csv = message.accept == csv_rows.MEDIA
    if message.media != JSON:
        require_media(message.media)
        decode = DECODERS[message.media]
        return Question(decode(message.content, fields), partial(_reply, (), in_csv=in_csv))
    beside = Beside("parameters")
    inputs = decode_rows(message.content, fields, beside)
    names = asked_outputs(beside.said.get("parameters"))
    return Question(inputs, partial(_reply, names, in_csv=in_csv))


def require_media(media: str) -> None:
    """Refuse a media type that no decoder reads.

    Args:
        media: Media type of a body, in lower case, without parameters.

    Raises:
        UnsupportedMediaTypeError: If there is no decoder for it.
    """
    if media != JSON and media not in DECODERS:
        raise UnsupportedMediaTypeError(
            f"expected Content-Type: application/json; got {media[:64] or 'none'}; "
            f"with curl, add -H 'Content-Type: application/json'; what is taken else is "
            f"{', '.join(DECODERS)}"
        )


def _reply(names: tuple[str, ...], manifest: Manifest, outputs: Arrays, *, in_csv: bool) -> Reply:
    answered = chosen(outputs, names)
    if in_csv:
        return Reply(encode_csv(answered), csv_rows.MEDIA)
    return Reply(encode_answers(manifest, answered))
