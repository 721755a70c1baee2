"""Triton's extensions of the Open Inference Protocol."""

import json

import pytest

from serving.http.app import create_app
from tests.bundle_versions import add_version

ROW = {"instances": [[0] * 64]}
MEMORY = ("systemsharedmemory", "cudasharedmemory")


def read_refusal(answer):
    """Return the message of a refusal in the protocol's error format."""
    assert answer.status_code == 400
    assert answer.content_type == "application/json"
    body = answer.get_json()
    assert set(body) == {"error"}
    return body["error"]


def test_statistics_requests_instances_and_stages_are_counted(client):
    for instances in (1, 3):
        body = {"instances": [[0] * 64] * instances}
        assert client.post("/predict", json=body).status_code == 200
    assert client.post("/predict", json={"instances": [[0] * 63]}).status_code == 422
    for path in (
        "/v2/models/stats",
        "/v2/models/digits/stats",
        "/v2/models/digits/versions/1/stats",
    ):
        (found,) = client.get(path).get_json()["model_stats"]
        assert (found["name"], found["version"], found["inference_count"]) == ("digits", "1", 4)
        stats = found["inference_stats"]
        assert (stats["success"], stats["fail"]) == ({"count": 2}, {"count": 1})
        for stage in ("queue", "compute_input", "compute_infer", "compute_output"):
            assert stats[stage]["count"] == 2
            assert stats[stage]["ns"] > 0
        assert "cache_hit" not in stats  # there is no cache
        assert "execution_count" not in found  # not counted here


def test_statistics_several_versions_received_requests_leaves_times_out(only_digits):
    add_version(only_digits, 2)
    client = create_app(models=only_digits, keep=2).test_client()
    for version in (1, 1, 2):
        path = f"/v1/models/digits/versions/{version}:predict"
        assert client.post(path, json=ROW).status_code == 200
    first, second = client.get("/v2/models/digits/stats").get_json()["model_stats"]
    assert (first["version"], first["inference_count"]) == ("1", 2)
    assert (second["version"], second["inference_count"]) == ("2", 1)
    assert set(first["inference_stats"]) == set(second["inference_stats"]) == {"success", "fail"}
    (by_path,) = client.get("/v2/models/digits/versions/2/stats").get_json()["model_stats"]
    assert by_path == second


def test_statistics_before_any_request_are_zero(client):
    (found,) = client.get("/v2/models/stats").get_json()["model_stats"]
    assert found["inference_count"] == 0
    assert found["inference_stats"]["compute_infer"] == {"count": 0, "ns": 0}


@pytest.mark.parametrize("what", ["stats", "config", "trace/setting"])
def test_triton_unknown_model_is_404(what, client):
    answer = client.get(f"/v2/models/letters/{what}")
    assert (answer.status_code, set(answer.get_json())) == (404, {"error"})


def test_config_has_the_tensors_without_the_row_dimension(client):
    for path in ("/v2/models/digits/config", "/v2/models/digits/versions/1/config"):
        found = client.get(path).get_json()
        assert (found["name"], found["platform"]) == ("digits", "onnxruntime_onnx")
        assert found["max_batch_size"] >= 1
        assert found["input"] == [{"name": "features", "data_type": "TYPE_FP32", "dims": [64]}]
        outputs = {output.pop("name"): output for output in found["output"]}
        assert outputs == {
            "label": {"data_type": "TYPE_INT64", "dims": [1], "reshape": {"shape": []}},
            "probabilities": {"data_type": "TYPE_FP32", "dims": [10]},
        }


def test_config_mixed_table_has_one_tensor_per_column(adults):
    client = create_app(models=adults, max_batch_rows=7).test_client()
    found = client.get("/v2/models/adults/config").get_json()
    assert found["max_batch_size"] == 7
    assert {"name": "work", "data_type": "TYPE_STRING", "dims": [1]} in found["input"]
    assert len(found["input"]) == 6


@pytest.mark.parametrize("path", ["/v2/trace/setting", "/v2/models/digits/trace/setting"])
def test_trace_setting_is_off_and_a_change_is_refused(path, client):
    off = {"trace_level": ["OFF"]}
    assert client.get(path).get_json() == off
    for same in ({}, off, {"trace_rate": None, "trace_level": None}):
        assert client.post(path, json=same).get_json() == off
    assert "/metrics" in read_refusal(client.post(path, json={"trace_level": ["TIMESTAMPS"]}))


@pytest.mark.parametrize(
    ("level", "verbose", "info", "warning"),
    [
        ("debug", 1, True, True),
        ("info", 0, True, True),
        ("warning", 0, False, True),
        ("error", 0, False, False),
    ],
)
def test_logging_shows_the_log_level_and_refuses_a_change(level, verbose, info, warning, shipped):
    client = create_app(models=shipped, log_level=level).test_client()
    settings = {
        "log_file": "",
        "log_info": info,
        "log_warning": warning,
        "log_error": True,
        "log_verbose_level": verbose,
    }
    assert client.get("/v2/logging").get_json() == settings
    assert client.post("/v2/logging", json=settings).get_json() == settings
    assert "--log-level" in read_refusal(client.post("/v2/logging", json={"log_verbose_level": 3}))
    assert client.get("/v2/logging").get_json() == settings


@pytest.mark.parametrize("path", ["/v2/logging", "/v2/trace/setting"])
@pytest.mark.parametrize("body", [b"{", b"[]", b"3", b"\xff", b"[" * 100_000])
def test_settings_body_not_an_object_is_refused(path, body, client):
    assert "expected an empty body, or a JSON object; got" in read_refusal(
        client.post(path, data=body)
    )


@pytest.mark.parametrize("kind", MEMORY)
def test_shared_memory_is_empty_and_registration_refused(kind, client):
    assert client.get(f"/v2/{kind}/status").get_json() == []
    message = "got the shared memory region 'mine'"
    assert message in read_refusal(client.get(f"/v2/{kind}/region/mine/status"))
    body = {"key": "/mine", "offset": 0, "byte_size": 8}
    assert message in read_refusal(client.post(f"/v2/{kind}/region/mine/register", json=body))
    for path in (f"/v2/{kind}/unregister", f"/v2/{kind}/region/mine/unregister"):
        answer = client.post(path)
        assert (answer.status_code, answer.get_json()) == (200, {})


@pytest.mark.parametrize("part", ["inputs", "outputs"])
def test_infer_tensor_in_shared_memory_is_refused(part, client):
    region = {"shared_memory_region": "mine", "shared_memory_byte_size": 256}
    tensor = {"name": "features", "shape": [1, 64], "datatype": "FP32"}
    body = {"inputs": [tensor | {"data": [0] * 64}], "outputs": [{"name": "label"}]}
    body[part][0] |= {"parameters": region}
    if part == "inputs":
        del body[part][0]["data"]
    answer = client.post("/v2/models/digits/infer", data=json.dumps(body))
    assert answer.status_code == 422
    assert "got a shared memory region; this server uses none" in answer.get_json()["error"]
