"""Two workers of a real server serve the same versions while versions are added and removed."""

import os
import shutil
import signal
import threading
import time

import pytest
import requests

from benchmarks.admin_key import ADMIN_HEADERS, write_keys_file
from benchmarks.robustness.server import run_server
from benchmarks.robustness.swaps import run_swaps
from tests.bundle_versions import add_version, damage
from tests.processes import wait_until

ROW = {"instances": [[0] * 64]}


def post(url, path):
    return requests.post(f"{url}/v2/repository/{path}", headers=ADMIN_HEADERS, timeout=120)


def wait_for_error(server, phrase):
    """Wait until the log has an error whose event starts with a phrase."""
    server.wait_for(
        lambda: any(
            record["level"] == "error" and record["event"].startswith(phrase)
            for record in server.records()
        )
    )


def get_readiness(url):
    return requests.get(f"{url}/readyz", headers=ADMIN_HEADERS, timeout=120).json()


def list_live_versions(url, count=20):
    """Return the live versions, each read over a connection of its own."""
    return {get_readiness(url)["models"].get("digits") for _ in range(count)}


def wait_for_version(url, version):
    """Wait until all workers serve the version, and no other."""
    return wait_until(lambda: list_live_versions(url) == {version}, lambda: list_live_versions(url))


@pytest.mark.usefixtures("processes")
def test_swaps_under_load_every_request_is_answered_by_one_version():
    run = run_swaps(6, poll=0.05, settle_seconds=0.05)
    assert run.checker.faults == []
    assert len(run.swaps) == 6
    assert {answer.version for answer in run.checker.answers} == run.checker.versions
    assert run.checker.versions == {1, 2, 3, 4}


def test_connection_versions_never_decrease(serve, only_digits):
    server = serve(only_digits, "--workers", "2", "--poll", "0.05")
    seen: list[list[int]] = [
        [] for _ in range(6)
    ]  # Versions that answered each connection; each worker has three.
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


def test_rollback_all_workers_follow_and_restart_keeps_it(serve, only_digits, tmp_path):
    add_version(only_digits, 2)
    keys = str(write_keys_file(tmp_path))
    server = serve(only_digits, "--workers", "2", "--keys", keys)
    assert wait_for_version(server.url, 2)
    done = post(server.url, "models/digits/rollback")
    assert (done.status_code, done.json()["version"]) == (200, 1)
    assert wait_for_version(server.url, 1)
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_until_ready(3)  # One of the three starts replaced the killed worker.
    assert list_live_versions(server.url) == {1}
    assert server.stop() == 0
    server = serve(only_digits, "--workers", "2", "--keys", keys)
    assert wait_for_version(server.url, 1)
    assert post(server.url, "models/digits/load").json()["version"] == 2
    assert wait_for_version(server.url, 2)


def test_new_version_is_served_and_damaged_one_is_not(serve, only_digits):
    server = serve(only_digits, "--workers", "2", "--poll", "0.05")
    assert wait_for_version(server.url, 1)
    whole = add_version(only_digits, 2)
    shutil.copytree(whole, only_digits / "whole")
    shutil.rmtree(whole)
    damage(add_version(only_digits, 3))
    wait_for_error(server, "refused digits/3")
    assert list_live_versions(server.url) == {1}
    whole.mkdir()
    for file in sorted((only_digits / "whole").iterdir()):  # The graph is the last but one.
        time.sleep(0.1)  # Meanwhile the server finds an incomplete version.
        shutil.copy(file, whole)
    assert wait_for_version(server.url, 2)
    refused = [get_readiness(server.url)["refused"] for _ in range(10)]
    assert all(list(found) == ["digits/3"] for found in refused)

    def list_states():
        index = post(server.url, "index").json()
        return {e["version"]: e["state"] for e in index if e["name"] == "digits"}

    # Version 1 is UNLOADING until the last answer that it gives is sent.
    expected = {"1": "UNAVAILABLE", "2": "READY", "3": "UNAVAILABLE"}
    wait_until(lambda: list_states() == expected, list_states)


