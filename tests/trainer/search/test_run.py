import itertools
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedKFold

from trainer.data.sources import load_table
from trainer.data.splits import Split, hold_out, split_table
from trainer.data.tables import DataError
from trainer.pipeline import spawn_generators, train_on_split
from trainer.search import InvalidSearchError, Journal, run
from trainer.search.run import search
from trainer.training.loop import TrainingDivergedError

VALUES = {"hidden": [[4], [16, 8]], "learning_rate": [0.003, 0.03]}
FEWER = {"learning_rate": [0.003, 0.03]}


def list_combinations(values):
    return [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]


def train_and_score(config, table, training, scored):
    remaining, held_out = hold_out(table, training, share=config.validation, seed=config.seed)
    split = Split(remaining, held_out, np.empty(0, np.int64))
    model = train_on_split(table, split, config, spawn_generators(config.seed)[0]).model
    answers = model.answers(table.records.take(scored))
    return accuracy_score(table.target[scored], answers["label"])


def list_stratified_folds(table, rows, seed=0):
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    for training, scored in folds.split(rows, table.target[rows]):
        yield rows[training], rows[scored]


def split_rows(config, table):
    """Return the rows that a search uses, sorted, and the test rows."""
    split = split_table(table, validation=config.validation, test=config.test, seed=config.seed)
    return np.sort([*split.train, *split.validation]), split.test


def score_combinations(make_config, table, rows, values):
    """Return the scores of each combination on each fold, computed in plain loops."""
    return [
        [
            train_and_score(make_config(**choices), table, training, scored)
            for training, scored in list_stratified_folds(table, rows)
        ]
        for choices in list_combinations(values)
    ]


@pytest.mark.slow
def test_search_scores_equal_plain_loops(make_config, make_grid, journal):
    table = load_table("iris")
    rows, _ = split_rows(make_config(), table)
    result = search(make_config(), make_grid(VALUES), folds=3, journal=journal)
    candidates = {str(c.parameters): c for c in result.candidates}
    expected = score_combinations(make_config, table, rows, VALUES)
    for values, scores in zip(list_combinations(VALUES), expected, strict=True):
        candidate = candidates[str(values)]
        assert candidate.scores == tuple(scores)
        assert candidate.mean == pytest.approx(np.mean(scores), rel=1e-12)
        assert candidate.deviation == pytest.approx(np.std(scores), rel=1e-12)
    best = list_combinations(VALUES)[int(np.argmax(np.mean(expected, axis=1)))]
    assert result.winner.parameters == best
    assert result.config == make_config(**best)
    means = [candidate.mean for candidate in result.candidates]
    assert means == sorted(means, reverse=True)
    assert (journal.n_added, journal.n_reused) == (12, 0)


@pytest.mark.slow
def test_search_nested_scores_equal_plain_loops(make_config, make_grid, journal):
    table = load_table("iris")
    rows, _ = split_rows(make_config(), table)
    result = search(make_config(), make_grid(FEWER), folds=3, journal=journal, nested=True)
    expected = []
    for training, scored in list_stratified_folds(table, rows):
        means = np.mean(score_combinations(make_config, table, training, FEWER), axis=1)
        best = list_combinations(FEWER)[int(np.argmax(means))]
        expected.append(train_and_score(make_config(**best), table, training, scored))
    assert result.nested == tuple(expected)


@pytest.mark.slow
def test_search_test_rows_do_not_change_the_result(
    make_config, make_grid, tmp_path, monkeypatch, spoil_rows
):
    table = load_table("iris")
    _, test = split_rows(make_config(), table)
    spoiled = spoil_rows(table, test)
    target = spoiled.target.copy()
    target[test] = "setosa"
    spoiled = replace(spoiled, target=target)

    def run_search(name):
        journal = Journal(tmp_path / name)
        return search(make_config(), make_grid(FEWER), folds=2, journal=journal, nested=True)

    clean = run_search("clean")
    split = split_table(table, validation=0.1, test=0.2, seed=0)
    monkeypatch.setattr(run, "load_and_split", lambda _: (spoiled, split))
    assert run_search("spoiled") == clean


