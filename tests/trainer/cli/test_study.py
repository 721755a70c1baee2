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
    """As many as exclusive or takes from the first two seeds."""
    monkeypatch.setattr(experiments, "EPOCHS", 300)


@pytest.mark.slow
def test_exclusive_or_needs_a_hidden_layer():
    line, hidden = run_exclusive_or(3)
    assert all(0.5 <= accuracy <= 0.75 for accuracy in line.accuracies)
    assert hidden.accuracies == [1.0] * 3


@pytest.mark.slow
def test_the_figures_of_class_one_are_its_own(on_moons):
    X, y = moons(seed=0)
    split = train_test_split(X, y, test_size=0.2, stratify=y, random_state=0)
    for outcome in on_moons:
        label = outcome.probability(split[1]) >= 0.5
        assert outcome.of_one["positive_recall"] == [metrics.recall_score(split[3], label)]
        assert outcome.medians_of_one["positive_f1"] == metrics.f1_score(split[3], label)


@pytest.fixture(scope="module")
def on_moons():
    """Outcomes of every learning rate on moons, from one seed."""
    return list(run_learning_rates("moons", 1))


@pytest.mark.slow
def test_the_learning_rate_decides_on_moons(on_moons):
    median = dict(zip(RATES, (o.median for o in on_moons), strict=True))
    assert min(median[0.1], median[0.5], median[1.0]) >= 0.96
    assert median[0.001] <= 0.90
    assert median[0.01] <= 0.93


@pytest.mark.slow
def test_circles_are_solved(monkeypatch):
    monkeypatch.setattr(experiments, "RATES", (0.001, 0.1, 1.0))
    slow, *fast = (outcome.median for outcome in run_learning_rates("circles", 1))
    assert min(fast) >= 0.98
    assert slow < 0.7


@pytest.mark.slow
def test_an_outcome_answers_as_it_was_judged(on_moons):
    outcome = next(o for o in on_moons if o.setting == "learning rate 0.1")
    X, y = moons(seed=0)
    right = (outcome.probability(X) >= 0.5) == y
    assert right.mean() > 0.93
    assert outcome.losses[0] > outcome.losses[-1]
    assert len(outcome.losses) == 2000


@pytest.mark.slow
@pytest.mark.usefixtures("few_epochs")
@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_command_prints_a_table_and_draws(ending, tmp_path):
    plot = tmp_path / f"xor.{ending}"
    done = run("xor", "--seeds", 2, "-o", plot)
    assert done.exit_code == 0, done.output
    assert "[2, 4, 1]                100.0%   100.0%   100.0%    2 of 2" in done.stdout
    assert plot.stat().st_size > 5000
    if ending == "png":
        pixels = np.rint(imread(plot) * 255).astype(np.uint8)
        assert len(np.unique(pixels.view(np.uint32))) > 100  # not a blank page


@pytest.mark.slow
@pytest.mark.usefixtures("few_epochs")
def test_the_command_speaks_json(tmp_path):
    done = run("xor", "--seeds", 1, "-o", tmp_path / "xor.png", "--json")
    told = json.loads(done.stdout)
    assert [s["setting"] for s in told["settings"]] == ["no hidden layer", "[2, 4, 1]"]
    assert told["settings"][1]["median"] == 1


def test_a_plot_that_cannot_be_drawn_is_named(tmp_path):
    assert "expected a file ending in .png" in run("xor", "-o", tmp_path / "a.xyz").stderr
    assert "in a folder that exists" in run("xor", "-o", tmp_path / "no" / "a.png").stderr
    assert run("triangles").exit_code == 2
