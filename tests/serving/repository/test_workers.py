"""Two workers of a real server agree, whatever comes and goes."""

import os
import shutil
import signal
import threading
import time

import pytest
import requests

from benchmarks import swaps
from benchmarks.keys import HEADERS, keys_file
from tests.bundle_versions import add_version, damage
from tests.processes import wait_until
from tests.serving.server.test_server import said

ROW = {"instances": [[0] * 64]}


def post(url, what):
    return requests.post(f"{url}/v2/repository/{what}", headers=HEADERS, timeout=120)


def readiness(url):
    return requests.get(f"{url}/readyz", headers=HEADERS, timeout=120).json()


def answering(url, count=20):
    """The versions that answer, each asked over a connection of its own."""
    return {readiness(url)["models"].get("digits") for _ in range(count)}


def agree_on(url, version):
    """Wait until all workers serve the version, and no other."""
    return wait_until(lambda: answering(url) == {version}, lambda: answering(url))


@pytest.mark.usefixtures("processes")
def test_swaps_under_load_fail_no_request_and_mix_no_answers():
    done, crowd = swaps.run(6, poll=0.05, settled=0.05)
    assert crowd.faults == []
    assert len(done) == 6
    assert {version for *_, version in crowd.answers} == set(range(1, len(crowd.versions) + 1))


def test_a_connection_never_goes_back_to_the_version_before(serve, only_digits):
    server = serve(only_digits, "--workers", "2", "--poll", "0.05")
    seen: list[list[int]] = [[] for _ in range(6)]  # of each connection; each worker holds three
    stop = threading.Event()

    def ask(versions):
        with requests.Session() as session:
            while not stop.is_set():
                answer = session.post(f"{server.url}/predict", json=ROW, timeout=120)
                versions.append(answer.json()["version"])

    threads = [threading.Thread(target=ask, args=(versions,)) for versions in seen]
    for thread in threads:
        thread.start()
    try:
        for number in (1, 2, 3):
            if number > 1:
                add_version(only_digits, number)
            wait_until(lambda: all(found[-1:] == [number] for found in seen), lambda: seen)  # noqa: B023
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert all(versions == sorted(versions) for versions in seen)


def test_a_rollback_is_one_call_which_all_workers_follow_and_survives_a_restart(
    serve, only_digits, tmp_path
):
    add_version(only_digits, 2)
    keys = str(keys_file(tmp_path))
    server = serve(only_digits, "--workers", "2", "--keys", keys)
    assert agree_on(server.url, 2)
    done = post(server.url, "models/digits/rollback")
    assert (done.status_code, done.json()["version"]) == (200, 1)
    assert agree_on(server.url, 1)
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_until_ready(3)  # with the worker that came in its place
    assert answering(server.url) == {1}
    assert server.stop() == 0
    server = serve(only_digits, "--workers", "2", "--keys", keys)
    assert agree_on(server.url, 1)
    assert post(server.url, "models/digits/load").json()["version"] == 2
    assert agree_on(server.url, 2)


def test_a_version_that_appears_is_taken_up_and_one_that_fails_stays_out(serve, only_digits):
    server = serve(only_digits, "--workers", "2", "--poll", "0.05")
    assert agree_on(server.url, 1)
    whole = add_version(only_digits, 2)
    shutil.copytree(whole, only_digits / "whole")
    shutil.rmtree(whole)
    damage(add_version(only_digits, 3))
    said(server, "refused digits/3", 1, level="error")
    assert answering(server.url) == {1}
    whole.mkdir()
    for file in sorted((only_digits / "whole").iterdir()):  # the graph is the second last
        time.sleep(0.1)  # in which the server looks and finds a part of it
        shutil.copy(file, whole)
    assert agree_on(server.url, 2)
    refused = [readiness(server.url)["refused"] for _ in range(10)]
    assert all(list(found) == ["digits/3"] for found in refused)

    def states():
        index = post(server.url, "index").json()
        return {e["version"]: e["state"] for e in index if e["name"] == "digits"}

    # Version 1 is UNLOADING for as long as an answer of a moment ago holds it.
    expected = {"1": "UNAVAILABLE", "2": "READY", "3": "UNAVAILABLE"}
    wait_until(lambda: states() == expected, states)


