"""NVIDIA's client for the Open Inference Protocol, in JSON and with binary tensors."""

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.clients.graph import Graph, same

pytestmark = pytest.mark.clients

KINDS = {np.object_: "BYTES", np.float32: "FP32", np.float64: "FP64"}


@pytest.fixture(params=["digits", "people"])
def served(request):
    """A client, and the graph that answers it."""
    server = request.getfixturevalue(request.param)
    with triton.InferenceServerClient(server.address) as client:
        yield client, Graph(server.models)


def tensors(inputs, binary):
    found = []
    for name, array in inputs.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, binary_data=binary)
        found.append(tensor)
    return found


def outputs(answer, graph):
    found = {o.name: answer.as_numpy(o.name) for o in graph.session.get_outputs()}
    return {
        name: array.astype(np.bytes_).astype(np.str_) if array.dtype == np.object_ else array
        for name, array in found.items()
    }


def test_it_finds_the_server_and_the_model(served):
    client, graph = served
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(graph.name)
    assert client.is_model_ready(graph.name, "1")
    assert not client.is_model_ready(graph.name, "2")
    assert not client.is_model_ready("letters")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]


def test_the_metadata_is_that_of_the_graph(served):
    client, graph = served
    said = client.get_model_metadata(graph.name)
    kinds = {
        "tensor(float)": "FP32",
        "tensor(double)": "FP64",
        "tensor(int64)": "INT64",
        "tensor(string)": "BYTES",
    }
    for part, are in (
        ("inputs", graph.session.get_inputs()),
        ("outputs", graph.session.get_outputs()),
    ):
        assert [(t["name"], t["datatype"], t["shape"]) for t in said[part]] == [
            (t.name, kinds[t.type], [-1, *t.shape[1:]]) for t in are
        ]


@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("count", [1, 7])
def test_its_answers_are_the_graphs(binary_in, binary_out, count, served):
    client, graph = served
    inputs = graph.rows(count)
    wanted = [
        triton.InferRequestedOutput(o.name, binary_data=binary_out)
        for o in graph.session.get_outputs()
    ]
    answer = client.infer(
        graph.name, tensors(inputs, binary_in), outputs=wanted, request_id="seven"
    )
    assert answer.get_response()["id"] == "seven"
    same(outputs(answer, graph), graph.answers(inputs))


def test_without_wishes_it_gets_all_outputs(served):
    client, graph = served
    inputs = graph.rows(3)
    answer = client.infer(graph.name, tensors(inputs, binary=True), model_version="1")
    same(outputs(answer, graph), graph.answers(inputs))


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_body_is_taken_or_refused_by_name(encoding, served):
    client, graph = served
    inputs = graph.rows(3)

    def infer():
        return client.infer(
            graph.name, tensors(inputs, binary=True), request_compression_algorithm=encoding
        )

    if encoding == "gzip":
        same(outputs(infer(), graph), graph.answers(inputs))
    else:
        with pytest.raises(InferenceServerException, match="got 'deflate'"):
            infer()


def test_its_faults_are_told(served):
    client, graph = served
    with pytest.raises(InferenceServerException, match="expected"):
        client.infer("letters", tensors(graph.rows(1), binary=True))
    short = {name: array[:, :0] for name, array in graph.rows(1).items()}
    with pytest.raises(InferenceServerException, match="expected"):
        client.infer(graph.name, tensors(short, binary=True))
