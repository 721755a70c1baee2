"""The network behind MLServer: a custom runtime, as in its documentation."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from onnx_network import OnnxNetwork


class MlserverModel(MLModel):
    """The runtime that model-settings.json names."""

    async def load(self) -> bool:
        """Load the network in the process that answers."""
        self.network = OnnxNetwork()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request, which may be several that MLServer has joined."""
        features = NumpyCodec.decode_input(payload.inputs[0])
        label, probabilities = self.network(np.ascontiguousarray(features, np.float32))
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                NumpyCodec.encode_output("label", label[:, None]),
                NumpyCodec.encode_output("probabilities", probabilities),
            ],
        )
