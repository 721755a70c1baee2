import gzip
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from serving.bundle import MetricDrop
from serving.runtime import GraphSession
from trainer.compress.compression_config import CompressionConfig
from trainer.compress.distill import distill
from trainer.compress.prune import count_fewest_parameters, prune
from trainer.compress.to_dense import dense_layers
from trainer.compress.variant_search import FEWEST_WEIGHTS, VariantSearch
from trainer.data.tables import DataError
from trainer.evaluate import Evaluation
from trainer.nn import Dense, IntegerDense
from trainer.output_scaling import fit_output_scaling
from trainer.training.loop import Callback


@pytest.fixture(scope="module")
def tried(reopened):
    """Searches to a goal, once: the budget, what held it, and what it told of."""
    known = {}

    def get(kind, **choices):
        key = (kind, *sorted(choices.items()))
        if key not in known:
            told = []
            goal = CompressionConfig(**({"epochs": 1, "batch_size": 64} | choices))
            budget = VariantSearch(reopened(kind), goal, tell=told.append)
            known[key] = budget, budget.search(), told
        return known[key]

    return get


def names(trials):
    return [trial.name for trial in trials]


def sizes(trial):
    """Weights and biases of dense layers, whatever they are of."""
    layers = trial.model.network.layers
    return sum(x.W.size + x.b.size for x in layers if isinstance(x, Dense | IntegerDense))


def constants(trial):
    graph = onnx.load_from_string(trial.content).graph
    return {c.name: numpy_helper.to_array(c) for c in graph.initializer}


WHOLE = {"prune": 0.75, "sparse": 0.9, "max_drop": 0.05}
SCORES = {
    "digits": lambda truth, got: accuracy_score(truth, got["label"]),
    "tumours": lambda truth, got: roc_auc_score(truth == "malignant", got["probabilities"][:, 1]),
    "progress": lambda truth, got: r2_score(truth, got["value"]),
    "wages": lambda truth, got: roc_auc_score(truth == "yes", got["probabilities"][:, 1]),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCORES)
def test_every_trial_is_judged_by_what_its_file_answers_to_the_validation_rows(kind, tried):
    budget, held, told = tried(kind, **WHOLE)
    assert told == budget.trials
    assert budget.trials[0] is budget.dense is held["fp32"][0]
    records = budget.table.records.take(budget.parts.validation)
    truth = budget.table.target[budget.parts.validation]
    for trial in budget.trials:
        value = SCORES[kind](truth, GraphSession(trial.content).run(records.inputs()))
        assert trial.value == pytest.approx(value, abs=1e-4), trial.name
        assert trial.drop == pytest.approx(budget.dense.value - trial.value)


@pytest.mark.parametrize("kind", SCORES)
def test_of_each_name_those_that_hold_come_smallest_first(kind, tried):
    budget, held, _ = tried(kind, **WHOLE)
    assert set(names(budget.trials)) == {
        "fp32",
        "int8",
        "sparse",
        "pruned",
        "pruned-int8",
        "pruned-int4",
    }
    for name in dict.fromkeys(names(budget.trials)):
        found = held.get(name, [])
        assert set(found) == {
            t for t in budget.trials if t.name == name and t.drop + t.error <= 0.05
        }
        assert [len(t.content) for t in found] == sorted(len(t.content) for t in found)


@pytest.mark.parametrize(
    "kind, metric",
    [
        ("iris", "accuracy"),
        ("tumours", "roc_auc"),
        ("progress", "r2"),
    ],
)
def test_the_metric_is_that_which_led_the_training(kind, metric, tried):
    assert tried(kind, prune="none")[0].metric == metric


@pytest.mark.parametrize(
    "kind, metric",
    [
        ("progress", "accuracy"),
        ("iris", "r2"),
        ("progress", "f1"),
    ],
)
def test_a_metric_of_another_task_is_refused(kind, metric, reopened):
    with pytest.raises(ValueError, match=rf"of this task, out of .*; got {metric}") as error:
        VariantSearch(reopened(kind), CompressionConfig(metric=metric), tell=lambda _: None)
    assert "loss" not in str(error.value)  # of which less is better


