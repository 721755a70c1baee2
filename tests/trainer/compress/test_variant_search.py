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
from trainer.compress.layer_widths import count_min_parameters
from trainer.compress.prune import prune
from trainer.compress.to_dense import list_dense_layers
from trainer.compress.variant_search import MIN_PARAMETERS, VariantSearch
from trainer.data.tables import DataError
from trainer.evaluate import Evaluation
from trainer.nn import Dense, IntegerDense
from trainer.output_scaling import fit_output_scaling
from trainer.training.loop import Callback

ALL_VARIANTS = {"prune": 0.75, "sparse": 0.9, "max_drop": 0.05}
SCORES = {
    "digits": lambda truth, answers: accuracy_score(truth, answers["label"]),
    "tumours": lambda truth, answers: roc_auc_score(
        truth == "malignant", answers["probabilities"][:, 1]
    ),
    "progress": lambda truth, answers: r2_score(truth, answers["value"]),
    "wages": lambda truth, answers: roc_auc_score(truth == "yes", answers["probabilities"][:, 1]),
}


def make_search(trained, callbacks=(), on_trial=lambda _: None, **options):
    config = CompressionConfig(**options)
    return VariantSearch(trained, config, callbacks=callbacks, on_trial=on_trial)


@pytest.fixture(scope="module")
def run_search(load_model):
    """Return a function that runs a search with some options, once.

    It returns the search, the accepted trials, and the trials that `on_trial` was called with.
    """
    searches = {}

    def run(kind, **options):
        key = (kind, *sorted(options.items()))
        if key not in searches:
            reported = []
            options = {"epochs": 1, "batch_size": 64} | options
            search = make_search(load_model(kind), on_trial=reported.append, **options)
            searches[key] = search, search.search(), reported
        return searches[key]

    return run


def list_names(trials):
    return [trial.name for trial in trials]


def count_dense_parameters(trial):
    """Return the number of weights and biases of the dense layers, float or integer."""
    layers = trial.model.network.layers
    return sum(x.W.size + x.b.size for x in layers if isinstance(x, Dense | IntegerDense))


def read_constants(trial):
    graph = onnx.load_from_string(trial.content).graph
    return {c.name: numpy_helper.to_array(c) for c in graph.initializer}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCORES)
def test_search_metric_is_that_of_the_file_on_the_validation_rows(kind, run_search):
    search, accepted, reported = run_search(kind, **ALL_VARIANTS)
    assert reported == search.trials
    assert search.trials[0] is search.original is accepted["fp32"][0]
    records = search.table.records.take(search.split.validation)
    truth = search.table.target[search.split.validation]
    for trial in search.trials:
        value = SCORES[kind](truth, GraphSession(trial.content).run(records.inputs()))
        assert trial.metric_value == pytest.approx(value, abs=1e-4), trial.name
        assert trial.drop == pytest.approx(search.original.metric_value - trial.metric_value)


@pytest.mark.parametrize("kind", SCORES)
def test_search_accepted_trials_of_each_variant_are_sorted_by_size(kind, run_search):
    search, accepted, _ = run_search(kind, **ALL_VARIANTS)
    assert set(list_names(search.trials)) == {
        "fp32",
        "int8",
        "sparse",
        "pruned",
        "pruned-int8",
        "pruned-int4",
    }
    for name in dict.fromkeys(list_names(search.trials)):
        trials = accepted.get(name, [])
        assert set(trials) == {
            t for t in search.trials if t.name == name and t.drop + t.standard_error <= 0.05
        }
        assert [len(t.content) for t in trials] == sorted(len(t.content) for t in trials)


@pytest.mark.parametrize(
    "kind, metric",
    [
        ("iris", "accuracy"),
        ("tumours", "roc_auc"),
        ("progress", "r2"),
    ],
)
def test_search_default_metric_is_the_main_metric_of_the_training(kind, metric, run_search):
    assert run_search(kind, prune="none")[0].metric == metric


@pytest.mark.parametrize(
    "kind, metric",
    [
        ("progress", "accuracy"),
        ("iris", "r2"),
        ("progress", "f1"),
    ],
)
def test_search_metric_of_another_task_is_refused(kind, metric, load_model):
    with pytest.raises(ValueError, match=rf"of this task, one of .*; got {metric}") as error:
        make_search(load_model(kind), metric=metric)
    assert "loss" not in str(error.value)  # The drop of a loss would be an improvement.


