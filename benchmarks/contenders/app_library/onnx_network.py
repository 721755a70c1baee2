"""The graph of `GRAPH`, loaded and run alike by every peer: CPU, one thread, in ONNX Runtime.

Imported inside the peers' own environments, where nothing of this project is.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

# Before the import: it looks up a telemetry host as it loads.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime


class Network:
    """A session of the graph, to be created in the process that runs it."""

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
        """Labels `(n,)` and probabilities `(n, 10)` of features `(n, 784)`."""
        label, probabilities = self._session.run(["label", "probabilities"], {"features": features})
        return label, probabilities
