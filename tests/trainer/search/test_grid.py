import numpy as np
import pytest
from sklearn.model_selection import ParameterSampler

from trainer.data.sources import load_table
from trainer.evaluate import Evaluation
from trainer.search import RefusedError, read_grid
from trainer.search.estimator import ConfiguredModel
from trainer.search.grid import Range
from trainer.search.scoring import default_metric, metrics_of, sign


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "grid.toml"
        path.write_text(text)
        return read_grid(path)

    return write


def test_a_grid_is_every_combination(written):
    grid = written("hidden = [[8], [16, 8]]\nlearning-rate = [0.1, 0.01, 0.001]")
    assert grid.plan.method == "grid"
    candidates = grid.candidates(0)
    assert len(candidates) == 6
    assert {"hidden": [16, 8], "learning_rate": 0.01} in candidates


def test_random_candidates_are_within_their_ranges(written):
    grid = written(
        """
        learning_rate = {low = 1e-4, high = 0.1, log = true}
        dropout = {low = 0, high = 0.5}
        batch_size = {low = 8, high = 9}
        hidden = {low = 4, high = 64, log = true}
        batch_norm = [true, false]
        [search]
        method = "random"
        trials = 300
        """
    )
    candidates = grid.candidates(0)
    assert candidates == grid.candidates(0) != grid.candidates(1)
    rates = np.array([c["learning_rate"] for c in candidates])
    assert rates.min() >= 1e-4
    assert rates.max() <= 0.1
    assert np.median(rates) == pytest.approx(10**-2.5, rel=0.4)
    assert np.mean([c["dropout"] for c in candidates]) == pytest.approx(0.25, abs=0.05)
    assert {c["batch_size"] for c in candidates} == {8, 9}
    assert {type(c["hidden"]) for c in candidates} == {int}
    assert {c["batch_norm"] for c in candidates} == {True, False}


def test_as_many_are_drawn_as_there_are(written):
    grid = written('hidden = [8, 9]\n[search]\nmethod = "random"\ntrials = 50')
    assert len(grid.candidates(0)) == 2
    assert (
        len(written('dropout = {low=0, high=0.1}\n[search]\nmethod = "random"').candidates(0)) == 20
    )


def test_ranges_are_drawn_as_scikit_learn_asks():
    found = list(ParameterSampler({"a": Range(1, 3), "b": Range(0.0, 1.0)}, 5, random_state=0))
    assert {type(entry["a"]) for entry in found} == {int}
    assert {type(entry["b"]) for entry in found} == {float}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hidden = [8", "expected a TOML file"),
        ("lerning_rate = [0.1]", "expected keys out of scaling.*; got 'lerning_rate'"),
        ("seed = [1, 2]", "expected keys out of .*; got 'seed'"),
        ("test = [0.1]", "expected keys out of .*; got 'test'"),
        ("[search]", "expected keys with lists of values; got none"),
        ("hidden = 8", "hidden: expected a list of values, one or more; got 8"),
        ("hidden = []", "expected a list of values, one or more"),
        ("dropout = {low = 0, high = 1}", "expected a list of values; got a range"),
        (
            "hidden = [8]\n[search]\nmethod = 'gird'",
            r"\[search\]: method: expected one of grid, ran",
        ),
        ("hidden = [8]\n[search]\nmetod = 'grid'", "expected a key out of method, trials, fac"),
        ("hidden = [8]\n[search]\ntrials = 3", "expected the method random for trials; got grid"),
        ("hidden = [8]\n[search]\nfactor = 3", "expected the method halving for factor; got grid"),
        ("epochs = [8]\n[search]\nmethod = 'halving'", "expected no epochs to choose among"),
        *(
            (f"dropout = {wrong}\n[search]\nmethod = 'random'", message)
            for wrong, message in (
                ("{low = 0}", "expected a range"),
                ("{low = 0, hihg = 1}", "expected a range"),
                ("{low = 0, high = true}", "expected a range"),
                ("{low = 0, high = inf}", "expected a range"),
                ("{low = 1, high = 1}", "expected low below high; got 1 and 1"),
                ("{low = 0, high = 1, log = true}", "and both above 0; got 0 and 1"),
            )
        ),
    ],
)
def test_a_file_that_is_no_grid_is_refused(text, message, written):
    with pytest.raises(RefusedError, match=message):
        written(text)


@pytest.mark.parametrize("data", ["iris", "breast_cancer", "diabetes"])
def test_the_metrics_are_those_that_are_measured(data, bench):
    table = load_table(data)
    rows = np.arange(len(table))
    model = ConfiguredModel(bench(table, epochs=1)).fit(rows[:, None]).model_
    assert set(Evaluation.from_model(model, table, rows).compute_metrics()) == set(
        metrics_of(table.task)
    )
    assert default_metric(table.task) in metrics_of(table.task)


def test_better_is_the_right_way_up(bench):
    # A model that has learned more is better by every metric that says which way is up.
    table = load_table("breast_cancer")
    rows = np.arange(len(table))
    worse, better = (
        Evaluation.from_model(
            ConfiguredModel(bench(table, epochs=n)).fit(rows[:, None]).model_, table, rows
        )
        for n in (1, 20)
    )
    for metric in ("accuracy", "f1", "log_loss", "brier", "roc_auc", "pr_auc"):
        gain = sign(metric) * (better.compute_metrics()[metric] - worse.compute_metrics()[metric])
        assert gain > 0, metric
    assert {sign(metric) for metric in metrics_of("regression") if metric != "r2"} == {-1}
