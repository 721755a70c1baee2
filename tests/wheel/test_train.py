"""`pip install 'forwardpass[train]'`: from a table to answers, without the repository."""

import csv
import json
import re
import shlex

import numpy as np
import pytest
import requests

from serving.settings.options import VERSION
from tests.wheel.environments import ROOT

pytestmark = pytest.mark.wheel

PAGE = (ROOT / "docs" / "package.md").read_text()
ROWS = 300


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def table(train):
    """A table whose class is known from its columns, with gaps and texts."""
    rng = np.random.default_rng(0)
    with (train.home / "fruit.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["weight", "colour", "kind"])
        for is_apple in rng.random(ROWS) < 0.5:
            weight = round(rng.normal(150 if is_apple else 20, 10), 1)
            colour = rng.choice(["red", "green"] if is_apple else ["blue", "green"])
            writer.writerow(
                [weight, "" if rng.random() < 0.1 else colour, "apple" if is_apple else "plum"]
            )
    return "fruit.csv"


@pytest.fixture(scope="module")
def fruit(train, table):
    """What `trainer fit` printed."""
    done = train.run("trainer", "fit", table, "--preset", "fast", "--epochs", 40)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("verify models/fruit", "fruit"),
        ("report models/fruit -o report.html", "report.html"),
        ("score models/fruit fruit.csv -o scored.csv", "scored.csv"),
        ("check fruit.csv --preset fast --epochs 40", ""),
        ("--version", VERSION),
    ],
)
@pytest.mark.usefixtures("fruit")
def test_trainer_command_succeeds(train, command, answer):
    done = train.run("trainer", *command.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert answer in done.stdout + done.stderr


@pytest.mark.usefixtures("fruit")
def test_server_of_a_trained_model_answers_records(train):
    records = [{"weight": 152, "colour": "red"}, {"weight": 19, "colour": None}]
    with train.serve() as server:
        url = f"{server.url}/predict?model=fruit"
        answer = requests.post(url, json={"instances": records}, timeout=120).json()
    assert answer["predictions"] == ["apple", "plum"]


@pytest.mark.usefixtures("fruit")
def test_tensorboard_is_missing_ends_with_the_command_that_installs_it(train, table):
    done = train.run("trainer", "fit", table, "--tensorboard", "events")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: --tensorboard: expected tensorboardX, which writes event files; it is not "
        "installed; run: pip install 'forwardpass[tensorboard]'\n"
    )


def test_package_page_commands_give_the_answer_shown(train):
    install, commands, request = blocks("bash")
    assert install.strip() == "pip install 'forwardpass[train]'"
    lines = [line.partition("#")[0].strip() for line in commands.splitlines()]
    assert lines.pop() == "serving run"
    for line in lines:
        done = train.run_shell(line)
        assert done.returncode == 0, done.stderr
    words = shlex.split(request.replace("\\\n", ""))
    path = words[2].removeprefix("http://127.0.0.1:8000")
    body = json.loads(words[words.index("-d") + 1])
    with train.serve("--default-model", "iris") as server:
        answer = requests.post(server.url + path, json=body, timeout=120).json()
    (shown,) = map(json.loads, blocks("json"))
    assert list(answer) == list(shown)
    assert answer["predictions"] == shown["predictions"]
    # Another processor may round differently in each step of the training.
    assert np.allclose(answer["probabilities"], shown["probabilities"], atol=0.01)


def test_package_page_program_prints_the_value_shown(train):
    (program,) = blocks("python")
    done = train.run("python", "-c", program)
    assert done.stdout.strip() == re.search(r"# (.*)$", program.strip())[1], done.stderr
