"""The prediction path: bytes → arrays → batch → ONNX Runtime → bytes. Every protocol calls it."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
from gevent import Greenlet, getcurrent
from gevent.lock import Semaphore

from serving.bundle import Arrays
from serving.call_context import CallContext
from serving.codec.input_schema import InputSchema
from serving.codec.messages import DecodedRequest, EncodedAnswer, EncodedRequest, RequestDecoder
from serving.codec.open_inference import build_tensor_metadata, decode_inference_request
from serving.codec.rows import decode_rows_request, require_media_type
from serving.codec.tensorflow import decode_tensorflow_request
from serving.errors import NotFiniteAnswerError
from serving.inference.batching import Batcher
from serving.repository import ServedModel
from serving.runtime.heap import request_trim

__all__ = ["PROTOCOL_DECODERS", "Predictor", "Protocol", "build_tensor_metadata"]

Protocol = Literal["rows", "tensorflow", "inference_v2"]

PROTOCOL_DECODERS: Mapping[Protocol, RequestDecoder] = {
    "rows": decode_rows_request,
    "tensorflow": decode_tensorflow_request,
    "inference_v2": decode_inference_request,
}

# Bytes of a body that takes turns with others as it is decoded: of such, one is at a time, since
# each takes many times its size until it is arrays.
LARGE_MESSAGE_BYTES = 2**20
TRIM_DELAY_SECONDS = 10.0  # seconds from a large message to the next trim of the heap, at most


class Predictor:
    """Answers messages of all protocols.

    Args:
        batcher: joins what runs.
        ignores_extra: Whether a request may name columns that the model does not have.
    """

    def __init__(self, batcher: Batcher, *, ignores_extra: bool = False) -> None:
        self.batcher = batcher
        self._ignores_extra = ignores_extra
        # Made once a model, and gone with it.
        self._input_schemas: WeakKeyDictionary[ServedModel, InputSchema] = WeakKeyDictionary()
        self._large_decode_lock = Semaphore(1)

    def check_media_type(self, protocol: Protocol, media: str) -> None:
        """Refuse a body by its media type alone, before it is read.

        Args:
            protocol: Protocol of the request.
            media: Media type of its body, in lower case, without parameters.

        Raises:
            UnsupportedMediaTypeError: If the protocol reads no such body.
        """
        if protocol == "rows":  # the others take any type for JSON
            require_media_type(media)

    def __call__(
        self, protocol: Protocol, model: ServedModel, message: EncodedRequest, call: CallContext
    ) -> EncodedAnswer:
        """The reply to a message.

        Args:
            protocol: that the message is of.
            model: who answers.
            message: what the client sent.
            call: the request, which is told how far it came.

        Raises:
            ServingError: of a class that says what is wrong with it; see `errors`.
        """
        fields = self._input_schemas.get(model)
        if fields is None:
            fields = InputSchema(model.manifest.inputs, should_ignore_extra=self._ignores_extra)
            self._input_schemas[model] = fields
        if len(message.content) > LARGE_MESSAGE_BYTES:
            question = self._decode_large(protocol, message, fields)
        else:
            question = PROTOCOL_DECODERS[protocol](message, fields)
        call.rows = len(next(iter(question.inputs.values())))
        call.decoded_at = perf_counter()
        outputs = self.batcher.run(model, question.inputs, call)
        _check_finite(outputs)
        reply = question.encode_answer(model.manifest, outputs)
        call.encoded_at = perf_counter()
        if len(reply.content) > LARGE_MESSAGE_BYTES:
            request_trim(TRIM_DELAY_SECONDS)
        return reply

    def _decode_large(
        self, protocol: Protocol, message: EncodedRequest, fields: InputSchema
    ) -> DecodedRequest:
        request_trim(TRIM_DELAY_SECONDS)
        if not isinstance(getcurrent(), Greenlet):
            return PROTOCOL_DECODERS[protocol](message, fields)
        with self._large_decode_lock:
            return PROTOCOL_DECODERS[protocol](message, fields)


def _check_finite(outputs: Arrays) -> None:
    # Finite rows can overflow on the way, and JSON has no word for the NaN that comes out.
    answers = outputs["value" if "value" in outputs else "probabilities"]
    finite = np.isfinite(answers)
    if not finite.all():
        first = int(np.flatnonzero(~finite.all(axis=1))[0])
        raise NotFiniteAnswerError(
            f"expected numbers of the size the model was trained on; got an instance {first} so "
            f"large that its answer overflows float32; check its units",
            instance=first,
        )
