"""The network behind MLServer: a custom runtime, as its documentation has it."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from onnx_network import Network


class Served(MLModel):
    """Named in model-settings.json."""

    async def load(self) -> bool:
        """In the process that answers."""
        self.network = Network()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request, of which several may have been made one."""
        features = NumpyCodec.decode_input(payload.inputs[0])
        label, probabilities = self.network(np.ascontiguousarray(features, np.float32))
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                NumpyCodec.encode_output("label", label[:, None]),
                NumpyCodec.encode_output("probabilities", probabilities),
            ],
        )
