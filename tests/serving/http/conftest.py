"""An answer that needs none of the server: the bundle's graph in plain ONNX Runtime."""

import onnxruntime
import pytest


@pytest.fixture
def graph_answers():
    """What the graph of models/NAME/1 says, by output."""

    def answers(models, name, inputs):
        session = onnxruntime.InferenceSession(models / name / "1" / "model.onnx")
        outputs = [output.name for output in session.get_outputs()]
        return dict(zip(outputs, session.run(None, inputs), strict=True))

    return answers
