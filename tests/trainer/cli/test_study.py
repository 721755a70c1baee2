import json

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import imread
from sklearn import metrics
from sklearn.model_selection import train_test_split

from trainer.cli import main
from trainer.data.toys import moons
from trainer.study import experiments
from trainer.study.experiments import LEARNING_RATES, run_exclusive_or, run_learning_rates


def run_study(*arguments):
    return CliRunner().invoke(main, ["study", *map(str, arguments)])


@pytest.fixture
def few_epochs(monkeypatch):
    """Train for 300 epochs, which are enough for XOR with the first two seeds."""
    monkeypatch.setattr(experiments, "EPOCHS", 300)


@pytest.mark.slow
def test_xor_without_hidden_layer_is_not_learned():
    without_hidden, with_hidden = run_exclusive_or(3)
    assert all(0.5 <= accuracy <= 0.75 for accuracy in without_hidden.accuracies)
    assert with_hidden.accuracies == [1.0] * 3


@pytest.mark.slow
def test_positive_metrics_equal_scikit_learn(moons_results):
    X, y = moons(seed=0)
    split = train_test_split(X, y, test_size=0.2, stratify=y, random_state=0)
    for result in moons_results:
        label = result.predict_probability(split[1]) >= 0.5
        assert result.positive_metrics["positive_recall"] == [metrics.recall_score(split[3], label)]
        assert result.median_positive_metrics["positive_f1"] == metrics.f1_score(split[3], label)


@pytest.fixture(scope="module")
def moons_results():
    """Return the results of every learning rate on moons, with one seed."""
    return list(run_learning_rates("moons", 1))


@pytest.mark.slow
def test_learning_rates_small_ones_do_not_learn_moons(moons_results):
    median = dict(zip(LEARNING_RATES, (result.median for result in moons_results), strict=True))
    assert min(median[0.1], median[0.5], median[1.0]) >= 0.96
    assert median[0.001] <= 0.90
    assert median[0.01] <= 0.93


@pytest.mark.slow
def test_learning_rates_large_ones_learn_circles(monkeypatch):
    monkeypatch.setattr(experiments, "LEARNING_RATES", (0.001, 0.1, 1.0))
    small, *large = (result.median for result in run_learning_rates("circles", 1))
    assert min(large) >= 0.98
    assert small < 0.7


@pytest.mark.slow
def test_experiment_result_predicts_with_the_trained_network(moons_results):
    result = next(r for r in moons_results if r.setting == "learning rate 0.1")
    X, y = moons(seed=0)
    is_correct = (result.predict_probability(X) >= 0.5) == y
    assert is_correct.mean() > 0.93
    assert result.losses[0] > result.losses[-1]
    assert len(result.losses) == 2000


@pytest.mark.slow
@pytest.mark.usefixtures("few_epochs")
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_study_prints_a_table_and_writes_a_plot(suffix, tmp_path):
    path = tmp_path / f"xor.{suffix}"
    done = run_study("xor", "--seeds", 2, "-o", path)
    assert done.exit_code == 0, done.output
    assert "[2, 4, 1]                100.0%   100.0%   100.0%    2 of 2" in done.stdout
    assert path.stat().st_size > 5000
    if suffix == "png":
        pixels = np.rint(imread(path) * 255).astype(np.uint8)
        assert len(np.unique(pixels.view(np.uint32))) > 100  # The page is not blank.


@pytest.mark.slow
@pytest.mark.usefixtures("few_epochs")
def test_study_json_prints_one_object(tmp_path):
    done = run_study("xor", "--seeds", 1, "-o", tmp_path / "xor.png", "--json")
    report = json.loads(done.stdout)
    assert [s["setting"] for s in report["settings"]] == ["no hidden layer", "[2, 4, 1]"]
    assert report["settings"][1]["median"] == 1


def test_study_invalid_path_or_experiment_is_refused(tmp_path):
    assert "expected a file ending in .png" in run_study("xor", "-o", tmp_path / "a.xyz").stderr
    assert "in a folder that exists" in run_study("xor", "-o", tmp_path / "no" / "a.png").stderr
    assert run_study("triangles").exit_code == 2
