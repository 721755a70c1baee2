"""KServe's REST client, in both versions of its protocol."""

import asyncio

import numpy as np
import pytest
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

from tests.clients.graph import Graph, same

pytestmark = pytest.mark.clients


def ask(protocol, question):
    """The answer to a question that is put to a client."""

    async def put():
        client = InferenceRESTClient(RESTConfig(protocol=protocol, timeout=120))
        try:
            return await question(client)
        finally:
            await client.close()

    return asyncio.run(put())


def test_it_finds_the_server_and_the_model(digits):
    async def found(client):
        return (
            await client.is_server_live(digits.url),
            await client.is_server_ready(digits.url),
            await client.is_model_ready(digits.url, "digits"),
        )

    assert ask("v2", found) == (True, True, True)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("served", ["digits", "people"])
def test_its_answers_are_the_graphs(served, binary, request):
    server = request.getfixturevalue(served)
    graph = Graph(server.models)
    inputs = graph.rows(5)
    kinds = {"f4": "FP32", "f8": "FP64", "O": "BYTES"}
    tensors = []
    for name, array in inputs.items():
        kind = kinds[array.dtype.str.strip("<|")]
        tensor = InferInput(name, list(array.shape), kind)
        tensor.set_data_from_numpy(array, binary_data=binary)
        tensors.append(tensor)
    asked = InferRequest(graph.name, tensors, request_id="five")
    answer = ask("v2", lambda client: client.infer(server.url, asked, model_name=graph.name))
    assert answer.id == "five"
    found = {output.name: output.as_numpy() for output in answer.outputs}
    found = {
        name: array.astype(np.bytes_).astype(np.str_) if array.dtype == np.object_ else array
        for name, array in found.items()
    }
    same(found, graph.answers(inputs))


def test_version_1_of_its_protocol_is_tensorflows(digits):
    graph = Graph(digits.models)
    inputs = graph.rows(5)
    body = {"instances": inputs["features"].tolist()}
    answer = ask("v1", lambda client: client.infer(digits.url, body, model_name="digits"))
    said = answer["predictions"]
    got = {name: [one[name] for one in said] for name in ("label", "probabilities")}
    same(got, graph.answers(inputs))
