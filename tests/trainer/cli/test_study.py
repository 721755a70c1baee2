"""`trainer study`: the results, the table, the JSON and the plot."""

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
from trainer.study.experiments import RATES, run_exclusive_or, run_learning_rates


def run(*arguments):
    return CliRunner().invoke(main, ["study", *map(str, arguments)])


@pytest.fixture
def few_epochs(monkeypatch):
    """Train for as few epochs as exclusive or needs from the first two seeds."""
    monkeypatch.setattr(experiments, "EPOCHS", 300)


@pytest.mark.slow
def test_xor_with_hidden_layer_has_accuracy_1():
    linear, hidden = run_exclusive_or(3)
    assert all(0.5 <= accuracy <= 0.75 for accuracy in linear.accuracies)
    assert hidden.accuracies == [1.0] * 3


@pytest.mark.slow
def test_moons_metrics_of_class_1_equal_scikit_learn(on_moons):
    X, y = moons(seed=0)
    split = train_test_split(X, y, test_size=0.2, stratify=y, random_state=0)
    for result in on_moons:
        label = result.probability(split[1]) >= 0.5
        assert result.of_one["positive_recall"] == [metrics.recall_score(split[3], label)]
        assert result.medians_of_one["positive_f1"] == metrics.f1_score(split[3], label)


@pytest.fixture(scope="module")
def on_moons():
    """Results of all learning rates on moons, from one seed."""
    return list(run_learning_rates("moons", 1))


@pytest.mark.slow
def test_moons_high_learning_rates_have_high_accuracy(on_moons):
    median = dict(zip(RATES, (o.median for o in on_moons), strict=True))
    assert min(median[0.1], median[0.5], median[1.0]) >= 0.96
    assert median[0.001] <= 0.90
    assert median[0.01] <= 0.93


@pytest.mark.slow
def test_circles_high_learning_rates_have_high_accuracy(monkeypatch):
    monkeypatch.setattr(experiments, "RATES", (0.001, 0.1, 1.0))
    low, *high = (result.median for result in run_learning_rates("circles", 1))
    assert min(high) >= 0.98
    assert low < 0.7


@pytest.mark.slow
def test_moons_probability_has_the_measured_accuracy(on_moons):
    result = next(o for o in on_moons if o.setting == "learning rate 0.1")
    X, y = moons(seed=0)
    is_correct = (result.probability(X) >= 0.5) == y
    assert is_correct.mean() > 0.93
    assert result.losses[0] > result.losses[-1]
    assert len(result.losses) == 2000


@pytest.mark.slow
@pytest.mark.usefixtures("few_epochs")
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_study_prints_a_table_and_draws_a_plot(suffix, tmp_path):
    plot = tmp_path / f"xor.{suffix}"
    done = run("xor", "--seeds", 2, "-o", plot)
    assert done.exit_code == 0, done.output
    assert "[2, 4, 1]                100.0%   100.0%   100.0%    2 of 2" in done.stdout
    assert plot.stat().st_size > 5000
    if suffix == "png":
        pixels = np.rint(imread(plot) * 255).astype(np.uint8)
        assert len(np.unique(pixels.view(np.uint32))) > 100  # not a blank page


@pytest.mark.slow
@pytest.mark.usefixtures("few_epochs")
def test_study_json_has_the_settings(tmp_path):
    done = run("xor", "--seeds", 1, "-o", tmp_path / "xor.png", "--json")
    report = json.loads(done.stdout)
    assert [s["setting"] for s in report["settings"]] == ["no hidden layer", "[2, 4, 1]"]
    assert report["settings"][1]["median"] == 1


def test_study_invalid_output_is_refused(tmp_path):
    assert "expected a file ending in .png" in run("xor", "-o", tmp_path / "a.xyz").stderr
    assert "in a folder that exists" in run("xor", "-o", tmp_path / "no" / "a.png").stderr
    assert run("triangles").exit_code == 2
