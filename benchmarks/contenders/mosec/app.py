"""The network behind Mosec. `ROWS` above 1 turns on its dynamic batching, of so many requests."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import numpy as np
from mosec import Runtime, Server, Worker
from onnx_network import Network

ROWS = int(os.environ["ROWS"])
WAIT = 1  # ms for which a request waits for others; it cannot be less


class Predict(Worker):
    """Bodies and answers by msgspec, which comes with Mosec and is faster than its default."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network()

    def deserialize(self, data: bytes) -> Any:
        """Called in the worker's process."""
        return msgspec.json.decode(data)

    def serialize(self, data: Any) -> bytes:
        """Called in the worker's process."""
        return msgspec.json.encode(data)

    def forward(self, data: Any) -> Any:
        """Answer one body, or a list of them where they are batched."""
        bodies = data if ROWS > 1 else [data]
        rows = [np.array(body["instances"], np.float32) for body in bodies]
        label, probabilities = self.network(np.concatenate(rows))
        ends = np.cumsum([len(r) for r in rows])[:-1]
        answers = [
            {"label": one.tolist(), "probabilities": other.tolist()}
            for one, other in zip(np.split(label, ends), np.split(probabilities, ends), strict=True)
        ]
        return answers if ROWS > 1 else answers[0]


if __name__ == "__main__":
    server = Server()
    server.register_runtime(
        {"/predict": [Runtime(Predict, num=2, max_batch_size=ROWS, max_wait_time=WAIT)]}
    )
    server.run()
