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
from trainer.search import Journal, RefusedError, run
from trainer.search.run import search
from trainer.training.loop import TrainingDivergedError

VALUES = {"hidden": [[4], [16, 8]], "learning_rate": [0.003, 0.03]}
FEWER = {"learning_rate": [0.003, 0.03]}


def combinations(values):
    return [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]


def score_by_hand(config, table, known, scored):
    learned, held = hold_out(table, known, share=config.validation, seed=config.seed)
    parts = Split(learned, held, np.empty(0, np.int64))
    model = train_on_split(table, parts, config, spawn_generators(config.seed)[0]).model
    answers = model.answers(table.records.take(scored))
    return accuracy_score(table.target[scored], answers["label"])


def folds_by_hand(table, rows, seed=0):
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    for known, scored in folds.split(rows, table.target[rows]):
        yield rows[known], rows[scored]


def searched_rows(config, table):
    parts = split_table(table, validation=config.validation, test=config.test, seed=config.seed)
    return np.sort([*parts.train, *parts.validation]), parts.test


def by_hand(config, table, rows, values):
    """The scores of each combination by plain loops, in order."""
    return [
        [
            score_by_hand(config(**choices), table, known, scored)
            for known, scored in folds_by_hand(table, rows)
        ]
        for choices in combinations(values)
    ]


@pytest.mark.slow
def test_scores_are_those_of_a_loop_over_the_same_folds(config, grid, journal):
    table = load_table("iris")
    rows, _ = searched_rows(config(), table)
    outcome = search(config(), grid(VALUES), folds=3, journal=journal)
    found = {str(c.parameters): c for c in outcome.candidates}
    expected = by_hand(config, table, rows, VALUES)
    for values, scores in zip(combinations(VALUES), expected, strict=True):
        candidate = found[str(values)]
        assert candidate.scores == tuple(scores)
        assert candidate.mean == pytest.approx(np.mean(scores), rel=1e-12)
        assert candidate.deviation == pytest.approx(np.std(scores), rel=1e-12)
    best = combinations(VALUES)[int(np.argmax(np.mean(expected, axis=1)))]
    assert outcome.winner.parameters == best
    assert outcome.config == config(**best)
    means = [candidate.mean for candidate in outcome.candidates]
    assert means == sorted(means, reverse=True)
    assert (journal.added, journal.reused) == (12, 0)


@pytest.mark.slow
def test_nested_scores_are_of_winners_on_rows_they_have_not_seen(config, grid, journal):
    table = load_table("iris")
    rows, _ = searched_rows(config(), table)
    outcome = search(config(), grid(FEWER), folds=3, journal=journal, nested=True)
    expected = []
    for known, scored in folds_by_hand(table, rows):
        means = np.mean(by_hand(config, table, known, FEWER), axis=1)
        best = combinations(FEWER)[int(np.argmax(means))]
        expected.append(score_by_hand(config(**best), table, known, scored))
    assert outcome.nested == tuple(expected)


@pytest.mark.slow
def test_the_test_rows_are_not_looked_at(config, grid, tmp_path, monkeypatch, poisoned):
    table = load_table("iris")
    _, test = searched_rows(config(), table)
    spoiled = poisoned(table, test)
    target = spoiled.target.copy()
    target[test] = "setosa"
    spoiled = replace(spoiled, target=target)

    def outcome(name):
        journal = Journal(tmp_path / name)
        return search(config(), grid(FEWER), folds=2, journal=journal, nested=True)

    clean = outcome("clean")
    parts = split_table(table, validation=0.1, test=0.2, seed=0)
    monkeypatch.setattr(run, "read", lambda _: (spoiled, parts))
    assert outcome("spoiled") == clean


def test_the_share_of_validation_can_be_searched_without_touching_the_test_rows(config):
    table = load_table("iris")
    rows, test = searched_rows(config(), table)
    for share in (0.05, 0.3):
        others, same = searched_rows(config(validation=share), table)
        np.testing.assert_array_equal(others, rows)
        assert set(same) == set(test)


def test_random_trials_are_those_that_were_checked(config, grid, journal):
    drawn = grid({"hidden": [4, 5, 6, 7, 8], "dropout": [0, 0.1]}, method="random", trials=3)
    outcome = search(config(epochs=1), drawn, folds=2, journal=journal)
    found = sorted(str(candidate.parameters) for candidate in outcome.candidates)
    assert found == sorted(map(str, drawn.candidates(0)))
    assert len(found) == 3


@pytest.mark.slow
def test_halving_gives_more_epochs_to_fewer(config, grid, journal):
    asked = grid({"learning_rate": [1e-6, 1e-5, 1e-4, 0.03]}, method="halving", factor=2)
    outcome = search(config(epochs=8), asked, folds=2, journal=journal)
    assert [candidate.epochs for candidate in outcome.candidates] == [8, 4, 2, 2]
    assert outcome.winner.parameters == {"learning_rate": 0.03}
    assert outcome.config == config(epochs=8, learning_rate=0.03)


def test_losses_are_better_the_lower(config, grid, journal):
    asked = grid({"learning_rate": [1e-6, 0.03]}, metric="log_loss")
    outcome = search(config(), asked, folds=2, journal=journal)
    better, worse = outcome.candidates
    assert better.parameters == {"learning_rate": 0.03}
    assert 0 < better.mean < worse.mean


def test_a_candidate_that_diverges_is_last(config, grid, journal):
    quick = config("diabetes", optimizer="sgd")
    outcome = search(quick, grid({"learning_rate": [1e9, 0.01]}), folds=2, journal=journal)
    assert [c.parameters["learning_rate"] for c in outcome.candidates] == [0.01, 1e9]
    assert np.isnan(outcome.candidates[1].mean)
    with pytest.raises(TrainingDivergedError, match="expected a candidate whose training ends"):
        search(quick, grid({"learning_rate": [1e9]}), folds=2, journal=journal)


@pytest.mark.parametrize("values", [["relu", ["tanh"]], [["relu"], ["tanh"]], [["relu", "tanh"]]])
def test_values_may_be_lists_of_any_shape(values, config, grid, journal):
    asked = grid({"activation": values})
    outcome = search(
        config(hidden=[4] * max(map(len, (v for v in values if isinstance(v, list))))),
        asked,
        folds=2,
        journal=journal,
    )
    assert len(outcome.candidates) == len(values)


@pytest.mark.parametrize(
    ("data", "values", "plan", "error", "message"),
    [
        (
            "iris",
            {"epochs": [5, 0]},
            {},
            RefusedError,
            "candidate epochs=0: epochs: expected a who",
        ),
        (
            "iris",
            {"loss": ["mse", "mae"]},
            {},
            DataError,
            "candidate loss=mae: expected a regression task",
        ),
        ("iris", {"hidden": [[4]]}, {"metric": "r2"}, RefusedError, r"metric: .* accuracy.* 'r2'"),
    ],
)
def test_what_cannot_be_is_refused_before_any_fit(
    data, values, plan, error, message, config, grid, journal
):
    with pytest.raises(error, match=message):
        search(config(data), grid(values, **plan), folds=2, journal=journal)
    assert journal.added == 0
