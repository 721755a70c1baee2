"""Encoded requests, sent to a real server with models of every kind."""

import csv
import json
import shutil
import socket
from dataclasses import replace
from http.client import HTTPResponse

import numpy as np
import pytest
import requests

from serving.loadtest.answer_check import REQUEST_FORMATS, parse_answer
from serving.loadtest.http_client import ServerAddress, UnusableServerError
from serving.loadtest.instances import generate_instances
from serving.loadtest.request_builder import build_requests, encode_http_request
from serving.loadtest.target import read_target
from tests.processes import wait_until
from trainer.config import Config
from trainer.pipeline import fit

NAMES = ("adults", "digits", "flowers", "physique", "progress", "switches", "tumours", "visits")


def generate_switches(rng):
    """Return rows of numbers and booleans only, with missing values in both."""
    for _ in range(120):
        load, on = rng.normal(5), rng.choice(["true", "false", ""])
        yield [f"{load:.2f}" if rng.random() < 0.9 else "", on, "up" if load > 5 else "down"]


def generate_visits(rng):
    """Return rows of dates, booleans and texts; texts and classes have special characters."""
    for number in range(120):
        city = rng.choice(["Ñandú, 3", 'the "Hague"', "x"])
        at = f"2024-05-{rng.integers(1, 29):02d}T{rng.integers(24):02d}:30:00"
        spent, new = str(rng.integers(10**6, 10**7)), rng.choice(["true", "false"])
        yield [city, at, spent, new, ("año", "b")[number % 2]]


