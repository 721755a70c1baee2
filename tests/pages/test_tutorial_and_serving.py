"""The newcomer's page does what it says."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from serving import create_app
from serving.settings.options import Settings
from tests.pages.test_readme import same
from trainer.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "tutorial.md").read_text()


def blocks(language):
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [text for name, text in fences if name == language]


def commands(word):
    lines = "".join(blocks("bash")).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"trainer {word}")]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("newcomer")
    shutil.copy(DOCS / "people.csv", folder)
    (folder / "grid.toml").write_text(blocks("toml")[0])
    return folder


@pytest.fixture(scope="session")
def trained(folder):
    """What the page's second `fit` prints, run as it stands there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(main, commands("fit")[1])
    assert done.exit_code == 0, done.output
    return done


def test_tutorial_rows_are_those_of_the_file():
    shown = blocks("")[0].strip().splitlines()
    assert (DOCS / "people.csv").read_text().splitlines()[: len(shown)] == shown


@pytest.mark.slow
def test_tutorial_first_fit_reports_the_identifier_column(folder, monkeypatch):
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(
        main, [*commands("fit")[0], "--epochs", "1", "--name", "first", "--skip-baselines"]
    )
    assert "identifier_column" in done.stderr
    assert "--drop NAME" in done.stderr
    for line in blocks("")[1].splitlines()[:5]:
        assert (
            line.split() == next(x for x in done.stderr.splitlines() if x[:9] == line[:9]).split()
        )


@pytest.mark.slow
def test_tutorial_fit_prints_the_figures_shown(trained):
    (shown,) = (b for b in blocks("") if b.startswith("task"))
    for line in filter(str.strip, shown.splitlines()):
        word = line.split()[0]
        got = next((x for x in trained.stdout.splitlines() if x.split()[:1] == [word]), "")
        numbers = [float(n) for n in re.findall(r"\d\.\d{4}", line)]
        found = [float(n) for n in re.findall(r"\d\.\d{4}", got)]
        assert found == pytest.approx(numbers, abs=0.01), word


def test_tutorial_requests_get_the_answers_shown(trained, folder):
    client = create_app(models=folder / "models").test_client()
    command = next(b for b in blocks("bash") if b.startswith("curl"))
    body = json.loads(re.search(r"-d '(.*)'", command, re.DOTALL)[1])
    answer = client.post("/predict?model=people", json=body)
    assert same(answer.json, json.loads(blocks("json")[0]))
    misspelt = {"instances": [{"ages": 47, **body["instances"][1]}]}
    refused = client.post("/predict?model=people", json=misspelt)
    assert refused.text.strip() == blocks("json")[1].strip()


@pytest.mark.slow
def test_tutorial_score_and_report_write_their_files(trained, folder, monkeypatch):
    monkeypatch.chdir(folder)
    shutil.copy("people.csv", "new.csv")
    for command in (*commands("score"), *commands("report")):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
    with Path("scored.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2000
    assert list(rows[0]) == ["customer", "prediction", "probability_no", "probability_yes"]
    assert "people" in Path("report.html").read_text()


@pytest.mark.slow
def test_tutorial_search_finds_a_candidate(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (command,) = commands("search")
    quick = ["--epochs", "1", "--folds", "2", "--name", "searched", "--skip-baselines"]
    done = CliRunner().invoke(main, [*command, *quick])
    assert done.exit_code == 0, done.output
    assert "winner" in done.stdout


SERVING = (DOCS / "serving.md").read_text() + (DOCS / "operations.md").read_text()


def test_serving_page_shows_the_request_and_the_answer_of_the_first_page():
    request, answer = (
        next(b for b in blocks(language) if "nurse" in b or "probabilities" in b)
        for language in ("bash", "json")
    )
    assert request.split("-d ")[1] in SERVING
    assert answer in SERVING


def test_pages_links_have_targets():
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md"]:
        for file, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", page.read_text()):
            target = (page.parent / file) if file else page
            assert target.exists(), f"{page.name}: {file}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
                assert anchor in anchors, f"{page.name}: {file}#{anchor}"


def test_serving_page_options_exist():
    named = set(re.findall(r"`--([a-z-]+)", SERVING))
    assert len(named) > 12
    assert {name.replace("-", "_") for name in named} <= set(Settings.model_fields)


def test_serving_page_paths_are_routes(shipped):
    client = create_app(models=shipped).test_client()
    named = set(
        re.findall(
            r"(GET|POST) (?:http://127.0.0.1:8000)?(/[^\s`?]+)",
            SERVING.replace("[/versions/V]", ""),
        )
    )
    assert len(named) >= 10
    for method, path in named:
        found = client.open(path.replace("NAME", "digits"), method=method)
        assert found.status_code not in (404, 405), path


def test_serving_page_metrics_exist(shipped):
    client = create_app(models=shipped).test_client()
    client.post("/predict", json={"instances": [[0] * 64]})
    told = client.get("/metrics").text
    for name in set(re.findall(r"`(forwardpass_\w+)`", SERVING)):
        assert f"# TYPE {name} " in told, name
