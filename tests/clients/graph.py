"""What a bundle's graph says in plain ONNX Runtime: the answer that clients must get."""

import json

import numpy as np
import onnxruntime

DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(string)": np.object_}


class Graph:
    """The fp32 graph of a server's one model.

    Attributes:
        name: of the model.
        inputs: the dtype of each, by name.
    """

    def __init__(self, models):
        (folder,) = models.glob("*/1")
        self.name = folder.parent.name
        self.manifest = json.loads((folder / "bundle.json").read_text())
        self.session = onnxruntime.InferenceSession(folder / "model.onnx")
        self.inputs = {i.name: DTYPES[i.type] for i in self.session.get_inputs()}

    def rows(self, count, seed=0):
        """Inputs of this many instances, of values such as it was trained on."""
        rng = np.random.default_rng(seed)
        columns = [self._values(column, count, rng) for column in self.manifest["inputs"]]
        if list(self.inputs) == ["features"]:
            return {"features": np.concatenate(columns, axis=1).astype(np.float32)}
        return {
            name: column.astype(self.inputs[name])
            for name, column in zip(self.inputs, columns, strict=True)
        }

    def answers(self, inputs):
        """The outputs, by name."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(None, inputs), strict=True))

    def _values(self, column, count, rng):
        if column["type"] == "category":
            return rng.choice(column["categories"], (count, 1))
        if column["type"] == "boolean":
            return rng.integers(0, 2, (count, 1))
        if column["type"] == "date":
            days = np.array([column["minimum"], column["maximum"]], "datetime64[s]")
            return rng.integers(*days.astype(np.int64), (count, 1))
        return rng.uniform(column["minimum"], column["maximum"], (count, 1))


def same(got, expected):
    """Whether answers are alike, by output: labels alike, numbers as float32 writes them."""
    for name, array in expected.items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-7)
        else:
            assert list(map(str, np.ravel(got[name]))) == list(map(str, array)), name
