"""docs/serving.md, requests.md and operations.md: options, URLs, metrics and answers exist."""

import json
import re
import shlex
import subprocess
import sys

import pytest
import requests

from serving import create_app
from serving.settings.options import Settings
from tests.pages.answers import is_same, parse_curl
from tests.pages.markdown import list_blocks, read_page

TUTORIAL = read_page("docs/tutorial.md")
SERVING = read_page("docs/serving.md")
TEXT = SERVING + read_page("docs/requests.md") + read_page("docs/operations.md")


def test_serving_page_shows_the_request_and_the_answer_of_the_tutorial():
    for language, word in (("bash", "nurse"), ("json", "probabilities")):
        (shown,) = (block for block in list_blocks(SERVING, language) if word in block)
        (expected,) = (block for block in list_blocks(TUTORIAL, language) if word in block)
        assert shown.split("-d ")[-1] == expected.split("-d ")[-1]


def test_serving_page_readiness_and_error_are_those_shown(shipped):
    client = create_app(models=shipped).test_client()
    ready, _, refused = (json.loads(block) for block in list_blocks(SERVING, "json"))
    assert client.get("/readyz").json == ready
    assert is_same(client.post("/predict", json={"instances": [[1, 2]]}).json, refused)


@pytest.mark.slow
def test_serving_page_program_prints_predictions(tutorial_fit, tutorial_folder, serve):
    server = serve(tutorial_folder / "models", "--workers", "1")
    code = list_blocks(SERVING, "python")[0].replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=tutorial_folder,
    )
    assert set(json.loads(done.stdout.replace("'", '"'))) == {"yes", "no"}


@pytest.mark.slow
def test_requests_page_numpy_file_gets_an_answer(live, tmp_path):
    block = next(b for b in list_blocks(TEXT, "bash") if "np.save" in b)
    write, ask = map(shlex.split, block.splitlines())
    subprocess.run([sys.executable, *write[1:]], check=True, timeout=120, cwd=tmp_path)
    url = next(word for word in ask if word.startswith("http"))
    answer = requests.post(
        url.replace("http://127.0.0.1:8000", live.url),
        data=(tmp_path / ask[-1].removeprefix("@")).read_bytes(),
        headers=dict([ask[ask.index("-H") + 1].split(": ")]),
        timeout=120,
    )
    assert len(answer.json()["predictions"]) == 1


def test_serving_pages_options_exist():
    named = set(re.findall(r"`--([a-z-]+)", TEXT))
    assert len(named) > 12
    assert {name.replace("-", "_") for name in named} <= set(Settings.model_fields)


def test_serving_pages_paths_are_routes(shipped):
    client = create_app(models=shipped).test_client()
    named = set(
        re.findall(
            r"(GET|POST) (?:http://127.0.0.1:8000)?(/[^\s`?]+)", TEXT.replace("[/versions/V]", "")
        )
    )
    assert len(named) >= 10
    commands = [b for block in list_blocks(TEXT, "bash") for b in block.splitlines()]
    for line in commands:
        if line.startswith("curl -X"):
            method, url, _, _ = parse_curl(line)
            named.add((method, url.removeprefix("http://127.0.0.1:8000")))
    for method, path in named:
        found = client.open(path.replace("NAME", "digits"), method=method)
        assert found.status_code not in (404, 405), path


def test_serving_pages_metrics_exist(shipped):
    client = create_app(models=shipped).test_client()
    client.post("/predict", json={"instances": [[0] * 64]})
    scraped = client.get("/metrics").text
    for name in set(re.findall(r"`(forwardpass_\w+)`", TEXT)):
        assert f"# TYPE {name} " in scraped, name
