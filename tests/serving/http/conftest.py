"""Expected answers computed by plain ONNX Runtime, without any code of the server."""

import onnxruntime
import pytest


@pytest.fixture
def graph_answers():
    """Return a function that runs the graph of `models/NAME/1` and returns its outputs by name."""

    def answers(models, name, inputs):
        session = onnxruntime.InferenceSession(models / name / "1" / "model.onnx")
        outputs = [output.name for output in session.get_outputs()]
        return dict(zip(outputs, session.run(None, inputs), strict=True))

    return answers