def test_search_other_metric_can_be_chosen(run_search):
    search, _, _ = run_search("tumours", metric="f1", prune="none")
    assert search.metric == "f1"


def test_search_options_choose_the_variants(run_search):
    assert set(list_names(run_search("iris", prune="none")[0].trials)) == {"fp32", "int8"}
    trials = run_search("iris", prune=0.5, int8=False)[0].trials
    assert list_names(trials) == ["fp32", "pruned"]


@pytest.mark.parametrize("kind", ["digits", "wages"])
@pytest.mark.parametrize("share", [0.5, 0.75, 0.8])
def test_search_prune_removes_at_least_the_share(kind, share, run_search):
    search, _, _ = run_search(kind, prune=share, int8=False)
    (pruned,) = (t for t in search.trials if t.name == "pruned")
    limit = (1 - share) * search.n_prunable_parameters
    assert 0.5 * limit < count_dense_parameters(pruned) <= limit
    assert search.n_prunable_parameters == count_dense_parameters(search.original)
    assert len(pruned.content) < len(search.original.content)


def test_search_share_that_cannot_be_removed_is_refused_before_training(load_model):
    message = r"remove at most a share of 0\.\d+ of the weights: .*; got 0\.999"
    with pytest.raises(ValueError, match=message) as error:
        make_search(load_model("digits"), prune=0.999)
    max_share = float(str(error.value).split("a share of ")[1].split(" ")[0])
    make_search(load_model("digits"), prune=max_share)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["digits", "deep"])
def test_search_auto_halves_down_to_the_smallest_network(kind, run_search):
    # A deep network cannot be made as small as others.
    search, _, _ = run_search(kind, max_drop=0.99, epochs=1)
    sizes = [count_dense_parameters(t) for t in search.trials if t.name == "pruned"]
    for number, size in enumerate(sizes, start=1):
        assert size <= search.n_prunable_parameters * 0.5**number
    smallest = max(MIN_PARAMETERS, count_min_parameters(search.original.model.network))
    assert search.n_prunable_parameters * 0.5 ** len(sizes) > smallest
    assert search.n_prunable_parameters * 0.5 ** (len(sizes) + 1) <= smallest


def test_search_auto_rejected_size_tries_one_in_between(run_search):
    search, by_name, _ = run_search("digits", max_drop=0, epochs=1, learning_rate=1e-9, int8=False)
    _, *accepted, rejected, between = search.trials
    assert rejected.drop + rejected.standard_error > 0
    assert all(trial.drop + trial.standard_error <= 0 for trial in accepted)
    share = 0.5 ** len(accepted)
    n_parameters = search.n_prunable_parameters
    assert count_dense_parameters(rejected) <= 0.5 * share * n_parameters
    assert count_dense_parameters(rejected) < count_dense_parameters(between)
    assert count_dense_parameters(between) <= share / np.sqrt(2) * n_parameters
    assert list(by_name) == ["fp32", *["pruned"] * bool(accepted)]


def test_search_fewer_bits_and_fewer_weights_make_smaller_files(run_search):
    search, _, _ = run_search("digits", **ALL_VARIANTS)
    size = {trial.name: len(trial.content) for trial in search.trials}
    assert size["pruned"] < size["fp32"]
    assert size["int8"] < size["fp32"]
    assert size["pruned-int4"] <= size["pruned-int8"] < min(size["pruned"], size["int8"])


def test_search_sparse_only_makes_the_compressed_file_smaller(run_search):
    search, _, _ = run_search("digits", **ALL_VARIANTS)
    (sparse,) = (t for t in search.trials if t.name == "sparse")
    weights = [array for array in read_constants(sparse).values() if array.ndim == 2]
    n_zeros = sum((array == 0).sum() for array in weights)
    assert n_zeros / sum(array.size for array in weights) == pytest.approx(0.9, abs=0.001)
    original = search.original.content
    assert len(gzip.compress(sparse.content)) < 0.5 * len(gzip.compress(original))
    # The folded scaling makes the file a little smaller.
    assert abs(len(sparse.content) - len(original)) < 1000


