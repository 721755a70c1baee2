import re

import onnx
import pytest

import serving.runtime.variant_selection
from serving.bundle import Bundle, BundleError
from serving.runtime import GraphError
from serving.runtime.variant_selection import select_variant
from tests.variants import (
    expect_other_answers,
    flip_bit,
    keep_unchanged,
    negate_weights,
    refuse_row_count,
    slow_down,
    write_variants,
)


@pytest.fixture
def made(only_digits):
    """A bundle of the variants named, each its fp32 graph changed so."""

    def make(**changes):
        return Bundle.open(write_variants(only_digits / "digits" / "1", **changes))

    return make


def test_the_only_variant_is_served_and_not_timed(made):
    choice = select_variant(made(fp32=keep_unchanged))
    assert (choice.variant, choice.reason) == ("fp32", "fp32 is the only variant")
    assert choice.checks["fp32"].passed
    assert choice.checks["fp32"].microseconds == {}


def test_the_fastest_is_served_and_the_reason_says_how_fast(made):
    choice = select_variant(made(fp32=slow_down, int8=keep_unchanged, pruned=slow_down))
    assert choice.variant == "int8"
    (speed,) = re.findall(
        r"^int8 is ([\d.]+) times as fast as fp32 here, over batches of 1, 8 and 64 "
        r"rows$",
        choice.reason,
    )
    times = {name: trial.microseconds for name, trial in choice.checks.items()}
    assert [list(t) for t in times.values()] == [[1, 8, 64]] * 3
    a, b, c = (times["fp32"][size] / times["int8"][size] for size in (1, 8, 64))
    assert float(speed) == pytest.approx((a * b * c) ** (1 / 3), rel=0.01)
    assert float(speed) > 2


def test_the_first_is_preferred_to_one_that_is_hardly_faster(made):
    choice = select_variant(made(fp32=keep_unchanged, int8=keep_unchanged, pruned=slow_down))
    assert choice.variant == "fp32"
    assert re.match(
        r"fp32: int8, the fastest of the others, is (as fast as|\d+ % (fast|slow)er than) it here, "
        r"over batches of 1, 8 and 64 rows; another variant is served only if it is more than 10 % "
        r"faster$",
        choice.reason,
    )
    assert choice.checks["int8"].passed
    assert choice.checks["pruned"].microseconds[8] > 2 * choice.checks["int8"].microseconds[8]


def test_a_graph_that_fails_while_it_is_timed_is_a_fault_of_its_bundle(made, monkeypatch):
    def fail(*_):
        raise GraphError("it took too long")

    monkeypatch.setattr(serving.runtime.variant_selection, "measure_latencies", fail)
    bundle = made(fp32=keep_unchanged, int8=keep_unchanged)
    with pytest.raises(BundleError, match=rf"^{bundle.path}: it took too long$"):
        select_variant(bundle)


@pytest.mark.parametrize(
    ("speeds", "variant", "why"),
    [
        ((1, 1.004), "fp32", "fp32: int8, the fastest of the others, is as fast as it here, over"),
        ((1, 1.09), "fp32", "fp32: int8, the fastest of the others, is 9 % faster than it here"),
        ((1, 0.8), "fp32", "fp32: int8, the fastest of the others, is 20 % slower than it here"),
        ((1, 1.11), "int8", "int8 is 11 % faster than fp32 here, over batches of 1, 8 and 64 rows"),
        ((1, 2), "int8", "int8 is 2 times as fast as fp32 here, over batches of 1, 8 and 64 rows"),
        (
            (1, 3, 3.2),
            "int8",
            "int8 is 3 times as fast as fp32 here, over batches of 1, 8 and 64 rows; pruned is 7 % "
            "faster than int8, which is too little to prefer it",
        ),
        ((1, 1.05, 3.5), "pruned", "pruned is 3.5 times as fast as fp32 here, over"),
        ((1, 3, 3.31), "pruned", "pruned is 3.31 times as fast as fp32 here, over"),
    ],
)
def test_the_reason_compares_measured_times_in_words(speeds, variant, why, made, monkeypatch):
    names = ("fp32", "int8", "pruned")[: len(speeds)]
    times = {
        name: dict.fromkeys((1, 8, 64), 100 / speed)
        for name, speed in zip(names, speeds, strict=True)
    }
    monkeypatch.setattr(
        "serving.runtime.variant_selection.measure_latencies", lambda *_: times
    )  # as measured
    choice = select_variant(made(**dict.fromkeys(names, keep_unchanged)))
    assert choice.variant == variant
    assert choice.reason.startswith(why)


