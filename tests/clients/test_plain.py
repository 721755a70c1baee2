"""No client at all: requests, with bodies written by hand."""

import numpy as np
import pytest
import requests

from tests.clients.graph import Graph, same

pytestmark = pytest.mark.clients


def test_predict_invocations_and_tensorflow_agree_with_the_graph(digits):
    graph = Graph(digits.models)
    inputs = graph.rows(5)
    expected = graph.answers(inputs)
    body = {"instances": inputs["features"].tolist()}
    for path in ("/predict", "/invocations"):
        said = requests.post(f"{digits.url}{path}", json=body, timeout=120).json()
        same({"label": said["predictions"], "probabilities": said["probabilities"]}, expected)
    said = requests.post(f"{digits.url}/v1/models/digits:predict", json=body, timeout=120).json()
    same({"label": [one["label"] for one in said["predictions"]]}, {"label": expected["label"]})
    columns = {"inputs": {"features": inputs["features"].tolist()}}
    said = requests.post(f"{digits.url}/v1/models/digits:predict", json=columns, timeout=120).json()
    same(said["outputs"], expected)


def test_a_table_of_a_file_is_answered_in_csv(digits):
    graph = Graph(digits.models)
    inputs = graph.rows(5)
    lines = "\r\n".join(",".join(map(repr, row)) for row in inputs["features"].tolist())
    headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
    answer = requests.post(f"{digits.url}/invocations", data=lines, headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    got = np.array([line.split(",") for line in answer.text.splitlines()], float)
    same({"label": got[:, 0].astype(int), "probabilities": got[:, 1:]}, graph.answers(inputs))


def test_raw_numbers_are_a_body_too(digits):
    graph = Graph(digits.models)
    inputs = graph.rows(5)
    answer = requests.post(
        f"{digits.url}/predict",
        data=inputs["features"].astype("<f4").tobytes(),
        headers={"Content-Type": "application/octet-stream"},
        timeout=120,
    ).json()
    got = {"label": answer["predictions"], "probabilities": answer["probabilities"]}
    same(got, graph.answers(inputs))
