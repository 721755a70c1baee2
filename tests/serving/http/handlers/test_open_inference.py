"""The Open Inference Protocol: hand-written bodies, answers compared with the graph's."""

import json
import struct

import numpy as np
import onnxruntime
import pytest

from serving import create_app


@pytest.fixture
def table(adults):
    return create_app(models=adults).test_client()


def infer(client, body, model="digits", **more):
    return client.post(f"/v2/models/{model}/infer", json=body, **more)


def features(rows, **more):
    tensor = {"name": "features", "shape": list(np.shape(rows)), "datatype": "FP32"}
    return {"inputs": [{**tensor, "data": np.asarray(rows).tolist()}], **more}


def by_name(answer):
    return {output["name"]: output for output in answer["outputs"]}


def test_server_metadata_has_name_version_and_extensions(client):
    answer = client.get("/v2").get_json()
    assert set(answer) == {"name", "version", "extensions"}
    assert {"binary_tensor_data", "model_repository"} <= set(answer["extensions"])


@pytest.mark.parametrize("path", ["live", "ready"])
def test_health_loaded_model_answers_200_with_a_body_for_kserve(path, client):
    answer = client.get(f"/v2/health/{path}")
    assert (answer.status_code, answer.get_json()) == (200, {path: True})


def test_readiness_no_model_passed_its_self_test_answers_503(only_digits):
    (only_digits / "digits" / "1" / "model.onnx").write_bytes(b"no graph")
    client = create_app(models=only_digits).test_client()
    assert client.get("/v2/health/live").status_code == 200
    ready = client.get("/v2/health/ready")
    assert (ready.status_code, ready.data) == (503, b"")
    model = client.get("/v2/models/digits/ready")
    assert (model.status_code, model.get_json()) == (503, {"name": "digits", "ready": False})
    answer = infer(client, features(np.zeros((1, 64))))
    assert answer.status_code == 503
    assert set(answer.get_json()) == {"error"}


@pytest.mark.parametrize("version_path", ["", "/versions/1"])
def test_model_metadata_tensors_are_those_of_the_graph(version_path, client, shipped):
    answer = client.get(f"/v2/models/digits{version_path}").get_json()
    assert (answer["name"], answer["versions"]) == ("digits", ["1"])
    session = onnxruntime.InferenceSession(shipped / "digits" / "1" / "model.onnx")
    kinds = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}
    for key, tensors in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        assert answer[key] == [
            {
                "name": t.name,
                "datatype": kinds[t.type],
                "shape": [size if isinstance(size, int) else -1 for size in t.shape],
            }
            for t in tensors
        ]


def test_model_metadata_mixed_table_has_one_tensor_per_column(table, mixed):
    answer = table.get("/v2/models/adults").get_json()
    kinds = {"category": "BYTES", "date": "FP64"}
    assert answer["inputs"] == [
        {"name": column["name"], "datatype": kinds.get(column["type"], "FP32"), "shape": [-1, 1]}
        for column in mixed.columns
    ]
    assert [tensor["datatype"] for tensor in answer["outputs"]] == ["BYTES", "FP32"]


@pytest.mark.parametrize("version_path", ["", "/versions/1"])
def test_model_ready_loaded_model_answers_200(version_path, client):
    answer = client.get(f"/v2/models/digits{version_path}/ready")
    assert (answer.status_code, answer.get_json()) == (200, {"name": "digits", "ready": True})


@pytest.mark.parametrize("version_path", ["", "/versions/1"])
@pytest.mark.parametrize("flat", [False, True])
def test_infer_json_tensors_same_answer_as_graph(
    version_path, flat, client, shipped, digits, graph_answers
):
    rows = digits[0][:3]
    body = features(rows, id="a-1")
    if flat:
        body["inputs"][0]["data"] = rows.ravel().tolist()
    answer = client.post(f"/v2/models/digits{version_path}/infer", json=body)
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    answer_body = answer.get_json()
    assert (answer_body["model_name"], answer_body["model_version"], answer_body["id"]) == (
        "digits",
        "1",
        "a-1",
    )
    expected = graph_answers(shipped, "digits", {"features": rows})
    for name, output in by_name(answer_body).items():
        assert output["shape"] == list(expected[name].shape)
        got = np.array(output["data"], expected[name].dtype).reshape(output["shape"])
        np.testing.assert_allclose(got, expected[name], rtol=1e-6)