@pytest.mark.parametrize("fault", [flip_bit, expect_other_answers])
def test_a_variant_that_fails_is_not_served_however_fast(fault, made):
    bundle = made(fp32=slow_down, int8=keep_unchanged)
    fault(bundle.path, "int8")
    choice = select_variant(Bundle.open(bundle.path))
    assert (choice.variant, choice.reason) == ("fp32", "fp32 alone passed its self-test")
    reason = {flip_bit: "model.int8.onnx was altered", expect_other_answers: "does not reproduce"}[
        fault
    ]
    assert reason in choice.checks["int8"].reason
    assert choice.checks["fp32"].microseconds == {}


def test_one_of_other_weights_is_not_served(made):
    choice = select_variant(made(fp32=slow_down, int8=negate_weights))
    assert choice.variant == "fp32"
    assert "does not reproduce its self-test on this CPU" in choice.checks["int8"].reason
    assert choice.checks["int8"].difference.max_abs > 0.1


def test_without_the_first_the_others_are_compared_with_the_next(made):
    bundle = made(fp32=keep_unchanged, int8=slow_down, pruned=keep_unchanged)
    flip_bit(bundle.path, "fp32")
    choice = select_variant(bundle)
    assert choice.variant == "pruned"
    assert "times as fast as int8 here, over" in choice.reason


def test_with_none_that_passes_every_reason_is_given(made):
    bundle = made(fp32=keep_unchanged, int8=negate_weights)
    flip_bit(bundle.path, "fp32")
    with pytest.raises(BundleError, match=r"model.fp32.onnx was altered .*int8 does not reproduce"):
        select_variant(bundle)


def test_one_that_is_asked_for_is_served_and_nothing_timed(made):
    bundle = made(fp32=keep_unchanged, int8=slow_down)
    for variant in ("fp32", "int8"):
        choice = select_variant(bundle, variant)
        assert (choice.variant, choice.reason) == (variant, f"{variant}, as asked for")
        assert not any(trial.microseconds for trial in choice.checks.values())


def test_one_that_is_asked_for_and_fails_gives_way_to_the_first_that_passes(made):
    bundle = made(fp32=keep_unchanged, int8=negate_weights, pruned=keep_unchanged)
    choice = select_variant(bundle, "int8")
    assert (choice.variant, choice.reason) == ("fp32", "fp32, since int8 fails its self-test here")
    assert not choice.checks["int8"].passed


def test_one_that_is_not_there_leaves_the_choice_free_and_is_said(made):
    choice = select_variant(made(fp32=slow_down, int8=keep_unchanged), "pruned")
    assert choice.variant == "int8"
    assert choice.reason.endswith("64 rows; there is no pruned, which was asked for")


def test_who_is_given_a_verdict_abides_by_it_and_times_nothing(made):
    bundle = made(fp32=slow_down, int8=keep_unchanged)
    first = select_variant(bundle)
    second = select_variant(bundle, decision=first.verdict)
    assert first.variant == second.variant == "int8"
    assert first.trials == second.trials  # whose figures would not be alike, were they measured
    assert (first.why, first.verdict) == (second.why, second.verdict)
    assert first.session is not second.session


def test_a_verdict_that_fails_here_gives_way(made):
    bundle = made(fp32=slow_down, int8=keep_unchanged)
    verdict = select_variant(bundle).verdict
    flip_bit(bundle.path, "int8")
    choice = select_variant(bundle, decision=verdict)
    assert (choice.variant, choice.reason) == ("fp32", "fp32, since int8 fails its self-test here")
    assert choice.decision == verdict  # as the others serve it


def test_a_graph_of_a_fixed_batch_size_is_refused(made):
    def fixed(graph):
        model = onnx.load_from_string(graph)
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 132
        return model.SerializeToString()

    choice = select_variant(made(fp32=keep_unchanged, int8=fixed))
    assert choice.variant == "fp32"
    assert "does not run the graph" in choice.checks["int8"].reason


def test_one_that_refuses_some_number_of_rows_fails_by_itself(made):
    choice = select_variant(made(fp32=keep_unchanged, int8=refuse_row_count))
    assert choice.variant == "fp32"
    assert "ONNX Runtime does not run the graph" in choice.checks["int8"].reason