def test_another_metric_may_be_asked_for(tried):
    budget, _, _ = tried("tumours", metric="f1", prune="none")
    assert budget.metric == "f1"


def test_what_is_not_asked_for_is_not_tried(tried):
    assert set(names(tried("iris", prune="none")[0].trials)) == {"fp32", "int8"}
    assert names(tried("iris", prune=0.5, int8=False)[0].trials) == ["fp32", "pruned"]


@pytest.mark.parametrize("kind", ["digits", "wages"])
@pytest.mark.parametrize("share", [0.5, 0.75, 0.8])
def test_at_least_the_share_that_was_asked_for_is_removed(kind, share, tried):
    budget, _, _ = tried(kind, prune=share, int8=False)
    (pruned,) = (t for t in budget.trials if t.name == "pruned")
    assert 0.5 * (1 - share) * budget.removable < sizes(pruned) <= (1 - share) * budget.removable
    assert budget.removable == sizes(budget.dense)
    assert len(pruned.content) < len(budget.dense.content)


def test_a_share_that_cannot_be_removed_is_refused_before_the_work(reopened):
    with pytest.raises(ValueError, match=r"to remove of up to 0\.\d+, .*; got 0\.999") as error:
        VariantSearch(reopened("digits"), CompressionConfig(prune=0.999), tell=lambda _: None)
    most = float(str(error.value).split("up to ")[1].split(",")[0])
    VariantSearch(reopened("digits"), CompressionConfig(prune=most), tell=lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["digits", "deep"])
def test_auto_halves_as_long_as_anything_holds_and_there_is_something_to_remove(kind, tried):
    # Deep networks cannot be made as small as others.
    budget, _, _ = tried(kind, max_drop=0.99, epochs=1)
    network = budget.dense.model.network
    levels = [sizes(t) for t in budget.trials if t.name == "pruned"]
    for number, level in enumerate(levels, start=1):
        assert level <= budget.removable * 0.5**number
    end = max(FEWEST_WEIGHTS, count_fewest_parameters(network))
    assert budget.removable * 0.5 ** len(levels) > end
    assert budget.removable * 0.5 ** (len(levels) + 1) <= end


def test_auto_stops_where_nothing_holds_and_tries_once_in_between(tried):
    budget, found, _ = tried("digits", max_drop=0, epochs=1, learning_rate=1e-9, int8=False)
    _, *held, failed, between = budget.trials
    assert failed.drop + failed.error > 0
    assert all(trial.drop + trial.error <= 0 for trial in held)
    share = 0.5 ** len(held)
    assert sizes(failed) <= 0.5 * share * budget.removable
    assert sizes(failed) < sizes(between) <= share / np.sqrt(2) * budget.removable
    assert list(found) == ["fp32", *["pruned"] * bool(held)]


def test_fewer_bits_have_smaller_files_and_so_have_fewer_weights(tried):
    budget, _, _ = tried("digits", **WHOLE)
    size = {trial.name: len(trial.content) for trial in budget.trials}
    assert size["pruned"] < size["fp32"]
    assert size["int8"] < size["fp32"]
    assert size["pruned-int4"] <= size["pruned-int8"] < min(size["pruned"], size["int8"])


def test_sparse_weights_are_zeros_that_only_a_compressed_file_saves(tried):
    budget, _, _ = tried("digits", **WHOLE)
    (sparse,) = (t for t in budget.trials if t.name == "sparse")
    weights = [a for name, a in constants(sparse).items() if a.ndim == 2]
    zeros, all_of_them = (sum(f(a) for a in weights) for f in (lambda a: (a == 0).sum(), np.size))
    assert zeros / all_of_them == pytest.approx(0.9, abs=0.001)
    whole = budget.dense.content
    assert len(gzip.compress(sparse.content)) < 0.5 * len(gzip.compress(whole))
    # The scaling of pixels is gone, else it were as large to the byte.
    assert abs(len(sparse.content) - len(whole)) < 1000


