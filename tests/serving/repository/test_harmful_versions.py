"""Versions that would block a worker or fill its memory do not affect others, in a server."""

import itertools
import json
import re
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import requests

from serving.runtime import GraphSession, RunTimeoutError
from tests.harmful_graphs import (
    HARMFUL_AT_LOAD,
    allocate_a_gigabyte,
    fold_for_hours,
    loop_as_often_as_asked,
    loop_endlessly,
)
from tests.processes import is_running, start_server, wait_until
from tests.variants import keep_unchanged, write_variants

pytestmark = pytest.mark.usefixtures("processes")

REASONS = {
    fold_for_hours: "took more than 1 s of processor time",
    allocate_a_gigabyte: "could get no more memory",
    loop_endlessly: "took more than 1 s of processor time",
}
LIMITS = ("--workers", "2", "--proof-seconds", "1", "--allow-loops", "true", "--run-seconds", "30")


def rename_model(folder, name):
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(manifest | {"name": name}))


def write_model(models, shipped, name, **variants):
    """Create models/NAME/1 with these variants in one step. Return the name."""
    building = models / f".building-{name}" / name / "1"
    shutil.copytree(shipped / "digits" / "1", building)
    rename_model(building, name)
    write_variants(building, **variants)
    (models / f".building-{name}" / name).rename(models / name)
    return name


def get_readiness(url):
    return requests.get(f"{url}/readyz", timeout=60).json()


def wait_refused(url, key):
    return wait_until(
        lambda: get_readiness(url).get("refused", {}).get(key), lambda: f"{key} refused"
    )


def predict(url, name, rows):
    answer = requests.post(f"{url}/predict?model={name}", json={"instances": rows}, timeout=60)
    return answer.status_code, answer.json()


ROWS = np.zeros((1, 64)).tolist()


@pytest.fixture(scope="module")
def server_with_harmful_model(shipped, tmp_path_factory):
    """Yield the URL and folder of a server whose folder held a harmful model at the start."""
    models = tmp_path_factory.mktemp("harmful") / "models"
    shutil.copytree(shipped, models)
    write_model(models, shipped, "at-start", fp32=fold_for_hours)
    server = start_server(models, *LIMITS)
    yield server.url, models
    server.stop()


def test_start_harmful_model_does_not_delay_the_others(server_with_harmful_model):
    url, _ = server_with_harmful_model
    wait_until(lambda: get_readiness(url)["ready"], lambda: "the server ready")
    assert predict(url, "digits", ROWS)[0] == 200
    assert REASONS[fold_for_hours] in wait_refused(url, "at-start/1")


@pytest.mark.parametrize("harm", HARMFUL_AT_LOAD)
def test_reload_harmful_version_is_refused_and_next_good_one_served(
    harm, server_with_harmful_model, shipped
):
    url, models = server_with_harmful_model
    make = HARMFUL_AT_LOAD[harm]
    wait_until(lambda: get_readiness(url)["ready"], lambda: "the server ready")
    bad = write_model(models, shipped, make.__name__.replace("_", "-"), fp32=make)
    good = write_model(models, shipped, f"after-{bad}", fp32=keep_unchanged)
    wait_until(lambda: predict(url, good, ROWS)[0] == 200, lambda: "the good model served")
    assert REASONS[make] in wait_refused(url, f"{bad}/1")
    wait_until(lambda: predict(url, bad, ROWS)[0] == 503, lambda: "both workers to know of it")
    metrics = requests.get(f"{url}/metrics", timeout=60).text
    counted = f'forwardpass_reloads_total{{model="{bad}",outcome="refused"}} '
    assert counted in metrics
    assert f"{counted}0" not in metrics


def test_reload_one_harmful_variant_serves_the_others(server_with_harmful_model, shipped):
    url, models = server_with_harmful_model
    wait_until(lambda: get_readiness(url)["ready"], lambda: "the server ready")
    name = write_model(models, shipped, "mixed", fp32=keep_unchanged, int8=fold_for_hours)
    refused = wait_refused(url, f"{name}/1/int8")
    assert REASONS[fold_for_hours] in refused
    assert "(--proof-seconds)" in refused
    wait_until(lambda: predict(url, name, ROWS)[0] == 200, lambda: "the good variant served")


def test_request_run_too_long_gets_504_and_others_are_answered(serve, shipped, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    write_model(models, shipped, "asked", fp32=loop_as_often_as_asked)
    server = serve(models, "--workers", "1", "--allow-loops", "true", "--run-seconds", "0.5")
    wait_until(lambda: get_readiness(server.url)["ready"], lambda: "the server ready")
    before = predict(server.url, "asked", ROWS)
    status, answer = predict(server.url, "asked", np.full((1, 64), 1e18).tolist())
    assert (status, answer["code"]) == (504, "run_too_long")
    assert "at most 0.5 s;" in answer["error"]
    assert "--run-seconds" in answer["error"]
    assert predict(server.url, "asked", ROWS) == before
    assert before[0] == 200
    metrics = requests.get(f"{server.url}/metrics", timeout=60).text
    assert re.search(r'code="504",.*variant="fp32",.*} 1\.0', metrics)


def test_session_run_too_long_is_stopped_and_next_run_succeeds(shipped):
    graph = (shipped / "digits" / "1" / "model.onnx").read_bytes()
    session = GraphSession(loop_as_often_as_asked(graph), run_seconds=0.2)
    endless = {"features": np.full((1, 64), 1e18, np.float32)}
    quick = {"features": np.zeros((1, 64), np.float32)}
    expected = GraphSession(graph).run(quick)
    for inputs in itertools.chain(*itertools.repeat((endless, quick), 2)):
        if inputs is endless:
            with pytest.raises(RunTimeoutError, match=r"at most 0\.2 s;"):
                session.run(inputs)
        else:
            np.testing.assert_array_equal(session.run(inputs)["label"], expected["label"])


def test_reload_version_replaced_during_its_proof_serves_new_content(
    server_with_harmful_model, shipped
):
    url, models = server_with_harmful_model
    wait_until(lambda: get_readiness(url)["ready"], lambda: "the server ready")
    name = write_model(models, shipped, "removed", fp32=fold_for_hours)
    shutil.rmtree(models / name)
    write_model(models, shipped, name, fp32=keep_unchanged)
    wait_until(lambda: predict(url, name, ROWS)[0] == 200, lambda: "the good content served")


def list_proof_processes(models):
    """Return the process ids of the proofs that a server of this folder runs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "comm").read_text() == "serving-proofs\n" and (
                f"FORWARDPASS_MODELS={models}\0" in (folder / "environ").read_text()
            ):
                found.append(int(folder.name))
    return [pid for pid in found if is_running(pid)]


def test_server_killed_during_proof_leaves_no_process(serve, shipped, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(shipped, models)
    write_model(models, shipped, "endless", fp32=fold_for_hours)
    server = serve(models, "--workers", "1", "--proof-seconds", "1000")
    wait_until(lambda: len(list_proof_processes(models)) >= 3, lambda: "a proof in progress")
    server.kill()
    wait_until(
        lambda: not list_proof_processes(models), lambda: f"{list_proof_processes(models)} to end"
    )
