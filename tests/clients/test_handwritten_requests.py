"""Requests without a client library of a protocol, their bodies written by hand."""

import numpy as np
import pytest
import requests

from tests.clients.graph import Graph, assert_same_outputs

pytestmark = pytest.mark.clients


def test_predict_invocations_and_tensorflow_return_the_outputs_of_the_graph(digits):
    graph = Graph(digits.models)
    inputs = graph.create_inputs(5)
    expected = graph.run(inputs)
    body = {"instances": inputs["features"].tolist()}
    for path in ("/predict", "/invocations"):
        answer = requests.post(f"{digits.url}{path}", json=body, timeout=120).json()
        got = {"label": answer["predictions"], "probabilities": answer["probabilities"]}
        assert_same_outputs(got, expected)
    url = f"{digits.url}/v1/models/digits:predict"
    answer = requests.post(url, json=body, timeout=120).json()
    labels = [row["label"] for row in answer["predictions"]]
    assert_same_outputs({"label": labels}, {"label": expected["label"]})
    columns = {"inputs": {"features": inputs["features"].tolist()}}
    answer = requests.post(url, json=columns, timeout=120).json()
    assert_same_outputs(answer["outputs"], expected)


def test_invocations_csv_body_returns_csv(digits):
    graph = Graph(digits.models)
    inputs = graph.create_inputs(5)
    lines = "\r\n".join(",".join(map(repr, row)) for row in inputs["features"].tolist())
    headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
    answer = requests.post(f"{digits.url}/invocations", data=lines, headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    got = np.array([line.split(",") for line in answer.text.splitlines()], float)
    assert_same_outputs(
        {"label": got[:, 0].astype(int), "probabilities": got[:, 1:]}, graph.run(inputs)
    )


def test_predict_raw_float32_body_returns_the_outputs_of_the_graph(digits):
    graph = Graph(digits.models)
    inputs = graph.create_inputs(5)
    answer = requests.post(
        f"{digits.url}/predict",
        data=inputs["features"].astype("<f4").tobytes(),
        headers={"Content-Type": "application/octet-stream"},
        timeout=120,
    ).json()
    got = {"label": answer["predictions"], "probabilities": answer["probabilities"]}
    assert_same_outputs(got, graph.run(inputs))
