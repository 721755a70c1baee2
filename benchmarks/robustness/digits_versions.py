"""Versions of the shipped `digits` model with random weights, whose answers NumPy computes."""

from __future__ import annotations

import hashlib
import json
import re
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
            if re.fullmatch(r"W\d+", tensor.name):
                weights = numpy_helper.to_array(tensor)
                drawn = rng.normal(0, weights.std(), weights.shape).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(drawn, tensor.name))
        self._weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in initializers}

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities, float32 `(n, 10)`, of rows, float32 `(n, 64)`."""
        w = self._weights
        n_layers = sum(re.fullmatch(r"W\d+", name) is not None for name in w)
        outputs = (rows - w["offset"]) / w["scale"]
        for layer in range(1, n_layers + 1):
            z = outputs @ w[f"W{layer}"] + w[f"b{layer}"]
            with np.errstate(over="ignore"):  # for large negative z, where swish is 0
                outputs = z / (1 + np.exp(-z)) if layer < n_layers else z
        logits = outputs / w["temperature"]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
        return probabilities

    def write(self, folder: Path) -> Path:
        """Write the bundle to a subfolder that is named after the version, and return its path."""
        path = folder / str(self.number)
        # Without the variants, whose weights are not those of this version.
        shutil.copytree(SHIPPED_BUNDLE, path, ignore=shutil.ignore_patterns("model.*.onnx"))
        manifest = json.loads((path / "bundle.json").read_text())
        graph = self._graph.SerializeToString()
        (path / "model.onnx").write_bytes(graph)
        with np.load(path / "selftest.npz") as file:
            arrays = {"input/features": file["input/features"]}
        probabilities = self.predict(arrays["input/features"])
        arrays["expected/fp32/probabilities"] = probabilities
        classes = np.array(manifest["classes"])
        arrays["expected/fp32/label"] = classes[probabilities.argmax(axis=1)]
        arrays["tolerance/fp32/probabilities"] = np.full_like(probabilities, MAX_PROBABILITY_ERROR)
        np.savez(path / "selftest.npz", **arrays)
        manifest["version"] = self.number
        fp32 = manifest["variants"]["fp32"]
        fp32 |= {"sha256": hashlib.sha256(graph).hexdigest(), "size_bytes": len(graph)}
        manifest["variants"], manifest["compression"] = {"fp32": fp32}, None
        selftest = (path / "selftest.npz").read_bytes()
        manifest["files"]["selftest.npz"] = hashlib.sha256(selftest).hexdigest()
        (path / "bundle.json").write_text(json.dumps(manifest))
        return path
