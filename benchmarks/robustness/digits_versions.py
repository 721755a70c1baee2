"""Versions of the shipped `digits` model with random weights, whose answers NumPy computes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from benchmarks.machine import ROOT

MODEL_NAME = "digits"
SHIPPED_BUNDLE = ROOT / "models" / MODEL_NAME / "1"
MAX_PROBABILITY_ERROR = 1e-5


class DigitsVersion:
    """A version of the shipped model with random weights.

    Args:
        number: Number of the version, and seed of its weights.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._graph = onnx.load_from_string((SHIPPED_BUNDLE / "model.onnx").read_bytes())
        rng = np.random.default_rng(number)
        initializers = self._graph.graph.initializer
        for tensor in initializers:
            if tensor.name in ("W1", "W2"):
                weights = numpy_helper.to_array(tensor)
                drawn = rng.normal(0, weights.std(), weights.shape).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(drawn, tensor.name))
        self._weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in initializers}

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities, float32 `(n, 10)`, of rows, float32 `(n, 64)`."""
        w = self._weights
        hidden = np.maximum((rows - w["offset"]) / w["scale"] @ w["W1"] + w["b1"], 0)
        logits = hidden @ w["W2"] + w["b2"]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
        return probabilities

    def write(self, folder: Path) -> Path:
        """Write the bundle to a subfolder that is named after the version, and return its path."""
        path = folder / str(self.number)
        shutil.copytree(SHIPPED_BUNDLE, path)
        manifest = json.loads((path / "bundle.json").read_text())
        graph = self._graph.SerializeToString()
        (path / "model.onnx").write_bytes(graph)
        with np.load(path / "selftest.npz") as file:
            arrays = dict(file)
        probabilities = self.predict(arrays["input/features"])
        arrays["expected/fp32/probabilities"] = probabilities
        classes = np.array(manifest["classes"])
        arrays["expected/fp32/label"] = classes[probabilities.argmax(axis=1)]
        arrays["tolerance/fp32/probabilities"] = np.full_like(probabilities, MAX_PROBABILITY_ERROR)
        np.savez(path / "selftest.npz", **arrays)
        manifest["version"] = self.number
        fp32 = manifest["variants"]["fp32"]
        fp32 |= {"sha256": hashlib.sha256(graph).hexdigest(), "size_bytes": len(graph)}
        manifest["variants"] = {"fp32": fp32}
        selftest = (path / "selftest.npz").read_bytes()
        manifest["files"]["selftest.npz"] = hashlib.sha256(selftest).hexdigest()
        (path / "bundle.json").write_text(json.dumps(manifest))
        return path
