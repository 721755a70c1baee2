"""The network behind LitServe."""

from __future__ import annotations

import sys
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray
from onnx_network import Network


class Predict(litserve.LitAPI):
    """Bodies come parsed; answers are written by LitServe."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """In the worker's process."""
        self.network = Network()

    # LitServe looks at the annotation: of another type than its own, it would be no body.
    def decode_request(self, request) -> NDArray[np.float32]:  # noqa: ANN001
        """Rows of a body."""
        return np.array(request["instances"], np.float32)

    def predict(self, x: NDArray[np.float32]) -> tuple[Any, Any]:
        """Labels and probabilities of rows."""
        return self.network(x)

    def encode_response(self, output: tuple[Any, Any]) -> dict[str, Any]:
        """An answer to a body."""
        label, probabilities = output
        return {"label": label.tolist(), "probabilities": probabilities.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        Predict(api_path="/predict"),
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
