"""docs/tutorial.md: its commands print, and its requests get, what the page shows."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import serving.cli
from serving import create_app
from tests.pages.answers import is_same, parse_curl
from tests.pages.markdown import DOCS, list_blocks, list_commands, read_page
from trainer.cli import main

PAGE = read_page("docs/tutorial.md")


def run(command):
    """Run a line of the page in this process."""
    program, *arguments = command.split()
    done = CliRunner().invoke({"trainer": main, "serving": serving.cli.main}[program], arguments)
    assert done.exit_code == 0, done.output
    return done


def list_page_commands(program, word):
    commands = list_commands(PAGE, program)
    return [command for command in commands if command.split()[1] == word]


def test_tutorial_rows_are_those_of_the_file():
    shown = list_blocks(PAGE, "")[0].strip().splitlines()
    assert (DOCS / "people.csv").read_text().splitlines()[: len(shown)] == shown


@pytest.mark.slow
def test_tutorial_first_fit_reports_the_identifier_column(tutorial_folder, monkeypatch):
    monkeypatch.chdir(tutorial_folder)
    first = list_page_commands("trainer", "fit")[0]
    done = run(f"{first} --epochs 1 --name first --skip-baselines")
    assert "identifier_column" in done.stderr
    assert "--drop NAME" in done.stderr
    for line in list_blocks(PAGE, "")[1].splitlines()[:5]:
        assert (
            line.split() == next(x for x in done.stderr.splitlines() if x[:9] == line[:9]).split()
        )


@pytest.mark.slow
def test_tutorial_fit_prints_the_figures_shown(tutorial_fit):
    (shown,) = (b for b in list_blocks(PAGE, "") if b.startswith("task"))
    for line in filter(str.strip, shown.splitlines()):
        word = line.split()[0]
        got = next((x for x in tutorial_fit.stdout.splitlines() if x.split()[:1] == [word]), "")
        numbers = [float(n) for n in re.findall(r"\d\.\d{4}", line)]
        found = [float(n) for n in re.findall(r"\d\.\d{4}", got)]
        assert found == pytest.approx(numbers, abs=0.01), word


@pytest.mark.slow
def test_tutorial_requests_get_the_answers_shown(tutorial_fit, tutorial_folder):
    client = create_app(models=tutorial_folder / "models").test_client()
    command = next(b for b in list_blocks(PAGE, "bash") if b.startswith("curl"))
    _, _, _, body = parse_curl(command)
    answer = client.post("/predict?model=people", json=body)
    assert is_same(answer.json, json.loads(list_blocks(PAGE, "json")[0]))
    misspelt = {"instances": [{"ages": 47, **body["instances"][1]}]}
    refused = client.post("/predict?model=people", json=misspelt)
    assert refused.text.strip() == list_blocks(PAGE, "json")[1].strip()
    without_city = {k: v for k, v in body["instances"][0].items() if k != "city"}
    assert (
        client.post("/predict?model=people", json={"instances": [without_city]}).status_code == 422
    )


@pytest.mark.slow
def test_tutorial_program_prints_what_is_shown(tutorial_fit, tutorial_folder, serve):
    server = serve(tutorial_folder / "models", "--workers", "1")
    code = list_blocks(PAGE, "python")[0].replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=tutorial_folder,
    )
    shown = re.search(r"# (\[.*\])$", code.strip())[1]
    assert done.stdout.strip() == shown


@pytest.mark.slow
def test_tutorial_score_and_report_write_their_files(tutorial_fit, tutorial_folder, monkeypatch):
    monkeypatch.chdir(tutorial_folder)
    run(list_page_commands("trainer", "score")[0])
    run(*list_page_commands("trainer", "report"))
    with Path("scored.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2000
    assert list(rows[0]) == ["customer", "prediction", "probability_no", "probability_yes"]
    assert "people" in Path("report.html").read_text()


@pytest.mark.slow
def test_tutorial_staged_version_is_scored_and_promoted(
    tutorial_fit, tutorial_folder, monkeypatch, tmp_path
):
    folder = shutil.copytree(tutorial_folder, tmp_path / "copy")
    monkeypatch.chdir(folder)
    staged_fit = list_page_commands("trainer", "fit")[2]
    run(f"{staged_fit} --epochs 1 --skip-baselines")
    run(list_page_commands("trainer", "score")[1])
    run(*list_page_commands("serving", "promote"))
    assert sorted(path.name for path in Path("models/people").iterdir()) == ["1", "2"]


@pytest.mark.slow
def test_tutorial_search_finds_a_candidate(tutorial_folder, monkeypatch):
    monkeypatch.chdir(tutorial_folder)
    Path("grid.toml").write_text(list_blocks(PAGE, "toml")[0])
    (command,) = list_page_commands("trainer", "search")
    done = run(f"{command} --epochs 1 --folds 2 --name searched --skip-baselines")
    assert "winner" in done.stdout


def test_tutorial_grid_equals_that_of_the_training_page():
    assert list_blocks(PAGE, "toml")[0] in list_blocks(read_page("docs/training.md"), "toml")
