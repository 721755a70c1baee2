"""`/predict`'s own protocol: records or rows in, predictions out; one decoder a media type."""

from __future__ import annotations

from serving.bundle import Arrays, Manifest
from serving.codec.answers import encode_answers
from serving.codec.fields import Fields
from serving.codec.json_rows import decode_rows
from serving.codec.question import Question
from serving.errors import UnsupportedMediaTypeError
from serving.wire import JSON, Message, Reply


def ask_rows(message: Message, fields: Fields) -> Question:
    """The question of `{"instances": [{…} or […], …]}`.

    Raises:
        UnsupportedMediaTypeError: the body is of another type.
        NotJsonError: it is not JSON.
        InvalidInstancesError: an instance is not what the model takes.
    """
    if message.media != JSON:
        raise UnsupportedMediaTypeError(
            f"expected Content-Type: application/json; got {message.media[:64] or 'none'}; "
            f"with curl, add -H 'Content-Type: application/json'"
        )
    return Question(decode_rows(message.content, fields), _reply)


def _reply(manifest: Manifest, outputs: Arrays) -> Reply:
    return Reply(encode_answers(manifest, outputs))
