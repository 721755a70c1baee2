"""KServe's REST client, with versions 1 and 2 of its protocol."""

import asyncio

import numpy as np
import pytest
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

from tests.clients.graph import Graph, assert_same_outputs

pytestmark = pytest.mark.clients


def run_with_client(protocol, use_client):
    """Return the result of an asynchronous function of a client."""

    async def run():
        client = InferenceRESTClient(RESTConfig(protocol=protocol, timeout=120))
        try:
            return await use_client(client)
        finally:
            await client.close()

    return asyncio.run(run())


def test_kserve_client_finds_the_server_and_the_model(digits):
    async def get_states(client):
        return (
            await client.is_server_live(digits.url),
            await client.is_server_ready(digits.url),
            await client.is_model_ready(digits.url, "digits"),
        )

    assert run_with_client("v2", get_states) == (True, True, True)


@pytest.mark.parametrize("is_binary", [False, True])
@pytest.mark.parametrize("served", ["digits", "people"])
def test_kserve_client_gets_the_outputs_of_the_graph(served, is_binary, request):
    server = request.getfixturevalue(served)
    graph = Graph(server.models)
    inputs = graph.create_inputs(5)
    datatypes = {"f4": "FP32", "f8": "FP64", "O": "BYTES"}
    tensors = []
    for name, array in inputs.items():
        datatype = datatypes[array.dtype.str.strip("<|")]
        tensor = InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=is_binary)
        tensors.append(tensor)
    infer_request = InferRequest(graph.name, tensors, request_id="five")
    answer = run_with_client(
        "v2", lambda client: client.infer(server.url, infer_request, model_name=graph.name)
    )
    assert answer.id == "five"
    outputs = {output.name: output.as_numpy() for output in answer.outputs}
    outputs = {
        name: array.astype(np.bytes_).astype(np.str_) if array.dtype == np.object_ else array
        for name, array in outputs.items()
    }
    assert_same_outputs(outputs, graph.run(inputs))


def test_kserve_client_version_1_gets_the_outputs_of_the_graph(digits):
    graph = Graph(digits.models)
    inputs = graph.create_inputs(5)
    body = {"instances": inputs["features"].tolist()}
    answer = run_with_client(
        "v1", lambda client: client.infer(digits.url, body, model_name="digits")
    )
    rows = answer["predictions"]
    got = {name: [row[name] for row in rows] for name in ("label", "probabilities")}
    assert_same_outputs(got, graph.run(inputs))
