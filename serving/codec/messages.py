"""Encoded requests and answers (bytes with a media type), and decoded requests (arrays)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from serving.bundle import Arrays, Manifest
from serving.codec.input_schema import InputSchema

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


# Each protocol has one function of this type.
RequestDecoder = Callable[[EncodedRequest, InputSchema], DecodedRequest]
