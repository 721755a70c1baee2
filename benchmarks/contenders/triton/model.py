"""The network behind Triton's Python backend: the rows of a batch of requests, in one run.

The wheel has no ONNX Runtime backend, so that the Python backend calls ONNX Runtime.
"""

# ruff: noqa: E402
from __future__ import annotations

import os
import sys

# The stub that runs this file is a program of its own: it knows no virtual environment, and does
# not look at PYTHONPATH.
sys.path[:0] = os.environ["SITE"].split(os.pathsep)

import numpy as np
import triton_python_backend_utils as pb
from onnx_network import Network


class TritonPythonModel:
    """What the backend looks for."""

    def initialize(self, _: dict[str, str]) -> None:
        """In the stub's process."""
        self.network = Network()

    def execute(self, requests: list[pb.InferenceRequest]) -> list[pb.InferenceResponse]:
        """Answer requests that were joined by the dynamic batcher."""
        rows = [pb.get_input_tensor_by_name(r, "features").as_numpy() for r in requests]
        label, probabilities = self.network(rows[0] if len(rows) == 1 else np.concatenate(rows))
        ends = np.cumsum([len(r) for r in rows])[:-1]
        return [
            pb.InferenceResponse([pb.Tensor("label", one), pb.Tensor("probabilities", other)])
            for one, other in zip(
                np.split(label.reshape(-1, 1), ends), np.split(probabilities, ends), strict=True
            )
        ]
