"""Encoded requests and answers (bytes with a media type), and decoded requests (arrays)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from serving.bundle import Arrays, Manifest
from serving.codec.input_schema import InputSchema
from serving.errors import MalformedBodyError, NotJsonError

JSON_MEDIA_TYPE = "application/json"
# Length of the JSON part of a body with binary tensors, in bytes: the Open Inference Protocol's
# binary tensor data extension.
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"


class EncodedRequest(NamedTuple):
    """A request's body and the headers that say how to decode it and encode the answer.

    Attributes:
        content: The body after decompression.
        media_type: Media type of the body, in lower case, without parameters.
        accepted_media_type: Media type that the client wants for the answer, in lower case, without
            parameters; empty for any.
        json_length: Length of the JSON part at the start of a body with binary tensors, in bytes;
            None if the header is absent.
    """

    content: bytes
    media_type: str = JSON_MEDIA_TYPE
    accepted_media_type: str = ""
    json_length: int | None = None


class EncodedAnswer(NamedTuple):
    """The body, headers and status of an HTTP response: a prediction or an error.

    Attributes:
        content: The body.
        media_type: Media type of the body.
        headers: Further headers, as pairs of name and value.
        status: The HTTP status code.
    """

    content: bytes
    media_type: str = JSON_MEDIA_TYPE
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200


class DecodedRequest(NamedTuple):
    """A request's instances as arrays, and the function that encodes its answer.

    Attributes:
        inputs: The graph's inputs by name, as `InputSchema.build_inputs` returns them.
        encode_answer: Function that encodes the answer. It takes the manifest of the version that
            was run and the graph's outputs: `label` `(n,)` and `probabilities` `(n, k)`, or `value`
            `(n, t)`, for n rows, k classes and t targets.
    """

    inputs: Arrays
    encode_answer: Callable[[Manifest, Arrays], EncodedAnswer]


def decode_utf8(
    content: bytes, format_name: str, error_class: type[NotJsonError | MalformedBodyError]
) -> str:
    """Return the text of a body in UTF-8, without the byte order mark that some programs write.

    Args:
        content: The body.
        format_name: Name of the body's format, for the error message.
        error_class: Class of the error to raise.

    Raises:
        NotJsonError: If the body is not UTF-8 and this is the class to raise.
        MalformedBodyError: If the body is not UTF-8 and this is the class to raise.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise error_class(
            f"expected {format_name} in UTF-8; got an invalid byte at position {error.start}",
            position=error.start,
        ) from None


# Each protocol has one function of this type.
RequestDecoder = Callable[[EncodedRequest, InputSchema], DecodedRequest]