def list_prediction_statuses(url, count=20):
    """Return the statuses of a record that version 1 accepts, each over a connection of its own."""
    record = {f"pixel_{row}_{column}": 0 for row in range(8) for column in range(8)}
    body = {"instances": [record]}
    return {
        requests.post(f"{url}/predict", json=body, headers=ADMIN_HEADERS, timeout=120).status_code
        for _ in range(count)
    }


def list_held(url, count=20):
    """Return status and held versions of /readyz, each read over a connection of its own."""
    ready = (
        requests.get(f"{url}/readyz", headers=ADMIN_HEADERS, timeout=120) for _ in range(count)
    )
    return {(answer.status_code, *answer.json()["held"]) for answer in ready}


def test_incompatible_version_is_held_by_all_workers_and_after_restart(
    serve, only_digits, tmp_path
):
    arguments = ("--workers", "2", "--poll", "0.05", "--keys", str(write_keys_file(tmp_path)))
    server = serve(only_digits, *arguments)
    assert wait_for_version(server.url, 1)
    add_version(only_digits, 2, "renamed_")
    assert wait_until(lambda: list_held(server.url) == {(200, "digits/2")})
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_until_ready(3)  # One of the three starts replaced the killed worker.
    assert list_live_versions(server.url) == {1}
    assert list_held(server.url) == {(200, "digits/2")}
    assert list_prediction_statuses(server.url) == {200}
    assert server.stop() == 0
    assert sum("digits/2 is held" in line for line in server.log) == 1
    server = serve(only_digits, *arguments)
    assert wait_for_version(server.url, 1)
    assert wait_until(lambda: list_held(server.url) == {(200, "digits/2")})
    assert list_prediction_statuses(server.url) == {200}
    assert post(server.url, "models/digits/load").json()["version"] == 2
    assert wait_for_version(server.url, 2)
    assert list_held(server.url) == {(200,)}
    assert list_prediction_statuses(server.url) == {422}
    assert server.stop() == 0
    server = serve(only_digits, *arguments)
    assert wait_for_version(server.url, 2)


def test_take_up_all_incompatible_version_is_served(serve, only_digits, tmp_path):
    keys = str(write_keys_file(tmp_path))
    server = serve(
        only_digits, "--workers", "2", "--poll", "0.05", "--keys", keys, "--take-up", "all"
    )
    assert wait_for_version(server.url, 1)
    add_version(only_digits, 2, "renamed_")
    assert wait_for_version(server.url, 2)
    assert list_prediction_statuses(server.url) == {422}


@pytest.mark.usefixtures("processes")
def test_version_refused_by_one_worker_is_served_by_none(only_digits, tmp_path, monkeypatch):
    monkeypatch.setenv("REFUSING_WORKER_FILE", str(tmp_path / "refuses"))
    with run_server(
        only_digits, config="tests.one_worker_refuses", poll=0.1, has_admin_key=True
    ) as server:
        url = server.url
        assert wait_for_version(url, 1)
        add_version(only_digits, 2)

        def read_refusal():
            ready = get_readiness(url)
            assert ready["models"] == {"digits": 1}
            return ready if ready["refused"] else None

        found = wait_until(read_refusal)
        assert "expected another worker; got the one that refuses" in found["refused"]["digits/2"]
        done = post(url, "models/digits/load")
        assert (done.status_code, done.json()["code"]) == (409, "version_refused")
        assert list_live_versions(url, 100) == {
            1
        }  # Meanwhile the workers scan the folder many times.
        add_version(only_digits, 3)
        assert wait_for_version(url, 3)


def test_hanging_worker_delays_rollout_until_it_is_killed(serve, only_digits, tmp_path):
    keys = str(write_keys_file(tmp_path))
    server = serve(only_digits, "--workers", "2", "--poll", "0.1", "--keys", keys)
    assert wait_for_version(server.url, 1)
    hanging = server.workers()[0]
    os.kill(hanging, signal.SIGSTOP)
    add_version(only_digits, 2)

    def read_state():
        return {each["version"]: each["state"] for each in post(server.url, "index").json()}

    wait_until(
        lambda: read_state().get("2") == "LOADING", read_state
    )  # The other worker has loaded it.
    assert list_live_versions(server.url) == {1}
    assert not [line for line in server.log if "serving digits/2" in line]
    os.kill(hanging, signal.SIGKILL)
    assert wait_for_version(server.url, 2)
