"""The prediction path: bytes → arrays → batch → ONNX Runtime → bytes.

The handlers of every protocol call `Predictor`; none decodes rows or runs a model by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Literal

import numpy as np
from gevent import Greenlet, getcurrent
from gevent.lock import Semaphore

from serving.bundle import Arrays
from serving.call_context import CallContext
from serving.codec.input_schema import InputSchema
from serving.codec.messages import DecodedRequest, EncodedAnswer, EncodedRequest, RequestDecoder
from serving.codec.open_inference import (
    TensorMetadata,
    build_tensor_metadata,
    decode_inference_request,
)
from serving.codec.rows import decode_rows_request, require_media_type
from serving.codec.tensorflow import decode_tensorflow_request
from serving.errors import NotFiniteAnswerError
from serving.inference.batching import Batcher
from serving.repository import ServedModel
from serving.runtime.heap import request_trim

__all__ = ["PROTOCOL_DECODERS", "Predictor", "Protocol", "TensorMetadata", "build_tensor_metadata"]

Protocol = Literal["rows", "tensorflow", "inference_v2"]

PROTOCOL_DECODERS: Mapping[Protocol, RequestDecoder] = {
    "rows": decode_rows_request,
    "tensorflow": decode_tensorflow_request,
    "inference_v2": decode_inference_request,
}

# Size in bytes above which bodies are decoded one at a time in a process. Decoding takes many times
# the body's size in memory, and other greenlets run meanwhile.
LARGE_MESSAGE_BYTES = 2**20
# Longest time from a large request or response to the next trim of the heap.
TRIM_DELAY_SECONDS = 10.0


class Predictor:
    """Computes predictions for requests of all protocols.

    Args:
        batcher: Batcher that runs the models.
    """

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self._large_decode_lock = Semaphore(1)

    def check_media_type(self, protocol: Protocol, media_type: str) -> None:
        """Refuse a body because of its media type, before it is read.

        Args:
            protocol: Protocol of the request.
            media_type: Media type of its body, in lower case, without parameters.

        Raises:
            UnsupportedMediaTypeError: If the protocol does not read such bodies.
        """
        if protocol == "rows":  # the others read every body as JSON or binary tensors
            require_media_type(media_type)

    def __call__(
        self, protocol: Protocol, model: ServedModel, request: EncodedRequest, context: CallContext
    ) -> EncodedAnswer:
        """Decode a request, run the model, and return the encoded outputs.

        Args:
            protocol: Protocol of the request.
            model: Loaded model to run.
            request: Decompressed body, with the media types from the headers.
            context: Context of the request; the time at the end of each stage is stored there.

        Raises:
            ServingError: If no prediction can be made; the subclass says why.
        """
        if len(request.content) > LARGE_MESSAGE_BYTES:
            decoded = self._decode_large(protocol, request, model.input_schema)
        else:
            decoded = PROTOCOL_DECODERS[protocol](request, model.input_schema)
        context.rows = len(next(iter(decoded.inputs.values())))
        context.decoded_at = perf_counter()
        outputs = self.batcher.run(model, decoded.inputs, context)
        _check_finite(outputs)
        answer = decoded.encode_answer(model.manifest, outputs)
        context.encoded_at = perf_counter()
        if len(answer.content) > LARGE_MESSAGE_BYTES:
            request_trim(TRIM_DELAY_SECONDS)
        return answer

    def _decode_large(
        self, protocol: Protocol, request: EncodedRequest, schema: InputSchema
    ) -> DecodedRequest:
        request_trim(TRIM_DELAY_SECONDS)
        if not isinstance(getcurrent(), Greenlet):
            return PROTOCOL_DECODERS[protocol](request, schema)
        with self._large_decode_lock:
            return PROTOCOL_DECODERS[protocol](request, schema)


def _check_finite(outputs: Arrays) -> None:
    # Finite inputs can overflow inside the graph, and JSON cannot represent the resulting NaN.
    values = outputs["value" if "value" in outputs else "probabilities"]
    is_finite = np.isfinite(values)
    if not is_finite.all():
        instance = int(np.flatnonzero(~is_finite.all(axis=1))[0])
        raise NotFiniteAnswerError(
            f"expected values of about the size of the training data; got an instance {instance} "
            f"so large that its answer overflows float32; check its units",
            instance=instance,
        )
