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
from serving.call_context import Call
from serving.codec.input_schema import Fields
from serving.codec.messages import Message, Reply
from serving.codec.open_inference import ask_inference, face
from serving.codec.question import Decoder, Question
from serving.codec.rows import ask_rows, require_media
from serving.codec.tensorflow import ask_tensorflow
from serving.errors import NotFiniteAnswerError
from serving.inference.batching import Batcher
from serving.repository import ServedModel
from serving.runtime.heap import request_trim

__all__ = ["DECODERS", "Predictor", "Protocol", "face"]

Protocol = Literal["rows", "tensorflow", "inference_v2"]

DECODERS: Mapping[Protocol, Decoder] = {
    "rows": ask_rows,
    "tensorflow": ask_tensorflow,
    "inference_v2": ask_inference,
}

# Bytes of a body that takes turns with others as it is decoded: of such, one is at a time, since
# each takes many times its size until it is arrays.
LARGE = 2**20
TRIM_DELAY = 10.0  # seconds from a large message to the next trim of the heap, at most


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
        self._fields: WeakKeyDictionary[ServedModel, Fields] = WeakKeyDictionary()
        self._one_large = Semaphore(1)

    def require_media(self, protocol: Protocol, media: str) -> None:
        """Refuse a body by its media type alone, before it is read.

        Args:
            protocol: Protocol of the request.
            media: Media type of its body, in lower case, without parameters.

        Raises:
            UnsupportedMediaTypeError: If the protocol reads no such body.
        """
        if protocol == "rows":  # the others take any type for JSON
            require_media(media)

    def __call__(
        self, protocol: Protocol, model: ServedModel, message: Message, call: Call
    ) -> Reply:
        """The reply to a message.

        Args:
            protocol: that the message is of.
            model: who answers.
            message: what the client sent.
            call: the request, which is told how far it came.

        Raises:
            ServingError: of a class that says what is wrong with it; see `errors`.
        """
        fields = self._fields.get(model)
        if fields is None:
            fields = Fields(model.manifest.inputs, ignores_extra=self._ignores_extra)
            self._fields[model] = fields
        if len(message.content) > LARGE:
            question = self._decode_large(protocol, message, fields)
        else:
            question = DECODERS[protocol](message, fields)
        call.rows = len(next(iter(question.inputs.values())))
        call.decoded = perf_counter()
        outputs = self.batcher.run(model, question.inputs, call)
        _refuse_overflow(outputs)
        reply = question.encode(model.manifest, outputs)
        call.encoded = perf_counter()
        if len(reply.content) > LARGE:
            request_trim(TRIM_DELAY)
        return reply

    def _decode_large(self, protocol: Protocol, message: Message, fields: Fields) -> Question:
        request_trim(TRIM_DELAY)
        if not isinstance(getcurrent(), Greenlet):
            return DECODERS[protocol](message, fields)
        with self._one_large:
            return DECODERS[protocol](message, fields)


def _refuse_overflow(outputs: Arrays) -> None:
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