def write_csv(path, head, rows):
    """Write a CSV file, and return its path as a text."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    return str(path)


@pytest.fixture(scope="session")
def all_models(zoo, adults, tmp_path_factory):
    """Return a folder with the models of `NAMES`."""
    folder = tmp_path_factory.mktemp("all_models")
    rng = np.random.default_rng(5)
    tables = {
        "switches": write_csv(
            folder / "switches.csv", ["load", "on", "way"], generate_switches(rng)
        ),
        "visits": write_csv(
            folder / "visits.csv", ["city", "at", "spent", "new", "kind"], generate_visits(rng)
        ),
    }
    for name, data in tables.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("serving.runtime.latency_profile.MAX_TIMED_RUNS", 3)
            fit(
                Config(
                    data=data,
                    name=name,
                    models=folder / "models",
                    hidden=(4,),
                    epochs=3,
                    skip_baselines=True,
                )
            )
    for models in (zoo, adults):
        shutil.copytree(models, folder / "models", dirs_exist_ok=True)
    return folder / "models"


@pytest.fixture(scope="session")
def url(shared_server, all_models):
    server = shared_server(all_models, "--workers", "1")
    # It is ready with its first model; the self-tests of all eight may take a while longer.
    wait_until(
        lambda: {*requests.get(f"{server.url}/readyz", timeout=120).json()["models"]} == {*NAMES}
    )
    return server.url


@pytest.mark.slow
def test_models_have_columns_of_every_kind_with_and_without_missing_values(url):
    targets = [read_target(url, model=name) for name in NAMES]
    columns = [column for target in targets for column in target.columns]
    for kind in ("number", "boolean", "category", "date"):
        assert {c.accepts_missing for c in columns if c.kind == kind} == {True, False}, kind
    assert {c.accepts_unseen for c in columns if c.kind == "category"} == {True, False}
    assert {t.task for t in targets} == {"binary", "multiclass", "regression"}
    assert {type(t.classes[0]) for t in targets if t.classes} == {int, str}
    assert {len(t.targets) for t in targets} == {1, 3}


def send_all(address, requests):
    """Send encoded requests over one connection, and return the status and body of each."""
    with socket.create_connection((address.host, address.port), timeout=120) as connection:
        for request in requests:
            connection.sendall(request)
            answer = HTTPResponse(connection)
            answer.begin()
            yield answer.status, answer.read()


@pytest.mark.parametrize("name", NAMES)
def test_build_requests_of_every_format_have_the_same_answers(url, name, rng):
    target = read_target(url, model=name)
    rows = generate_instances(target, 64, rng)
    answers = {}
    for request_format in REQUEST_FORMATS:
        built = build_requests(target, [64, 1], request_format, rows, count=4)
        assert [request.rows for request in built] == [64, 1, 64, 1]
        received = list(send_all(target.address, [request.http_bytes for request in built]))
        assert received == [(200, request.expected_body) for request in built]
        assert not any(request.find_fault(request.expected_body) for request in built)
        answers[request_format] = parse_answer(built[0].expected_body, request_format, target)
    for request_format in ("oip", "binary"):
        assert answers[request_format].labels == answers["json"].labels
        # JSON has the fewest digits that parse to the same float32. A number that is no float32 is
        # rounded to one by the server, or here.
        np.testing.assert_array_equal(
            answers[request_format].values.astype(np.float32),
            answers["json"].values.astype(np.float32),
        )


def test_build_expected_answers_belong_to_the_given_instances(url, mixed, rng):
    target = read_target(url, model="adults")
    rows = generate_instances(target, 40, rng)
    probabilities, labels = mixed.answers(rows)
    for request_format in REQUEST_FORMATS:
        (request,) = build_requests(target, [40], request_format, rows, count=1)
        answer = parse_answer(request.expected_body, request_format, target)
        np.testing.assert_allclose(answer.values, probabilities, atol=1e-5)
        assert answer.labels == labels.tolist()


def decode_instances(request):
    """Return the instances in a request of `POST /predict`."""
    return json.loads(request.http_bytes.partition(b"\r\n\r\n")[2])["instances"]


def test_build_requests_differ_even_with_few_instances(live, rng):
    target = read_target(live.url)
    rows = generate_instances(target, 8, rng)
    for row_counts in ([8], [1], [4, 16], [3]):
        built = build_requests(target, row_counts, "json", rows, count=8)
        assert len({request.http_bytes for request in built}) == 8
        for request in built:
            assert len(decode_instances(request)) == request.rows
    assert len(build_requests(target, [1, 2], "json", rows)) == 64


def test_build_model_is_named_only_if_the_server_has_several(live, url, rng):
    only, one_of_many = read_target(live.url), read_target(url, model="digits")
    rows = generate_instances(only, 1, rng)
    (first,), (second,) = (
        build_requests(target, [1], "json", rows, count=1) for target in (only, one_of_many)
    )
    assert first.http_bytes.startswith(b"POST /predict HTTP/1.1\r\n")
    assert second.http_bytes.startswith(b"POST /predict?model=digits HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("name", "kind"), [("adults", dict), ("visits", dict), ("digits", list), ("switches", list)]
)
def test_build_instances_are_lists_if_all_columns_are_numeric_else_records(url, name, kind, rng):
    target = read_target(url, model=name)
    rows = generate_instances(target, 5, rng)
    (request,) = build_requests(target, [5], "json", rows, count=1)
    assert all(isinstance(instance, kind) for instance in decode_instances(request))


def test_build_refused_instance_raises(live, rng):
    target = read_target(live.url)
    row = generate_instances(target, 1, rng)[0] | {"pixel_0_3": "ink"}
    message = "expected status 200 .*; got 422: .*instance 0, .*pixel_0_3"
    with pytest.raises(UnusableServerError, match=message):
        build_requests(target, [1], "json", [row])


def test_build_wrong_answer_or_other_version_raises(live, rng):
    target = read_target(live.url)
    rows = generate_instances(target, 1, rng)
    other_classes = replace(target, classes=tuple(range(20, 30)))
    message = "before the load starts: expected a class out of"
    with pytest.raises(UnusableServerError, match=message):
        build_requests(other_classes, [1], "json", rows)
    message = "expected version 7 of digits, as before; got 1"
    with pytest.raises(UnusableServerError, match=message):
        build_requests(replace(target, version=7), [1], "json", rows)


@pytest.mark.parametrize("request_format", ["json", "oip"])
def test_built_request_finds_the_fault_of_a_changed_answer(live, request_format, rng):
    target = read_target(live.url)
    rows = generate_instances(target, 3, rng)
    (request,) = build_requests(target, [3], request_format, rows, count=1)
    content = json.loads(request.expected_body)
    is_json = request_format == "json"
    values = content["probabilities"] if is_json else content["outputs"][1]["data"]
    row = values[1] if is_json else values[10:20]
    row[3:5] = [row[3] + 1e-3, row[4] - 1e-3] if row[4] > 0.5 else [row[3] - 1, row[4] + 1]
    if not is_json:
        values[10:20] = row
    assert "instance 1" in request.find_fault(json.dumps(content).encode())


def test_built_binary_request_finds_the_fault_of_a_changed_answer(live, rng):
    target = read_target(live.url)
    rows = generate_instances(target, 3, rng)
    (request,) = build_requests(target, [3], "binary", rows, count=1)
    # The last number of the body is the probability of class 9 in instance 2.
    changed = request.expected_body[:-4] + np.float32("nan").tobytes()
    assert "instance 2" in request.find_fault(changed)
    assert request.find_fault(request.expected_body[:-4]).startswith("expected ")


def test_build_binary_request_has_key_and_length_headers(live, rng):
    target = replace(read_target(live.url), headers={"Authorization": "Bearer secret"})
    rows = generate_instances(target, 1, rng)
    (request,) = build_requests(target, [1], "binary", rows, count=1)
    head, _, body = request.http_bytes.partition(b"\r\n\r\n")
    headers = dict(line.split(": ") for line in head.decode().split("\r\n")[1:])
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Length"] == str(len(body))
    json_length = int(headers["Inference-Header-Content-Length"])
    assert json.loads(body[:json_length])["parameters"] == {"binary_data_output": True}
    assert len(body) - json_length == 4 * 64


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (ServerAddress("::1", 80), "[::1]"),
        (ServerAddress("::1", 443), "[::1]:443"),
        (ServerAddress("example.org", 443, use_tls=True), "example.org"),
        (ServerAddress("example.org", 8443, use_tls=True), "example.org:8443"),
    ],
)
def test_encode_http_request_has_host_and_content_length(address, host):
    assert encode_http_request("GET", "/metrics", address, {}) == (
        f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    )
    assert encode_http_request("POST", "/p", address, {"A": "b"}, b"body") == (
        f"POST /p HTTP/1.1\r\nHost: {host}\r\nA: b\r\nContent-Length: 4\r\n\r\nbody".encode()
    )
    assert encode_http_request("POST", "/p", address, {}).endswith(b"Content-Length: 0\r\n\r\n")