def test_a_reduced_range_has_weights_of_7_bits(tried, monkeypatch):
    for reduced, overflows, bits, most in (
        (True, False, 7, 63),
        (False, True, 8, 127),
        (None, True, 7, 63),
    ):
        monkeypatch.setattr(
            "trainer.compress.variant_search.overflows_with_8_bits", lambda o=overflows: o
        )
        budget, _, _ = tried("iris", prune=0.5, reduce_range=reduced)
        found = {}
        for trial in budget.trials:
            whole = [a for a in constants(trial).values() if a.dtype == np.int8 and a.ndim == 2]
            for array in whole:
                largest = int(np.abs(array.astype(int)).max())
                found[trial.name] = max(found.get(trial.name, 0), largest)
        assert found["int8"] == found["pruned-int8"] == most
        assert found["pruned-int4"] <= 63
        assert {t.bits for t in budget.trials if t.name.endswith("int8")} == {bits}


def test_variants_of_pixels_go_without_the_nodes_that_scale_them(tried):
    budget, _, _ = tried("digits", **WHOLE)
    for trial in budget.trials:
        found = {node.op_type for node in onnx.load_from_string(trial.content).graph.node}
        assert ({"Sub", "Div"} <= found) == (trial is budget.dense)


class Whole(Callback):
    """Whether the numbers of categories that were asked were whole, and anything else was not."""

    def __init__(self):
        self.categories = self.others = True

    def on_step(self, run):
        x = run.batch[0]
        self.categories &= bool((x[:, -1] % 1 == 0).all())
        self.others &= bool((x[:, 0] % 1 == 0).all())


def test_categories_that_are_looked_up_are_not_blended(reopened):
    watch, goal = Whole(), CompressionConfig(epochs=1, prune=0.5, int8=False)
    VariantSearch(reopened("wages"), goal, callbacks=[watch], tell=lambda _: None).search()
    assert (watch.categories, watch.others) == (True, False)


class Runs(Callback):
    def __init__(self):
        self.networks = []

    def on_start(self, run):
        self.networks.append(run.network)


@pytest.mark.parametrize("qat, runs", [(False, 0), (True, 1)])
def test_what_holds_without_is_trained_with_its_rounding_only_if_asked(qat, runs, reopened):
    watch, goal = Runs(), CompressionConfig(prune="none", qat=qat, epochs=1, max_drop=0.2)
    budget = VariantSearch(reopened("iris"), goal, callbacks=[watch], tell=lambda _: None)
    budget.search()
    assert len(watch.networks) == runs
    assert names(budget.trials) == ["fp32", *["int8"] * (1 + runs)]


@pytest.mark.slow
def test_what_does_not_hold_is_trained_with_its_rounding_if_floats_hold_or_it_has_4_bits(tried):
    trials = tried("digits", max_drop=0, epochs=1, prune=0.75)[0].trials
    in_floats = next(trial for trial in trials if trial.name == "pruned")
    assert in_floats.drop + in_floats.error > 0
    for name, trains in (("int8", True), ("pruned-int8", False), ("pruned-int4", True)):
        first, *again = (trial for trial in trials if trial.name == name)
        assert len(again) == (trains and first.drop + first.error > 0), name
    assert max(map(names(trials).count, names(trials))) == 2


def test_the_dense_network_is_left_as_it_is(tried, reopened, made):
    tried("digits", **WHOLE)
    assert made("digits").bundle.read_graph("fp32") == tried("digits", **WHOLE)[0].dense.content
    network = reopened("digits").model.network
    assert len(dense_layers(network)) == 3


@pytest.mark.slow
def test_a_seed_decides_it_all(reopened, tried):
    choices = {"prune": 0.5, "epochs": 1, "max_drop": 0}

    def once(seed):
        budget = VariantSearch(
            reopened("wages"), CompressionConfig(seed=seed, **choices), tell=lambda _: None
        )
        budget.search()
        return [trial.content for trial in budget.trials]

    assert once(1) == once(1) != once(2)


