"""The network behind LitServe."""

from __future__ import annotations

import sys
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray
from onnx_network import OnnxNetwork


class LitserveModel(litserve.LitAPI):
    """The model; LitServe parses bodies and encodes answers."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load the network in the worker's process."""
        self.network = OnnxNetwork()

    # LitServe inspects the annotation: with a type other than its own, it would pass no body.
    def decode_request(self, request) -> NDArray[np.float32]:  # noqa: ANN001
        """Return the rows of a body."""
        return np.array(request["instances"], np.float32)

    def predict(self, x: NDArray[np.float32]) -> tuple[Any, Any]:
        """Return labels and probabilities of rows."""
        return self.network(x)

    def encode_response(self, output: tuple[Any, Any]) -> dict[str, Any]:
        """Return the content of an answer."""
        label, probabilities = output
        return {"label": label.tolist(), "probabilities": probabilities.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        LitserveModel(api_path="/predict"),
        accelerator="cpu",
        devices=1,
        workers_per_device=2,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=2,
        generate_client_file=False,
        log_level="warning",
    )
