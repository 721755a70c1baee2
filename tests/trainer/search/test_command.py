import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from serving.bundle import MANIFEST_FILE, Bundle
from serving.runtime import run_self_test
from tests.killed import every_moment, restore
from trainer.cli import main
from trainer.data.sources import load_table
from trainer.data.splits import split_table

QUICK = ("--preset", "fast", "--epochs", "6", "--hidden", "4", "--skip-baselines", "--folds", "2")


@pytest.fixture
def run_search(tmp_path, monkeypatch):
    """Return a function that runs `trainer search` with a grid, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, grid="learning_rate = [0.0001, 0.03]"):
        (tmp_path / "grid.toml").write_text(grid)
        command = ["search", *map(str, arguments), "--grid", "grid.toml", "--runs", "runs"]
        return CliRunner().invoke(main, command)

    return run


def test_search_writes_a_bundle_of_the_best_candidate(run_search, tmp_path):
    done = run_search("iris", *QUICK)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["accuracy", "sd"]
    assert lines[1].endswith("learning_rate=0.03")
    assert lines[2].endswith("learning_rate=0.0001")
    assert "winner      learning_rate=0.03: accuracy 0." in done.stdout
    assert "journal     runs/iris/search.jsonl, 4 fits run, 0 reused" in done.stdout
    assert "nested" not in done.stdout
    assert "bundle      models/iris/1" in done.stdout
    bundle = Bundle.open(tmp_path / "models" / "iris" / "1")
    assert bundle.manifest.training.config["learning_rate"] == 0.03
    assert bundle.manifest.data.rows == {"train": 105, "validation": 15, "test": 30}
    assert run_self_test(bundle, "fp32").passed
    assert len((tmp_path / "runs" / "iris" / "search.jsonl").read_text().splitlines()) == 4
    assert (tmp_path / "runs" / "iris" / "1" / "history.csv").is_file()


@pytest.mark.slow
def test_search_binary_task_shows_the_metrics_of_the_positive_class(run_search, tmp_path):
    grid = 'learning_rate = [0.0001, 0.03]\n[search]\nmetric = "f1"'
    done = run_search("breast_cancer", *QUICK, "--positive", "malignant", grid=grid)
    assert done.exit_code == 0, done.output
    head, *rows = done.stdout.splitlines()[:3]
    names = [f"{name} of malignant" for name in ("precision", "recall", "f1")]
    assert re.split(r"  +", head.strip()) == ["macro f1", "sd", *names]
    entries = [
        json.loads(line)
        for line in (tmp_path / "runs" / "breast_cancer" / "search.jsonl").read_text().splitlines()
    ]
    for row in rows:
        *values, name = row.split()
        scores = [
            e["scores"]
            for e in entries
            if f"learning_rate={e['parameters']['learning_rate']}" == name
        ]
        expected = [
            np.mean([s[f"positive_{m}"] for s in scores]) for m in ("precision", "recall", "f1")
        ]
        assert len(scores) == 2
        assert values[2:] == [f"{value:.4f}" for value in expected]
    assert ": macro f1 0." in done.stdout


@pytest.mark.slow
def test_search_journal_without_the_metric_runs_the_fits_again(run_search, tmp_path):
    assert run_search("moons", *QUICK).exit_code == 0
    journal = tmp_path / "runs" / "moons" / "search.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        line["scores"] = {n: v for n, v in line["scores"].items() if "positive" not in n}
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    grid = 'learning_rate = [0.0001, 0.03]\n[search]\nmetric = "positive_recall"'
    done = run_search("moons", *QUICK, "--json", grid=grid)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["positive"] == 1
    for candidate in report["candidates"]:
        assert candidate["metrics"]["positive_recall"] == pytest.approx(candidate["mean"])


def test_search_metric_of_the_positive_class_in_multiclass_task_is_refused(run_search):
    done = run_search("iris", *QUICK, grid='dropout = [0]\n[search]\nmetric = "positive_recall"')
    assert done.exit_code == 2
    assert "for a multiclass task; got 'positive_recall'" in done.stderr


@pytest.mark.slow
def test_search_json_prints_one_object(run_search, tmp_path):
    done = run_search(
        "breast_cancer", *QUICK, "--nested", "--json", "--journal", "j.jsonl", "--log", "log.csv"
    )
    report = json.loads(done.stdout)
    assert report["metric"] == "roc_auc"
    assert (report["engine"], report["method"], report["folds"]) == ("local", "grid", 2)
    assert report["winner"] == report["candidates"][0]
    assert report["winner"]["mean"] == pytest.approx(np.mean(report["winner"]["scores"]))
    assert report["nested"]["mean"] == pytest.approx(np.mean(report["nested"]["scores"]))
    assert report["nested"]["sd"] == pytest.approx(np.std(report["nested"]["scores"]))
    assert report["fit"]["bundle"] == "models/breast_cancer/1"
    # The first search has fitted the best candidates on the outer folds already.
    assert report["journal"] == {"path": "j.jsonl", "run": 4 + 2 * 4, "found": 2}
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 7


@pytest.mark.slow
def test_search_again_runs_no_fit_twice(run_search):
    first, second = (json.loads(run_search("iris", *QUICK, "--json").stdout) for _ in range(2))
    assert first["candidates"] == second["candidates"]
    assert first["journal"] | {"run": 0, "found": 4} == second["journal"]
    larger = run_search("iris", *QUICK, "--json", grid="learning_rate = [0.0001, 0.01, 0.03]")
    journal = json.loads(larger.stdout)["journal"]
    assert (journal["run"], journal["found"]) == (2, 4)


@pytest.mark.slow
def test_search_killed_process_is_resumed(run_search, tmp_path):
    quick = ("iris", "--epochs", "2", "--skip-baselines", "--folds", "2", "--json")
    command, grid = (*quick, "--journal", "journal.jsonl"), "hidden = [[4], [6], [8]]"
    with every_moment(tmp_path) as moments:
        complete = json.loads(run_search(*command, grid=grid).stdout)
    assert complete["journal"] == {"path": "journal.jsonl", "run": 6, "found": 0}
    # The process was killed while it wrote the line of the third fit.
    files = next(
        state
        for state in moments.states
        if (journal := state.get("journal.jsonl", b"")).count(b"\n") == 2
        and not journal.endswith(b"\n")
    )
    assert not any(MANIFEST_FILE in path for path in files)
    restore(files, tmp_path)
    report = json.loads(run_search(*command, grid=grid).stdout)
    assert report["journal"] == {"path": "journal.jsonl", "run": 4, "found": 2}
    assert report["candidates"] == complete["candidates"]


def test_search_best_candidate_is_tested_on_the_test_rows(run_search, tmp_path):
    report = json.loads(run_search("iris", *QUICK, "--json", "--seed", "3").stdout)
    table = load_table("iris")
    split = split_table(table, validation=0.1, test=0.2, seed=3)
    bundle = Bundle.open(tmp_path / report["fit"]["bundle"])
    session = run_self_test(bundle, "fp32").session
    label = session.run(table.records.take(split.test).inputs())["label"]
    accuracy = np.mean(label == table.target[split.test])
    assert bundle.manifest.metrics["test"]["accuracy"] == accuracy


@pytest.mark.parametrize(
    ("grid", "options", "status", "message"),
    [
        ("lerning_rate = [1]", (), 2, "expected keys out of"),
        (
            "hidden = [0]",
            (),
            2,
            "candidate hidden=0: hidden: expected integers of at least 1 such as",
        ),
        ("hidden = [8]", ("--engine", "ray"), 2, "'ray' is not"),
        ("hidden = [8]", ("--folds", "1"), 2, "1 is not in the range"),
        ("hidden = [8]", ("--folds", "100"), 1, "expected rows for 100 folds"),
        ("loss = ['huber']", (), 1, "candidate loss=huber: expected a regression task"),
        ("learning_rate = [1e30]", ("--optimizer", "sgd"), 1, "expected a candidate whose train"),
    ],
)
def test_search_invalid_options_are_refused_and_write_no_bundle(
    grid, options, status, message, run_search, tmp_path
):
    done = run_search("iris", *QUICK, *options, grid=grid)
    assert done.exit_code == status, done.output
    assert message in " ".join(done.stderr.split())
    assert not list(tmp_path.glob("models/**/bundle.json"))


def test_search_damaged_journal_is_refused(run_search, tmp_path):
    (tmp_path / "j.jsonl").write_text("oh\n")
    done = run_search("iris", *QUICK, "--journal", "j.jsonl")
    assert done.exit_code == 1
    assert "j.jsonl, line 1: expected a line of a search's journal" in done.stderr