def test_infer_binary_tensors_both_ways_same_answer_as_graph(
    client, shipped, digits, graph_answers
):
    rows = digits[0][:3].astype("<f4")
    tensor = {
        "name": "features",
        "shape": [3, 64],
        "datatype": "FP32",
        "parameters": {"binary_data_size": rows.nbytes},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    answer = client.post(
        "/v2/models/digits/infer",
        data=head + rows.tobytes(),
        headers={
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        },
    )
    assert answer.status_code == 200, answer.text
    size = int(answer.headers["Inference-Header-Content-Length"])
    outputs, offset = by_name(json.loads(answer.data[:size])), size
    expected = graph_answers(shipped, "digits", {"features": rows})
    for name, output in outputs.items():
        assert "data" not in output
        count = output["parameters"]["binary_data_size"]
        got = np.frombuffer(
            answer.data[offset : offset + count], expected[name].dtype.newbyteorder("<")
        )
        offset += count
        np.testing.assert_allclose(got.reshape(output["shape"]), expected[name], rtol=1e-6)
    assert offset == len(answer.data)


def test_infer_mixed_table_in_json_is_answered(table, mixed, rng):
    records = [r for r in mixed.records(20, rng) if None not in r.values()]
    columns = mixed.inputs(records)
    kinds = {"category": "BYTES", "date": "FP64"}
    body = {
        "inputs": [
            {
                "name": column["name"],
                "datatype": kinds.get(column["type"], "FP32"),
                "shape": [len(records), 1],
                "data": columns[column["name"]].ravel().tolist(),
            }
            for column in mixed.columns
        ]
    }
    outputs = by_name(infer(table, body, "adults").get_json())
    probabilities, labels = mixed.answers(records)
    assert outputs["label"]["datatype"] == "BYTES"
    assert outputs["label"]["data"] == labels.tolist()
    got = np.reshape(outputs["probabilities"]["data"], outputs["probabilities"]["shape"])
    np.testing.assert_allclose(got, probabilities, atol=1e-5)


def test_infer_binary_texts_are_answered(table, mixed):
    columns = mixed.inputs([mixed.record])
    tensors, tail = [], b""
    for column in mixed.columns:
        value = columns[column["name"]]
        if value.dtype == object:
            text = value[0, 0].encode()
            kind, part = "BYTES", struct.pack("<I", len(text)) + text
        else:
            kind, part = {4: "FP32", 8: "FP64"}[value.itemsize], value.tobytes()
        tail += part
        tensors.append(
            {
                "name": column["name"],
                "datatype": kind,
                "shape": [1, 1],
                "parameters": {"binary_data_size": len(part)},
            }
        )
    head = json.dumps({"inputs": tensors, "outputs": [{"name": "label"}]}).encode()
    answer = table.post(
        "/v2/models/adults/infer",
        data=head + tail,
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    assert answer.status_code == 200, answer.text
    outputs = by_name(answer.get_json())
    assert list(outputs) == ["label"]
    assert outputs["label"]["data"] == mixed.answers([mixed.record])[1].tolist()


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v2/models/letters", 404, "expected a model out of digits; got 'letters'"),
        ("/v2/models/letters/ready", 404, "out of digits"),
        ("/v2/models/digits/versions/2", 404, "got 2"),
        ("/v2/models/digits/versions/2/ready", 404, "got 2"),
        ("/v2/models/digits/versions/one", 404, "got 'one'"),
        ("/v2/models/digits/versions/0", 404, "got '0'"),
        ("/v2/models/digits/versions/" + "9" * 5000, 404, "expected a version"),
        ("/v2/models/letters/versions/one", 404, "out of digits"),
        ("/v2/nothing", 404, "GET /v2/health/live"),
    ],
)
def test_open_inference_unknown_model_version_or_path_is_404_in_the_protocols_format(
    path, status, message, client
):
    answer = client.get(path)
    assert answer.status_code == status
    assert set(answer.get_json()) == {"error"}
    assert message in answer.get_json()["error"]


def test_open_inference_unknown_path_lists_only_routes_of_the_protocol(client):
    assert "/predict" not in client.get("/v2/nothing").get_json()["error"]


def test_infer_wrong_method_error_names_the_allowed_method(client):
    answer = client.get("/v2/models/digits/infer")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert set(answer.get_json()) == {"error"}
    assert client.options("/v2/models/digits/infer").status_code == 204
    assert client.head("/v2/health/ready").status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{", 400), (b"[]", 422), (b'{"inputs":[]}', 422), (b'{"inputs":1}', 422)],
)
def test_infer_malformed_body_is_answered_with_4xx(body, status, client):
    answer = client.post("/v2/models/digits/infer", data=body)
    assert answer.status_code == status
    assert set(answer.get_json()) == {"error"}


@pytest.mark.parametrize("length", ["many", "-1", "1e2", "1" * 20, ""])
def test_infer_malformed_json_length_is_refused(length, client):
    answer = client.post(
        "/v2/models/digits/infer", data=b"{}", headers={"Inference-Header-Content-Length": length}
    )
    assert answer.status_code == 400
    assert "Inference-Header-Content-Length" in answer.get_json()["error"]
