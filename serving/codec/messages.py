"""Encoded requests and answers, and what a decoder makes of a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from serving.bundle import Arrays, Manifest
from serving.codec.input_schema import InputSchema

JSON_MEDIA_TYPE = "application/json"
JSON_LENGTH_HEADER = (
    "Inference-Header-Content-Length"  # of the Open Inference Protocol's binary bodies
)


class EncodedRequest(NamedTuple):
    """What a client sent.

    Attributes:
        content: the body, decompressed.
        media_type: its media type, in lower case, without parameters.
        accepted_media_type: the media type that the answer should have, likewise; empty for any.
        json_bytes: of the JSON that leads a binary body of the Open Inference Protocol.
    """

    content: bytes
    media_type: str = JSON_MEDIA_TYPE
    accepted_media_type: str = ""
    json_length: int | None = None


class EncodedAnswer(NamedTuple):
    """What the client gets."""

    content: bytes
    media_type: str = JSON_MEDIA_TYPE
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200


class DecodedRequest(NamedTuple):
    """Instances for a graph, and how its answer is told.

    Attributes:
        inputs: of the graph, as `Fields.inputs` says.
        encode_answer: makes the reply of the manifest of the version that answered and of the graph's
            outputs, `label` `(n,)` and `probabilities` `(n, k)`, or `value` `(n, t)`.
    """

    inputs: Arrays
    encode_answer: Callable[[Manifest, Arrays], EncodedAnswer]


# How each protocol reads a message.
RequestDecoder = Callable[[EncodedRequest, InputSchema], DecodedRequest]
