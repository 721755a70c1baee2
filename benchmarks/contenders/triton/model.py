"""The network behind Triton's Python backend, which runs the rows of several requests at once.

The wheel has no ONNX Runtime backend, so the Python backend calls ONNX Runtime.
"""

# ruff: noqa: E402
from __future__ import annotations

import os
import sys

# The stub that runs this file is a program of its own, which knows no virtual environment and
# ignores PYTHONPATH.
sys.path[:0] = os.environ["SITE"].split(os.pathsep)

import numpy as np
import triton_python_backend_utils as pb
from onnx_network import OnnxNetwork


class TritonPythonModel:
    """The class that the backend looks for."""

    def initialize(self, _: dict[str, str]) -> None:
        """Load the network in the stub's process."""
        self.network = OnnxNetwork()

    def execute(self, requests: list[pb.InferenceRequest]) -> list[pb.InferenceResponse]:
        """Answer the requests that the dynamic batcher has joined."""
        rows = [pb.get_input_tensor_by_name(r, "features").as_numpy() for r in requests]
        labels, probabilities = self.network(rows[0] if len(rows) == 1 else np.concatenate(rows))
        ends = np.cumsum([len(r) for r in rows])[:-1]
        return [
            pb.InferenceResponse(
                [pb.Tensor("label", label), pb.Tensor("probabilities", probability)]
            )
            for label, probability in zip(
                np.split(labels.reshape(-1, 1), ends), np.split(probabilities, ends), strict=True
            )
        ]
