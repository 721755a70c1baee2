"""`trainer score --evaluate`: metrics of the answers to a file that has the target."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn import metrics

from trainer.cli import main
from trainer.config import Config
from trainer.pipeline import fit

pytestmark = pytest.mark.slow  # trains models


def write_csv(path, rows, header):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def rare(tmp_path_factory):
    """A folder with rare.csv, 5 % of whose rows have the class 1, and a model that predicts 0."""
    folder = tmp_path_factory.mktemp("rare")
    rng = np.random.default_rng(0)
    write_csv(
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
        output = tmp_path / "out.csv"
        arguments = ["score", rare / "models" / name, file, "-o", output, "--evaluate", *options]
        return CliRunner().invoke(main, [str(a) for a in arguments]), output

    return run


def test_score_evaluate_rare_class_prints_its_metrics_and_a_warning(rare, score):
    done, _ = score("rare", rare / "rare.csv")
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert "400 rows scored, written to" in text
    assert "recall of 1 0.0000" in text
    assert "macro recall 0.5000" in text
    assert "0 95.0%, 1 5.0% of these rows" in text
    assert "always predicting 0: accuracy 0.9500; this model: accuracy 0.9500" in text
    assert "class_never_answered: none of 400 rows is predicted as 1" in text


def test_score_evaluate_json_has_the_metrics_of_the_output(rare, score):
    done, output = score("rare", rare / "rare.csv", "--json")
    report = json.loads(done.stdout)
    evaluation = report["evaluation"]
    answers = read_csv(output)
    truth = [int(row["y"]) for row in read_csv(rare / "rare.csv")]
    label = [int(row["prediction"]) for row in answers]
    assert evaluation["metrics"]["accuracy"] == metrics.accuracy_score(truth, label)
    area = metrics.roc_auc_score(truth, [float(row["probability_1"]) for row in answers])
    assert evaluation["metrics"]["roc_auc"] == pytest.approx(area, abs=1e-6)
    assert (report["rows"], evaluation["judged"], evaluation["positive"]) == (400, 400, 1)
    assert evaluation["never_answered"] == [1]
    assert evaluation["class_shares"] == [0.95, 0.05]


def test_score_evaluate_regression_json_has_its_metrics(rare, score):
    done, output = score("values", rare / "rare.csv", "--json")
    evaluation = json.loads(done.stdout)["evaluation"]
    value = [float(row["prediction"]) for row in read_csv(output)]
    truth = [float(row["y"]) for row in read_csv(rare / "rare.csv")]
    assert evaluation["metrics"]["mae"] == pytest.approx(metrics.mean_absolute_error(truth, value))
    assert evaluation["classes"] is evaluation["positive"] is None
    done, _ = score("values", rare / "rare.csv")
    assert "r2 " in done.stdout


def test_score_evaluate_file_without_target_is_refused(rare, score, tmp_path):
    write_csv(tmp_path / "new.csv", [["0.5"]], ["x"])
    done, output = score("rare", tmp_path / "new.csv")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: expected the target 'y' among the columns")
    assert not output.exists()


def test_score_file_without_target_is_scored(rare, tmp_path):
    write_csv(tmp_path / "new.csv", [["0.5"]], ["x"])
    arguments = ["score", rare / "models" / "rare", tmp_path / "new.csv", "-o", tmp_path / "o.csv"]
    done = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    report = json.loads(done.stdout)
    assert report == {"rows": 1, "output": str(tmp_path / "o.csv"), "variant": "fp32"}
