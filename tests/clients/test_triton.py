"""NVIDIA's Triton client for the Open Inference Protocol, in JSON and with binary tensors."""

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.clients.graph import Graph, assert_same_outputs

pytestmark = pytest.mark.clients


@pytest.fixture(params=["digits", "people"])
def served(request):
    """A client of a server, and the graph of the server's model."""
    server = request.getfixturevalue(request.param)
    with triton.InferenceServerClient(server.address) as client:
        yield client, Graph(server.models)


def create_tensors(inputs, is_binary):
    tensors = []
    for name, array in inputs.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, binary_data=is_binary)
        tensors.append(tensor)
    return tensors


def read_outputs(answer, graph):
    outputs = {one.name: answer.as_numpy(one.name) for one in graph.session.get_outputs()}
    return {
        name: array.astype(np.bytes_).astype(np.str_) if array.dtype == np.object_ else array
        for name, array in outputs.items()
    }


def test_triton_client_finds_the_server_and_the_model(served):
    client, graph = served
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(graph.name)
    assert client.is_model_ready(graph.name, "1")
    assert not client.is_model_ready(graph.name, "2")
    assert not client.is_model_ready("letters")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]


def test_triton_client_metadata_describes_the_graph(served):
    client, graph = served
    metadata = client.get_model_metadata(graph.name)
    datatypes = {
        "tensor(float)": "FP32",
        "tensor(double)": "FP64",
        "tensor(int64)": "INT64",
        "tensor(string)": "BYTES",
    }
    for key, expected in (
        ("inputs", graph.session.get_inputs()),
        ("outputs", graph.session.get_outputs()),
    ):
        assert [(one["name"], one["datatype"], one["shape"]) for one in metadata[key]] == [
            (one.name, datatypes[one.type], [-1, *one.shape[1:]]) for one in expected
        ]


@pytest.mark.parametrize("is_output_binary", [True, False])
@pytest.mark.parametrize("is_input_binary", [True, False])
@pytest.mark.parametrize("count", [1, 7])
def test_triton_client_gets_the_outputs_of_the_graph(
    is_input_binary, is_output_binary, count, served
):
    client, graph = served
    inputs = graph.create_inputs(count)
    requested = [
        triton.InferRequestedOutput(one.name, binary_data=is_output_binary)
        for one in graph.session.get_outputs()
    ]
    tensors = create_tensors(inputs, is_input_binary)
    answer = client.infer(graph.name, tensors, outputs=requested, request_id="seven")
    assert answer.get_response()["id"] == "seven"
    assert_same_outputs(read_outputs(answer, graph), graph.run(inputs))


def test_triton_client_without_requested_outputs_gets_all(served):
    client, graph = served
    inputs = graph.create_inputs(3)
    answer = client.infer(graph.name, create_tensors(inputs, is_binary=True), model_version="1")
    assert_same_outputs(read_outputs(answer, graph), graph.run(inputs))


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_triton_client_gzip_is_accepted_and_deflate_refused(encoding, served):
    client, graph = served
    inputs = graph.create_inputs(3)

    def infer():
        return client.infer(
            graph.name,
            create_tensors(inputs, is_binary=True),
            request_compression_algorithm=encoding,
        )

    if encoding == "gzip":
        assert_same_outputs(read_outputs(infer(), graph), graph.run(inputs))
    else:
        with pytest.raises(InferenceServerException, match="got 'deflate'"):
            infer()


def test_triton_client_invalid_requests_raise_the_error(served):
    client, graph = served
    with pytest.raises(InferenceServerException, match="expected"):
        client.infer("letters", create_tensors(graph.create_inputs(1), is_binary=True))
    short = {name: array[:, :0] for name, array in graph.create_inputs(1).items()}
    with pytest.raises(InferenceServerException, match="expected"):
        client.infer(graph.name, create_tensors(short, is_binary=True))
