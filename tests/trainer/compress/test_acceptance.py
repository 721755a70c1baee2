from types import SimpleNamespace

import numpy as np
import pytest

from trainer.compress.acceptance import (
    group_accepted_trials,
    is_within_max_drop,
    select_variants,
)
from trainer.compress.trial import Trial


def make_trial(name, size_bytes, *, n_parameters=100, drop=0.0, standard_error=0.0):
    content = bytes(size_bytes)
    return Trial(name, None, content, 32, n_parameters, 0.9 - drop, drop, standard_error)


@pytest.mark.parametrize(
    ("drop", "standard_error", "is_accepted"),
    [(0.01, 0.0, True), (0.02, 0.0, True), (0.01, 0.02, False), (-0.1, 0.05, True)],
)
def test_max_drop_limits_the_drop_plus_its_standard_error(drop, standard_error, is_accepted):
    trial = make_trial("int8", 10, drop=drop, standard_error=standard_error)
    assert is_within_max_drop(trial, 0.02) == is_accepted


def test_accepted_trials_are_in_the_order_of_names_and_sizes():
    trials = [
        make_trial("fp32", 50),
        make_trial("pruned", 40, drop=0.5),  # rejected
        make_trial("pruned-int4", 20),
        make_trial("pruned", 30),
        make_trial("pruned-int4", 10),
        make_trial("sparse", 5, drop=0.5),  # rejected
    ]
    grouped = group_accepted_trials(trials, 0.1)
    assert list(grouped) == ["fp32", "pruned", "pruned-int4"]
    assert grouped["pruned"] == [trials[3]]
    assert grouped["pruned-int4"] == [trials[4], trials[2]]


class FakeEvaluation:
    """An evaluation with a given metric and a given interval of the drop."""

    def __init__(self, accuracy, interval):
        self.accuracy, self.interval = accuracy, interval

    def compute_metrics(self):
        return {"accuracy": self.accuracy}

    def compute_drop_interval(self, other, metric, rng):
        return other.interval


def select(trials, intervals):
    """Select among trials, of which the first is the original, with intervals by name."""

    def export(trial):
        interval = intervals.get(trial.name, (0.0, 0.0))
        return SimpleNamespace(test_evaluation=FakeEvaluation(trial.metric_value, interval))

    return select_variants(
        trials[0],
        group_accepted_trials(trials, 0.1),
        metric="accuracy",
        max_drop=0.1,
        export=export,
        rng=np.random.default_rng(0),
    )


def test_select_variants_smallest_trial_of_each_name_is_kept():
    trials = [make_trial("fp32", 50), make_trial("pruned", 30), make_trial("pruned", 20)]
    selected = select(trials, {})
    assert list(selected.graphs) == [trials[0], trials[2]]
    assert list(selected.test_drops) == [trials[2]]


def test_select_variants_neither_smaller_file_nor_fewer_weights_is_dropped():
    original, small = make_trial("fp32", 50), make_trial("pruned", 20, n_parameters=50)
    larger = make_trial("pruned-int8", 30, n_parameters=50)
    fewer_weights = make_trial("pruned-int4", 60, n_parameters=40)
    selected = select([original, small, larger, fewer_weights], {})
    assert list(selected.graphs) == [original, small, fewer_weights]
    assert larger not in selected.test_drops


def test_select_variants_sparse_is_kept_without_a_smaller_file():
    trials = [make_trial("fp32", 50), make_trial("sparse", 50)]
    assert list(select(trials, {}).graphs) == trials


@pytest.mark.parametrize(("low", "is_kept"), [(0.1, True), (0.11, False)])
def test_select_variants_interval_above_max_drop_is_rejected(low, is_kept):
    trials = [make_trial("fp32", 50), make_trial("int8", 20, drop=0.05)]
    selected = select(trials, {"int8": (low, 0.3)})
    assert (trials[1] in selected.graphs) == is_kept
    assert selected.test_drops[trials[1]].drop == pytest.approx(0.05)
    assert selected.test_drops[trials[1]].interval == (low, 0.3)
