"""Requests as they go over the wire, against a real server with a model of every kind."""

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
from trainer.choices import Config
from trainer.recipe import fit

NAMES = ("adults", "digits", "flowers", "physique", "progress", "switches", "tumours", "visits")


def switches(rng):
    """Numbers and truths alone, with gaps in both."""
    for _ in range(120):
        load, on = rng.normal(5), rng.choice(["true", "false", ""])
        yield [f"{load:.2f}" if rng.random() < 0.9 else "", on, "up" if load > 5 else "down"]


def visits(rng):
    """Moments, truths, and texts with signs of their own; classes, too."""
    for number in range(120):
        city = rng.choice(["Ñandú, 3", 'the "Hague"', "x"])
        at = f"2024-05-{rng.integers(1, 29):02d}T{rng.integers(24):02d}:30:00"
        spent, new = str(rng.integers(10**6, 10**7)), rng.choice(["true", "false"])
        yield [city, at, spent, new, ("año", "b")[number % 2]]


def write(path, head, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    return str(path)


@pytest.fixture(scope="session")
def menagerie(zoo, adults, tmp_path_factory):
    folder = tmp_path_factory.mktemp("menagerie")
    rng = np.random.default_rng(5)
    tables = {
        "switches": write(folder / "switches.csv", ["load", "on", "way"], switches(rng)),
        "visits": write(folder / "visits.csv", ["city", "at", "spent", "new", "kind"], visits(rng)),
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
def url(shared_server, menagerie):
    server = shared_server(menagerie, "--workers", "1")
    # It is ready with the first of them: on a busy machine the proofs of eight take a while.
    wait_until(
        lambda: {*requests.get(f"{server.url}/readyz", timeout=120).json()["models"]} == {*NAMES}
    )
    return server.url


@pytest.mark.slow
def test_the_models_have_columns_of_every_kind_with_gaps_and_without(url):
    targets = [read_target(url, model=name) for name in NAMES]
    columns = [column for target in targets for column in target.columns]
    for kind in ("number", "boolean", "category", "date"):
        assert {c.fills_gaps for c in columns if c.kind == kind} == {True, False}, kind
    assert {c.takes_unseen for c in columns if c.kind == "category"} == {True, False}
    assert {t.task for t in targets} == {"binary", "multiclass", "regression"}
    assert {type(t.classes[0]) for t in targets if t.classes} == {int, str}
    assert {len(t.targets) for t in targets} == {1, 3}


def replies(address, wires):
    """Status and body of each, of one connection."""
    with socket.create_connection((address.host, address.port), timeout=120) as connection:
        for each in wires:
            connection.sendall(each)
            answer = HTTPResponse(connection)
            answer.begin()
            yield answer.status, answer.read()


@pytest.mark.parametrize("name", NAMES)
def test_every_drawn_instance_of_every_model_is_answered_in_every_form(url, name, rng):
    target = read_target(url, model=name)
    rows = generate_instances(target, 64, rng)
    answers = {}
    for form in REQUEST_FORMATS:
        made = build_requests(target, [64, 1], form, rows, count=4)
        assert [call.rows for call in made] == [64, 1, 64, 1]
        got = list(replies(target.address, [call.wire for call in made]))
        assert got == [(200, call.expected) for call in made]
        assert not any(call.fault(call.expected) for call in made)
        answers[form] = parse_answer(made[0].expected, form, target)
    for form in ("oip", "binary"):
        assert answers[form].labels == answers["json"].labels
        # Text has the fewest digits that are the same float32; a number that is no float32 is
        # rounded to one by the server, or here.
        np.testing.assert_array_equal(
            answers[form].numbers.astype(np.float32), answers["json"].numbers.astype(np.float32)
        )


def test_the_rows_that_are_asked_about_are_the_ones_that_are_answered(url, mixed, rng):
    target = read_target(url, model="adults")
    rows = generate_instances(target, 40, rng)
    probabilities, labels = mixed.answers(rows)
    for form in REQUEST_FORMATS:
        (call,) = build_requests(target, [40], form, rows, count=1)
        answer = parse_answer(call.expected, form, target)
        np.testing.assert_allclose(answer.numbers, probabilities, atol=1e-5)
        assert answer.labels == labels.tolist()


def test_requests_are_different_even_of_few_rows(live, rng):
    target = read_target(live.url)
    rows = generate_instances(target, 8, rng)
    for sizes in ([8], [1], [4, 16], [3]):
        made = build_requests(target, sizes, "json", rows, count=8)
        assert len({call.wire for call in made}) == 8
        asked = [json.loads(call.wire.partition(b"\r\n\r\n")[2])["instances"] for call in made]
        assert [len(each) for each in asked] == [call.rows for call in made]
    assert len(build_requests(target, [1, 2], "json", rows)) == 64


def test_the_only_model_is_not_named_and_one_of_several_is(live, url, rng):
    alone, among = read_target(live.url), read_target(url, model="digits")
    rows = generate_instances(alone, 1, rng)
    (first,), (second,) = (build_requests(t, [1], "json", rows, count=1) for t in (alone, among))
    assert first.wire.startswith(b"POST /predict HTTP/1.1\r\n")
    assert second.wire.startswith(b"POST /predict?model=digits HTTP/1.1\r\n")


def test_records_go_as_records_and_numbers_as_rows(url, rng):
    for name, kind in (("adults", dict), ("visits", dict), ("digits", list), ("switches", list)):
        target = read_target(url, model=name)
        (call,) = build_requests(target, [5], "json", generate_instances(target, 5, rng), count=1)
        asked = json.loads(call.wire.partition(b"\r\n\r\n")[2])["instances"]
        assert all(isinstance(each, kind) for each in asked)


def test_an_instance_that_is_refused_stops_before_the_load(live, rng):
    target = read_target(live.url)
    row = generate_instances(target, 1, rng)[0] | {"pixel_0_3": "ink"}
    with pytest.raises(
        UnusableServerError, match="answered with 200; got 422: .*instance 0, .*pixel_0_3"
    ):
        build_requests(target, [1], "json", [row])


def test_a_wrong_answer_and_another_version_stop_before_the_load(live, rng):
    target = read_target(live.url)
    rows = generate_instances(target, 1, rng)
    with pytest.raises(
        UnusableServerError, match="before there is any load: expected a class out of"
    ):
        build_requests(replace(target, classes=tuple(range(20, 30))), [1], "json", rows)
    with pytest.raises(UnusableServerError, match="expected version 7 of digits, as before; got 1"):
        build_requests(replace(target, version=7), [1], "json", rows)


def test_an_answer_that_was_tampered_with_is_told_from_the_expected_one(live, rng):
    target = read_target(live.url)
    rows = generate_instances(target, 3, rng)
    for form in ("json", "oip"):
        (call,) = build_requests(target, [3], form, rows, count=1)
        said = json.loads(call.expected)
        numbers = said["probabilities"] if form == "json" else said["outputs"][1]["data"]
        row = numbers[1] if form == "json" else numbers[10:20]
        row[3:5] = [row[3] + 1e-3, row[4] - 1e-3] if row[4] > 0.5 else [row[3] - 1, row[4] + 1]
        if form == "oip":
            numbers[10:20] = row
        assert "instance 1" in call.fault(json.dumps(said).encode())
    (call,) = build_requests(target, [3], "binary", rows, count=1)
    # The last number of the body, a probability of class 9 in instance 2.
    assert "instance 2" in call.fault(call.expected[:-4] + np.float32("nan").tobytes())
    assert call.fault(call.expected[:-4]).startswith("expected ")


def test_a_key_goes_with_every_request(live, rng):
    target = replace(read_target(live.url), headers={"Authorization": "Bearer secret"})
    (call,) = build_requests(target, [1], "binary", generate_instances(target, 1, rng), count=1)
    head, _, body = call.wire.partition(b"\r\n\r\n")
    lines = dict(line.split(": ") for line in head.decode().split("\r\n")[1:])
    assert lines["Authorization"] == "Bearer secret"
    assert lines["Content-Type"] == "application/octet-stream"
    assert lines["Content-Length"] == str(len(body))
    start = int(lines["Inference-Header-Content-Length"])
    assert json.loads(body[:start])["parameters"] == {"binary_data_output": True}
    assert len(body) - start == 4 * 64


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (ServerAddress("::1", 80), "[::1]"),
        (ServerAddress("::1", 443), "[::1]:443"),
        (ServerAddress("example.org", 443, tls=True), "example.org"),
        (ServerAddress("example.org", 8443, tls=True), "example.org:8443"),
    ],
)
def test_a_head_names_the_host_and_the_length(address, host):
    assert encode_http_request("GET", "/metrics", address, {}) == (
        f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    )
    assert encode_http_request("POST", "/p", address, {"A": "b"}, b"body") == (
        f"POST /p HTTP/1.1\r\nHost: {host}\r\nA: b\r\nContent-Length: 4\r\n\r\nbody".encode()
    )
    assert encode_http_request("POST", "/p", address, {}).endswith(b"Content-Length: 0\r\n\r\n")
