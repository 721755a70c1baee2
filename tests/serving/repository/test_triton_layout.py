"""The repository as Triton reads it, with no config.pbtxt: its ONNX Runtime backend completes one.

What it needs for that, and for joining requests, is in its source, `AutoCompleteMaxBatch` and
`AutoCompleteIO`: https://github.com/triton-inference-server/onnxruntime_backend
"""

import onnx
import pytest
from onnx import TensorProto

# Of the element types that the backend knows, those that appear here.
KNOWN = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.STRING}


@pytest.fixture(params=["zoo", "adults"])
def models(request):
    return request.getfixturevalue(request.param)


def graphs(models):
    found = [onnx.load(path) for path in models.glob("*/*/model.onnx")]
    assert found
    return found


@pytest.mark.slow
def test_each_version_is_a_number_that_holds_model_onnx(models):
    for model in models.iterdir():
        if model.name.startswith(".serving."):  # not a folder: Triton passes it over
            continue
        assert model.is_dir()
        for version in model.iterdir():
            assert version.name.isdigit()
            assert not version.name.startswith("0")
            assert (version / "model.onnx").is_file()
            assert not any(inner.is_dir() for inner in version.iterdir())


def test_the_first_dimension_of_every_tensor_is_the_batch_and_no_other_is_open(models):
    for graph in graphs(models):
        initializers = {tensor.name for tensor in graph.graph.initializer}
        for tensor in [*graph.graph.input, *graph.graph.output]:
            assert tensor.name not in initializers
            first, *rest = tensor.type.tensor_type.shape.dim
            assert not first.HasField("dim_value")
            assert all(size.dim_value > 0 for size in rest)
            assert tensor.type.tensor_type.elem_type in KNOWN


def test_a_graph_is_one_file(models):
    for graph in graphs(models):
        assert all(
            tensor.data_location == TensorProto.DEFAULT for tensor in graph.graph.initializer
        )