def test_search_reduced_range_has_weights_of_7_bits(run_search, monkeypatch):
    for reduce_range, has_overflow, bits, max_weight in (
        (True, False, 7, 63),
        (False, True, 8, 127),
        (None, True, 7, 63),
    ):
        monkeypatch.setattr(
            "trainer.compress.variant_search.has_int8_overflow", lambda value=has_overflow: value
        )
        search, _, _ = run_search("iris", prune=0.5, reduce_range=reduce_range)
        max_weights = {}
        for trial in search.trials:
            arrays = read_constants(trial).values()
            for array in (a for a in arrays if a.dtype == np.int8 and a.ndim == 2):
                largest = int(np.abs(array.astype(int)).max())
                max_weights[trial.name] = max(max_weights.get(trial.name, 0), largest)
        assert max_weights["int8"] == max_weights["pruned-int8"] == max_weight
        assert max_weights["pruned-int4"] <= 63
        assert {t.bits for t in search.trials if t.name.endswith("int8")} == {bits}


def test_search_variants_of_pixels_have_no_scaling_nodes(run_search):
    search, _, _ = run_search("digits", **ALL_VARIANTS)
    for trial in search.trials:
        operators = {node.op_type for node in onnx.load_from_string(trial.content).graph.node}
        assert ({"Sub", "Div"} <= operators) == (trial is search.original)


class IntegerRecorder(Callback):
    """Record whether all values of the last and of the first column were integers."""

    def __init__(self):
        self.is_last_integer = self.is_first_integer = True

    def on_step(self, run):
        x = run.batch[0]
        self.is_last_integer &= bool((x[:, -1] % 1 == 0).all())
        self.is_first_integer &= bool((x[:, 0] % 1 == 0).all())


def test_search_embedded_categories_are_not_mixed(load_model):
    recorder = IntegerRecorder()
    make_search(load_model("wages"), [recorder], epochs=1, prune=0.5, int8=False).search()
    assert (recorder.is_last_integer, recorder.is_first_integer) == (True, False)


class RunRecorder(Callback):
    def __init__(self):
        self.networks = []

    def on_start(self, run):
        self.networks.append(run.network)


@pytest.mark.parametrize("qat, n_runs", [(False, 0), (True, 1)])
def test_search_accepted_variant_is_trained_only_with_the_option_qat(qat, n_runs, load_model):
    recorder = RunRecorder()
    search = make_search(
        load_model("iris"), [recorder], prune="none", qat=qat, epochs=1, max_drop=0.2
    )
    search.search()
    assert len(recorder.networks) == n_runs
    assert list_names(search.trials) == ["fp32", *["int8"] * (1 + n_runs)]


@pytest.mark.slow
def test_search_rejected_variant_is_trained_if_float32_is_accepted_or_it_has_4_bits(run_search):
    trials = run_search("digits", max_drop=0, epochs=1, prune=0.75)[0].trials
    pruned = next(trial for trial in trials if trial.name == "pruned")
    assert pruned.drop + pruned.standard_error > 0
    for name, is_trained in (("int8", True), ("pruned-int8", False), ("pruned-int4", True)):
        first, *trained = (trial for trial in trials if trial.name == name)
        is_rejected = first.drop + first.standard_error > 0
        assert len(trained) == (is_trained and is_rejected), name
    assert max(map(list_names(trials).count, list_names(trials))) == 2


def test_search_does_not_change_the_original_network(run_search, load_model, train_bundle):
    search, _, _ = run_search("digits", **ALL_VARIANTS)
    assert train_bundle("digits").bundle.read_graph("fp32") == search.original.content
    assert len(list_dense_layers(load_model("digits").model.network)) == 3


@pytest.mark.slow
def test_search_same_seed_same_files(load_model):
    def list_contents(seed):
        search = make_search(load_model("wages"), seed=seed, prune=0.5, epochs=1, max_drop=0)
        search.search()
        return [trial.content for trial in search.trials]

    assert list_contents(1) == list_contents(1) != list_contents(2)


