"""`trainer score --evaluate`: the answers to a file beside the target in it."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn import metrics

from trainer.cli import main
from trainer.config import Config
from trainer.pipeline import fit

pytestmark = pytest.mark.slow  # a model of its own


def write(path, rows, head):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def records(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def rare(tmp_path_factory):
    """A folder with rare.csv, of 5 % ones that nothing tells, and a model that answers zeros."""
    folder = tmp_path_factory.mktemp("rare")
    rng = np.random.default_rng(0)
    write(
        folder / "rare.csv",
        [[f"{x:.3f}", int(i % 20 == 0)] for i, x in enumerate(rng.normal(size=400))],
        ["x", "y"],
    )
    options = {"hidden": (2,), "epochs": 15, "models": folder / "models", "runs": folder / "runs"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.runtime.latency_profile.MAX_TIMED_RUNS", 3)
        config = Config(
            data=str(folder / "rare.csv"),
            name="rare",
            skip_baselines=True,
            learning_rate=0.05,
            **options,
        )
        fit(config)
        fit(config.model_copy(update={"task": "regression", "name": "values"}))
    return folder


@pytest.fixture
def score(rare, tmp_path):
    def run(name, file, *options):
        out = tmp_path / "out.csv"
        arguments = ["score", rare / "models" / name, file, "-o", out, "--evaluate", *options]
        return CliRunner().invoke(main, [str(a) for a in arguments]), out

    return run


def test_score_evaluate_prints_the_positive_classs_figures_and_a_warning(rare, score):
    done, _ = score("rare", rare / "rare.csv")
    assert done.exit_code == 0, done.output
    told = " ".join(done.stdout.split())
    assert "400 rows scored into" in told
    assert "recall of 1 0.0000" in told
    assert "macro recall 0.5000" in told
    assert "0 95.0%, 1 5.0% of these rows" in told
    assert "always answering 0 scores accuracy 0.9500; this model 0.9500" in told
    assert "class_never_answered: none of 400 rows is predicted as 1" in told


def test_score_evaluate_json_has_the_metrics_of_the_file_it_wrote(rare, score):
    done, out = score("rare", rare / "rare.csv", "--json")
    told = json.loads(done.stdout)
    found = told["evaluation"]
    answered = records(out)
    truth = [int(row["y"]) for row in records(rare / "rare.csv")]
    label = [int(row["prediction"]) for row in answered]
    assert found["metrics"]["accuracy"] == metrics.accuracy_score(truth, label)
    area = metrics.roc_auc_score(truth, [float(row["probability_1"]) for row in answered])
    assert found["metrics"]["roc_auc"] == pytest.approx(area, abs=1e-6)
    assert (told["rows"], found["judged"], found["positive"]) == (400, 400, 1)
    assert found["never_answered"] == [1]
    assert found["class_shares"] == [0.95, 0.05]


def test_score_evaluate_values_gives_their_metrics(rare, score):
    done, out = score("values", rare / "rare.csv", "--json")
    found = json.loads(done.stdout)["evaluation"]
    value = [float(row["prediction"]) for row in records(out)]
    truth = [float(row["y"]) for row in records(rare / "rare.csv")]
    assert found["metrics"]["mae"] == pytest.approx(metrics.mean_absolute_error(truth, value))
    assert found["classes"] is found["positive"] is None
    done, _ = score("values", rare / "rare.csv")
    assert "r2 " in done.stdout


def test_score_evaluate_without_the_target_is_refused_and_writes_nothing(rare, score, tmp_path):
    write(tmp_path / "new.csv", [["0.5"]], ["x"])
    done, out = score("rare", tmp_path / "new.csv")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: expected the target 'y' among the columns")
    assert not out.exists()


def test_score_without_evaluate_asks_for_no_target(rare, tmp_path):
    write(tmp_path / "new.csv", [["0.5"]], ["x"])
    arguments = ["score", rare / "models" / "rare", tmp_path / "new.csv", "-o", tmp_path / "o.csv"]
    done = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    told = json.loads(done.stdout)
    assert told == {"rows": 1, "output": str(tmp_path / "o.csv"), "variant": "fp32"}