def test_search_validation_share_does_not_change_the_test_rows(make_config):
    table = load_table("iris")
    rows, test = split_rows(make_config(), table)
    for share in (0.05, 0.3):
        other_rows, other_test = split_rows(make_config(validation=share), table)
        np.testing.assert_array_equal(other_rows, rows)
        assert set(other_test) == set(test)


def test_search_random_tries_the_candidates_that_were_checked(make_config, make_grid, journal):
    grid = make_grid({"hidden": [4, 5, 6, 7, 8], "dropout": [0, 0.1]}, method="random", trials=3)
    result = search(make_config(epochs=1), grid, folds=2, journal=journal)
    parameters = sorted(str(candidate.parameters) for candidate in result.candidates)
    assert parameters == sorted(map(str, grid.list_candidates(0)))
    assert len(parameters) == 3


@pytest.mark.slow
def test_search_halving_trains_fewer_candidates_for_more_epochs(make_config, make_grid, journal):
    grid = make_grid({"learning_rate": [1e-6, 1e-5, 1e-4, 0.03]}, method="halving", factor=2)
    result = search(make_config(epochs=8), grid, folds=2, journal=journal)
    assert [candidate.epochs for candidate in result.candidates] == [8, 4, 2, 2]
    assert result.winner.parameters == {"learning_rate": 0.03}
    assert result.config == make_config(epochs=8, learning_rate=0.03)


def test_search_lower_loss_is_better(make_config, make_grid, journal):
    grid = make_grid({"learning_rate": [1e-6, 0.03]}, metric="log_loss")
    result = search(make_config(), grid, folds=2, journal=journal)
    better, worse = result.candidates
    assert better.parameters == {"learning_rate": 0.03}
    assert 0 < better.mean < worse.mean


def test_search_diverged_candidate_is_last(make_config, make_grid, journal):
    quick = make_config("diabetes", optimizer="sgd")
    result = search(quick, make_grid({"learning_rate": [1e9, 0.01]}), folds=2, journal=journal)
    assert [c.parameters["learning_rate"] for c in result.candidates] == [0.01, 1e9]
    assert np.isnan(result.candidates[1].mean)
    with pytest.raises(TrainingDivergedError, match="expected a candidate whose training ends"):
        search(quick, make_grid({"learning_rate": [1e9]}), folds=2, journal=journal)


@pytest.mark.parametrize("values", [["relu", ["tanh"]], [["relu"], ["tanh"]], [["relu", "tanh"]]])
def test_search_values_can_be_lists(values, make_config, make_grid, journal):
    grid = make_grid({"activation": values})
    result = search(
        make_config(hidden=[4] * max(map(len, (v for v in values if isinstance(v, list))))),
        grid,
        folds=2,
        journal=journal,
    )
    assert len(result.candidates) == len(values)


@pytest.mark.parametrize(
    ("data", "values", "plan", "error", "message"),
    [
        (
            "iris",
            {"epochs": [5, 0]},
            {},
            InvalidSearchError,
            "candidate epochs=0: epochs: expected a who",
        ),
        (
            "iris",
            {"loss": ["mse", "mae"]},
            {},
            DataError,
            "candidate loss=mae: expected a regression task",
        ),
        (
            "iris",
            {"hidden": [[4]]},
            {"metric": "r2"},
            InvalidSearchError,
            r"metric: .* accuracy.* 'r2'",
        ),
    ],
)
def test_search_invalid_candidates_are_refused_before_any_fit(
    data, values, plan, error, message, make_config, make_grid, journal
):
    with pytest.raises(error, match=message):
        search(make_config(data), make_grid(values, **plan), folds=2, journal=journal)
    assert journal.n_added == 0
