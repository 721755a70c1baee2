"""The network behind Mosec; the variable `BATCH_SIZE` above 1 turns on its dynamic batching."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import numpy as np
from mosec import Runtime, Server, Worker
from onnx_network import OnnxNetwork

BATCH_SIZE = int(os.environ["BATCH_SIZE"])  # requests
WAIT_MS = 1  # time for which a request waits for others; Mosec accepts no less


class MosecWorker(Worker):
    """The worker; msgspec, which Mosec includes, is faster than its default JSON codec."""

    def __init__(self) -> None:
        super().__init__()
        self.network = OnnxNetwork()

    def deserialize(self, data: bytes) -> Any:
        """Decode a body, in the worker's process."""
        return msgspec.json.decode(data)

    def serialize(self, data: Any) -> bytes:
        """Encode an answer, in the worker's process."""
        return msgspec.json.encode(data)

    def forward(self, data: Any) -> Any:
        """Answer one body, or a list of them if batching is on."""
        bodies = data if BATCH_SIZE > 1 else [data]
        rows = [np.array(body["instances"], np.float32) for body in bodies]
        labels, probabilities = self.network(np.concatenate(rows))
        ends = np.cumsum([len(r) for r in rows])[:-1]
        answers = [
            {"label": label.tolist(), "probabilities": probability.tolist()}
            for label, probability in zip(
                np.split(labels, ends), np.split(probabilities, ends), strict=True
            )
        ]
        return answers if BATCH_SIZE > 1 else answers[0]


if __name__ == "__main__":
    server = Server()
    server.register_runtime(
        {
            "/predict": [
                Runtime(MosecWorker, num=2, max_batch_size=BATCH_SIZE, max_wait_time=WAIT_MS)
            ]
        }
    )
    server.run()
