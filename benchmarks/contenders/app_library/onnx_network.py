"""The ONNX graph that the variable `GRAPH` names, run alike by every contender: on one CPU thread.

Imported inside the contenders' own environments, where this project is not installed.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

# Set before the import, because ONNX Runtime looks up a telemetry host while it loads.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime


class OnnxNetwork:
    """A session of the graph. Create it in the process that runs it."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        self._session = onnxruntime.InferenceSession(
            os.environ["GRAPH"], options, providers=["CPUExecutionProvider"]
        )

    def __call__(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return labels `(n,)` and probabilities `(n, 10)` for features `(n, 784)`."""
        label, probabilities = self._session.run(["label", "probabilities"], {"features": features})
        return label, probabilities
