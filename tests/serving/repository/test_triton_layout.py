"""Triton can read the repository without config.pbtxt: its ONNX Runtime backend creates one.

What it needs for that, and for batching, is in `AutoCompleteMaxBatch` and `AutoCompleteIO` of
 https://github.com/triton-inference-server/onnxruntime_backend
"""

import onnx
import pytest
from onnx import TensorProto

# Element types that the backend supports and that occur here.
SUPPORTED_TYPES = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.STRING}


@pytest.fixture(params=["zoo", "adults"])
def models(request):
    return request.getfixturevalue(request.param)


def load_graphs(models):
    found = [onnx.load(path) for path in models.glob("*/*/model.onnx")]
    assert found
    return found


@pytest.mark.slow
def test_version_folder_is_a_number_with_model_onnx(models):
    for model in models.iterdir():
        if model.name.startswith(".serving."):  # Triton ignores files.
            continue
        assert model.is_dir()
        for version in model.iterdir():
            assert version.name.isdigit()
            assert not version.name.startswith("0")
            assert (version / "model.onnx").is_file()
            assert not any(inner.is_dir() for inner in version.iterdir())


def test_graph_tensors_only_batch_dimension_is_dynamic(models):
    for graph in load_graphs(models):
        initializers = {tensor.name for tensor in graph.graph.initializer}
        for tensor in [*graph.graph.input, *graph.graph.output]:
            assert tensor.name not in initializers
            first, *rest = tensor.type.tensor_type.shape.dim
            assert not first.HasField("dim_value")
            assert all(size.dim_value > 0 for size in rest)
            assert tensor.type.tensor_type.elem_type in SUPPORTED_TYPES


def test_graph_has_no_external_data(models):
    for graph in load_graphs(models):
        assert all(
            tensor.data_location == TensorProto.DEFAULT for tensor in graph.graph.initializer
        )