def test_what_was_tried_is_described_as_it_was(tried):
    budget, _, _ = tried("digits", **WHOLE)
    trial, lost = budget.trials[-1], MetricDrop(drop=0.01, interval=(0, 0.02))
    times = budget.race()
    assert set(times) == set(budget.trials)
    assert all(set(found) == {1, 8, 64, 256} for found in times.values())
    dense = budget.dense.described(times[budget.dense], tested=None, kept=True)
    assert (dense.inputs, dense.hidden) == (64, [32, 16])
    assert dense.parameters == 65 * 32 + 33 * 16 + 17 * 10
    found = trial.described(times[trial], tested=lost, kept=False)
    widths = [found.inputs, *found.hidden, 10]
    assert found.parameters == sum((a + 1) * b for a, b in pairwise(widths))
    assert (found.name, found.bits, found.qat) == (trial.name, trial.bits, trial.qat)
    assert (found.drop, found.error, found.tested) == (trial.drop, trial.error, lost)
    assert found.size_bytes == len(trial.content)
    assert found.zipped_bytes == len(gzip.compress(trial.content, mtime=0))
    assert found.latency_us == {str(size): us for size, us in times[trial].items()}


def test_a_drop_comes_with_its_standard_error(tried):
    budget, _, _ = tried("digits", **WHOLE)
    records = budget.table.records.take(budget.parts.validation)
    truth = budget.table.target[budget.parts.validation]
    right = {t: t.model.answers(records)["label"] == truth for t in budget.trials}
    for trial in budget.trials:
        difference = right[budget.dense].astype(float) - right[trial]
        assert trial.drop == pytest.approx(difference.mean(), abs=1e-9)
        assert trial.error == pytest.approx(difference.std() / np.sqrt(len(truth)), rel=0.3)


@pytest.mark.slow
def test_networks_learn_by_the_truth_under_the_noise_of_their_training(reopened, monkeypatch):
    pruned_by, learned = [], []

    def spied_prune(network, x, targets, loss, **given):
        pruned_by.append((x, targets, loss))
        return prune(network, x, targets, loss, **given)

    def spied_distill(*given, learning_rate, silenced, **others):
        learned.append((learning_rate, silenced))
        distill(*given, learning_rate=learning_rate, silenced=silenced, **others)

    monkeypatch.setattr("trainer.compress.variant_search.prune", spied_prune)
    monkeypatch.setattr("trainer.compress.variant_search.distill", spied_distill)
    found = reopened("digits")
    noisy = replace(found, config=found.config.model_copy(update={"input_dropout": 0.3}))
    budget = VariantSearch(
        noisy,
        CompressionConfig(prune=0.5, qat=True, epochs=1, learning_rate=0.03),
        tell=lambda _: None,
    )
    budget.search()
    ((x, targets, loss),) = pruned_by
    assert loss is found.model.loss
    np.testing.assert_array_equal(x, budget.sample.features)
    np.testing.assert_array_equal(targets, budget.sample.targets)
    # int8 with its rounding, the pruned one in floats, and that in 8 and 4 bits
    rates = [0.01, 0.03, 0.01, 0.01]
    assert learned == [(pytest.approx(rate), 0.3) for rate in rates]


def test_a_threshold_is_chosen_anew_for_what_is_compressed(reopened):
    found = reopened("tumours")
    aimed = replace(found, config=found.config.model_copy(update={"aim": "f1"}))
    budget = VariantSearch(aimed, CompressionConfig(prune=0.9, epochs=1), tell=lambda _: None)
    budget.search()
    for trial in budget.trials[1:]:
        again = fit_output_scaling(trial.model, budget.table, budget.parts, aimed.config)
        assert trial.model.threshold == again.model.threshold
    assert len({trial.model.threshold for trial in budget.trials}) > 1


def test_one_whose_answers_overflow_fails_by_itself(reopened, monkeypatch):
    right = Evaluation.of.__func__

    def of(cls, model, *given):
        if any(isinstance(layer, IntegerDense) for layer in model.network.layers):
            raise DataError("an answer overflows")
        return right(cls, model, *given)

    monkeypatch.setattr(Evaluation, "of", classmethod(of))
    budget = VariantSearch(
        reopened("digits"),
        CompressionConfig(prune=0.5, epochs=1, max_drop=0.9),
        tell=lambda _: None,
    )
    assert list(budget.search()) == ["fp32", "pruned"]
    failed = [t for t in budget.trials if t.bits < 32]
    assert failed
    assert [t.drop for t in failed] == pytest.approx([budget.dense.value] * len(failed))