def test_trial_to_candidate_has_the_facts_of_the_trial(run_search):
    search, _, _ = run_search("digits", **ALL_VARIANTS)
    trial, test_drop = search.trials[-1], MetricDrop(drop=0.01, interval=(0, 0.02))
    latencies_us = search.measure_latencies()
    assert set(latencies_us) == set(search.trials)
    assert all(set(by_size) == {1, 8, 64, 256} for by_size in latencies_us.values())
    original = search.original.to_candidate(
        latencies_us[search.original], test_drop=None, is_kept=True
    )
    assert (original.inputs, original.hidden) == (64, [32, 16])
    assert original.parameters == 65 * 32 + 33 * 16 + 17 * 10
    candidate = trial.to_candidate(latencies_us[trial], test_drop=test_drop, is_kept=False)
    widths = [candidate.inputs, *candidate.hidden, 10]
    assert candidate.parameters == sum((a + 1) * b for a, b in pairwise(widths))
    assert (candidate.name, candidate.bits) == (trial.name, trial.bits)
    assert (candidate.qat, candidate.kept) == (trial.is_qat, False)
    assert (candidate.drop, candidate.error) == (trial.drop, trial.standard_error)
    assert candidate.tested == test_drop
    assert candidate.size_bytes == len(trial.content)
    assert candidate.zipped_bytes == len(gzip.compress(trial.content, mtime=0))
    assert candidate.latency_us == {str(size): us for size, us in latencies_us[trial].items()}


def test_search_drop_has_its_standard_error(run_search):
    search, _, _ = run_search("digits", **ALL_VARIANTS)
    records = search.table.records.take(search.split.validation)
    truth = search.table.target[search.split.validation]
    is_correct = {t: t.model.answers(records)["label"] == truth for t in search.trials}
    for trial in search.trials:
        difference = is_correct[search.original].astype(float) - is_correct[trial]
        standard_error = difference.std() / np.sqrt(len(truth))
        assert trial.drop == pytest.approx(difference.mean(), abs=1e-9)
        assert trial.standard_error == pytest.approx(standard_error, rel=0.3)


@pytest.mark.slow
def test_search_prunes_by_true_targets_and_distills_with_input_dropout(load_model, monkeypatch):
    prune_calls, distill_calls = [], []

    def record_prune(network, x, targets, loss, **options):
        prune_calls.append((x, targets, loss))
        return prune(network, x, targets, loss, **options)

    def record_distill(*arguments, learning_rate, input_dropout, **options):
        distill_calls.append((learning_rate, input_dropout))
        distill(*arguments, learning_rate=learning_rate, input_dropout=input_dropout, **options)

    monkeypatch.setattr("trainer.compress.variant_search.prune", record_prune)
    monkeypatch.setattr("trainer.compress.variant_search.distill", record_distill)
    trained = load_model("digits")
    config = trained.config.model_copy(update={"input_dropout": 0.3})
    search = make_search(
        replace(trained, config=config), prune=0.5, qat=True, epochs=1, learning_rate=0.03
    )
    search.search()
    ((x, targets, loss),) = prune_calls
    assert loss is trained.model.loss
    np.testing.assert_array_equal(x, search.sample_rows.features)
    np.testing.assert_array_equal(targets, search.sample_rows.targets)
    # The trainings of int8, of the pruned network, and of the pruned network in 8 and 4 bits.
    rates = [0.01, 0.03, 0.01, 0.01]
    assert distill_calls == [(pytest.approx(rate), 0.3) for rate in rates]


def test_search_each_variant_has_its_own_threshold(load_model):
    trained = load_model("tumours")
    config = trained.config.model_copy(update={"aim": "f1"})
    search = make_search(replace(trained, config=config), prune=0.9, epochs=1)
    search.search()
    for trial in search.trials[1:]:
        expected = fit_output_scaling(trial.model, search.table, search.split, config)
        assert trial.model.threshold == expected.model.threshold
    assert len({trial.model.threshold for trial in search.trials}) > 1


def test_search_variant_with_overflowing_answers_is_rejected(load_model, monkeypatch):
    evaluate = Evaluation.from_model.__func__

    def evaluate_float_networks(cls, model, *arguments):
        if any(isinstance(layer, IntegerDense) for layer in model.network.layers):
            raise DataError("an answer overflows")
        return evaluate(cls, model, *arguments)

    monkeypatch.setattr(Evaluation, "from_model", classmethod(evaluate_float_networks))
    search = make_search(load_model("digits"), prune=0.5, epochs=1, max_drop=0.9)
    assert list(search.search()) == ["fp32", "pruned"]
    rejected = [t for t in search.trials if t.bits < 32]
    assert rejected
    drops = [t.drop for t in rejected]
    assert drops == pytest.approx([search.original.metric_value] * len(rejected))
