"""KServe's REST client, in both versions of its protocol."""

import asyncio

import numpy as np
import pytest
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

from tests.clients.graph import Graph, same

pytestmark = pytest.mark.clients


def client(protocol):
    return InferenceRESTClient(RESTConfig(protocol=protocol, timeout=20))


def test_it_finds_the_server_and_the_model(digits):
    async def ask():
        v2 = client("v2")
        return (
            await v2.is_server_live(digits.url),
            await v2.is_server_ready(digits.url),
            await v2.is_model_ready(digits.url, "digits"),
        )

    assert asyncio.run(ask()) == (True, True, True)


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
    answer = asyncio.run(client("v2").infer(server.url, asked, model_name=graph.name))
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
    answer = asyncio.run(client("v1").infer(digits.url, body, model_name="digits"))
    said = answer["predictions"]
    got = {name: [one[name] for one in said] for name in ("label", "probabilities")}
    same(got, graph.answers(inputs))