def predicting(url, count=20):
    """Statuses of a record that version 1 accepts, each over a connection of its own."""
    record = {f"pixel_{row}_{column}": 0 for row in range(8) for column in range(8)}
    body = {"instances": [record]}
    return {
        requests.post(f"{url}/predict", json=body, headers=HEADERS, timeout=120).status_code
        for _ in range(count)
    }


def holding(url, count=20):
    """The versions that are held, each worker asked over connections of its own."""
    ready = (requests.get(f"{url}/readyz", headers=HEADERS, timeout=120) for _ in range(count))
    return {(answer.status_code, *answer.json()["held"]) for answer in ready}


def test_a_version_that_clients_cannot_use_is_held_by_all_workers_and_after_a_restart(
    serve, only_digits, tmp_path
):
    arguments = ("--workers", "2", "--poll", "0.05", "--keys", str(keys_file(tmp_path)))
    server = serve(only_digits, *arguments)
    assert agree_on(server.url, 1)
    add_version(only_digits, 2, "renamed_")
    assert wait_until(lambda: holding(server.url) == {(200, "digits/2")})
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_until_ready(3)  # with the worker that came in its place
    assert answering(server.url) == {1}
    assert holding(server.url) == {(200, "digits/2")}
    assert predicting(server.url) == {200}
    assert server.stop() == 0
    assert sum("digits/2 is held" in line for line in server.log) == 1
    server = serve(only_digits, *arguments)
    assert agree_on(server.url, 1)
    assert wait_until(lambda: holding(server.url) == {(200, "digits/2")})
    assert predicting(server.url) == {200}
    assert post(server.url, "models/digits/load").json()["version"] == 2
    assert agree_on(server.url, 2)
    assert holding(server.url) == {(200,)}
    assert predicting(server.url) == {422}
    assert server.stop() == 0
    server = serve(only_digits, *arguments)
    assert agree_on(server.url, 2)


def test_take_up_all_serves_a_version_that_clients_cannot_use(serve, only_digits, tmp_path):
    keys = str(keys_file(tmp_path))
    server = serve(
        only_digits, "--workers", "2", "--poll", "0.05", "--keys", keys, "--take-up", "all"
    )
    assert agree_on(server.url, 1)
    add_version(only_digits, 2, "renamed_")
    assert agree_on(server.url, 2)
    assert predicting(server.url) == {422}


@pytest.mark.usefixtures("processes")
def test_what_one_worker_refuses_no_worker_serves(only_digits, tmp_path, monkeypatch):
    monkeypatch.setenv("ODD_WORKER", str(tmp_path / "odd"))
    with swaps.server(only_digits, "tests.one_worker_refuses", poll=0.1) as (_, port):
        url = f"http://127.0.0.1:{port}"
        assert agree_on(url, 1)
        add_version(only_digits, 2)

        def refusing():
            ready = readiness(url)
            assert ready["models"] == {"digits": 1}
            return ready if ready["refused"] else None

        found = wait_until(refusing)
        assert "expected what this worker is not" in found["refused"]["digits/2"]
        done = post(url, "models/digits/load")
        assert (done.status_code, done.json()["code"]) == (409, "version_refused")
        assert answering(url, 100) == {1}  # while they look again and again
        add_version(only_digits, 3)
        assert agree_on(url, 3)


def test_a_worker_that_hangs_holds_a_version_up_until_it_is_dead(serve, only_digits, tmp_path):
    keys = str(keys_file(tmp_path))
    server = serve(only_digits, "--workers", "2", "--poll", "0.1", "--keys", keys)
    assert agree_on(server.url, 1)
    hanging = server.workers()[0]
    os.kill(hanging, signal.SIGSTOP)
    add_version(only_digits, 2)

    def state():
        return {each["version"]: each["state"] for each in post(server.url, "index").json()}

    wait_until(lambda: state().get("2") == "LOADING", state)  # the other worker has proved it
    assert answering(server.url) == {1}
    assert not [line for line in server.log if "serving digits/2" in line]
    os.kill(hanging, signal.SIGKILL)
    assert agree_on(server.url, 2)
