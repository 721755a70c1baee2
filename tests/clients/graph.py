"""The answers of a bundle's graph in plain ONNX Runtime, which every client must get."""

import json

import numpy as np
import onnxruntime

DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(string)": np.object_}


class Graph:
    """The fp32 graph of the only model of a server.

    Args:
        models: The folder of the server's models.

    Attributes:
        name: Name of the model.
        manifest: The manifest of version 1.
        session: ONNX Runtime's session of the graph.
        inputs: dtype of each input, by name.
    """

    def __init__(self, models):
        (folder,) = models.glob("*/1")
        self.name = folder.parent.name
        self.manifest = json.loads((folder / "bundle.json").read_text())
        self.session = onnxruntime.InferenceSession(folder / "model.onnx")
        self.inputs = {one.name: DTYPES[one.type] for one in self.session.get_inputs()}

    def create_inputs(self, count, seed=0):
        """Return the graph's inputs for random instances in the range of the training data."""
        rng = np.random.default_rng(seed)
        columns = [self._draw_values(column, count, rng) for column in self.manifest["inputs"]]
        if list(self.inputs) == ["features"]:
            return {"features": np.concatenate(columns, axis=1).astype(np.float32)}
        return {
            name: column.astype(self.inputs[name])
            for name, column in zip(self.inputs, columns, strict=True)
        }

    def run(self, inputs):
        """Return the graph's outputs by name."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(None, inputs), strict=True))

    def _draw_values(self, column, count, rng):
        if column["type"] == "category":
            return rng.choice(column["categories"], (count, 1))
        if column["type"] == "boolean":
            return rng.integers(0, 2, (count, 1))
        if column["type"] == "date":
            days = np.array([column["minimum"], column["maximum"]], "datetime64[s]")
            return rng.integers(*days.astype(np.int64), (count, 1))
        return rng.uniform(column["minimum"], column["maximum"], (count, 1))


def assert_same_outputs(got, expected):
    """Assert that outputs have the same labels, and the same numbers but for float32's rounding."""
    for name, array in expected.items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-7)
        else:
            assert list(map(str, np.ravel(got[name]))) == list(map(str, array)), name
