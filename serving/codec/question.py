"""The question: what a decoder of a protocol makes of a message, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from serving.bundle import Arrays, Manifest
from serving.codec.input_schema import InputSchema
from serving.codec.messages import EncodedAnswer, EncodedRequest


class DecodedRequest(NamedTuple):
    """Instances for a graph, and how its answer is told.

    Attributes:
        inputs: of the graph, as `Fields.inputs` says.
        encode: makes the reply of the manifest of the version that answered and of the graph's
            outputs, `label` `(n,)` and `probabilities` `(n, k)`, or `value` `(n, t)`.
    """

    inputs: Arrays
    encode: Callable[[Manifest, Arrays], EncodedAnswer]


# How each protocol reads a message.
RequestDecoder = Callable[[EncodedRequest, InputSchema], DecodedRequest]
