import numpy as np
import pytest
from sklearn.model_selection import ParameterSampler

from trainer.search import InvalidSearchError, read_grid
from trainer.search.grid_file import Range


@pytest.fixture
def parse_grid(tmp_path):
    """Return a function that reads a grid from the text of its file."""

    def parse(text):
        path = tmp_path / "grid.toml"
        path.write_text(text)
        return read_grid(path)

    return parse


def test_grid_method_grid_has_every_combination(parse_grid):
    grid = parse_grid("hidden = [[8], [16, 8]]\nlearning-rate = [0.1, 0.01, 0.001]")
    assert grid.plan.method == "grid"
    candidates = grid.list_candidates(0)
    assert len(candidates) == 6
    assert {"hidden": [16, 8], "learning_rate": 0.01} in candidates


def test_grid_method_random_draws_within_the_ranges(parse_grid):
    grid = parse_grid(
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
    candidates = grid.list_candidates(0)
    assert candidates == grid.list_candidates(0) != grid.list_candidates(1)
    rates = np.array([c["learning_rate"] for c in candidates])
    assert rates.min() >= 1e-4
    assert rates.max() <= 0.1
    assert np.median(rates) == pytest.approx(10**-2.5, rel=0.4)
    assert np.mean([c["dropout"] for c in candidates]) == pytest.approx(0.25, abs=0.05)
    assert {c["batch_size"] for c in candidates} == {8, 9}
    assert {type(c["hidden"]) for c in candidates} == {int}
    assert {c["batch_norm"] for c in candidates} == {True, False}


def test_grid_method_random_draws_at_most_all_combinations(parse_grid):
    grid = parse_grid('hidden = [8, 9]\n[search]\nmethod = "random"\ntrials = 50')
    assert len(grid.list_candidates(0)) == 2
    assert (
        len(
            parse_grid('dropout = {low=0, high=0.1}\n[search]\nmethod = "random"').list_candidates(
                0
            )
        )
        == 20
    )


def test_range_is_a_distribution_for_scikit_learn():
    candidates = list(ParameterSampler({"a": Range(1, 3), "b": Range(0.0, 1.0)}, 5, random_state=0))
    assert {type(candidate["a"]) for candidate in candidates} == {int}
    assert {type(candidate["b"]) for candidate in candidates} == {float}


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
        ("epochs = [8]\n[search]\nmethod = 'halving'", "expected no values of epochs"),
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
def test_read_grid_invalid_file_is_refused(text, message, parse_grid):
    with pytest.raises(InvalidSearchError, match=message):
        parse_grid(text)
