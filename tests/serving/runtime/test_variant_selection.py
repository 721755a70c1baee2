"""Selecting the variant to serve, by self-tests, measured times and earlier decisions."""

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
def make_bundle(only_digits):
    """Return a function that makes a bundle. Arguments: variant name = change of the fp32 graph."""

    def make(**changes):
        return Bundle.open(write_variants(only_digits / "digits" / "1", **changes))

    return make


def test_select_variant_only_variant_is_not_timed(make_bundle):
    selection = select_variant(make_bundle(fp32=keep_unchanged))
    assert (selection.variant, selection.reason) == ("fp32", "fp32 is the only variant")
    assert selection.checks["fp32"].passed
    assert selection.checks["fp32"].microseconds == {}


def test_select_variant_fastest_is_selected_and_reason_gives_the_speedup(make_bundle):
    selection = select_variant(make_bundle(fp32=slow_down, int8=keep_unchanged, pruned=slow_down))
    assert selection.variant == "int8"
    (speed,) = re.findall(
        r"^int8 is ([\d.]+) times as fast as fp32 on this machine "
        r"\(batches of 1, 8 and 64 rows\)$",
        selection.reason,
    )
    times = {name: check.microseconds for name, check in selection.checks.items()}
    assert [list(t) for t in times.values()] == [[1, 8, 64]] * 3
    a, b, c = (times["fp32"][size] / times["int8"][size] for size in (1, 8, 64))
    assert float(speed) == pytest.approx((a * b * c) ** (1 / 3), rel=0.01)
    assert float(speed) > 2


def test_select_variant_first_is_preferred_to_a_hardly_faster_one(make_bundle):
    selection = select_variant(
        make_bundle(fp32=keep_unchanged, int8=keep_unchanged, pruned=slow_down)
    )
    assert selection.variant == "fp32"
    assert re.match(
        r"fp32 is served because int8, the fastest of the other variants, is "
        r"(as fast as|\d+ % (fast|slow)er than) fp32 on this machine "
        r"\(batches of 1, 8 and 64 rows\); another variant is served only if it is more than 10 % "
        r"faster$",
        selection.reason,
    )
    assert selection.checks["int8"].passed
    assert selection.checks["pruned"].microseconds[8] > 2 * selection.checks["int8"].microseconds[8]


def test_select_variant_graph_that_fails_while_timed_raises_bundle_error(make_bundle, monkeypatch):
    def fail(*_):
        raise GraphError("it took too long")

    monkeypatch.setattr(serving.runtime.variant_selection, "measure_latencies", fail)
    bundle = make_bundle(fp32=keep_unchanged, int8=keep_unchanged)
    with pytest.raises(BundleError, match=rf"^{bundle.path}: it took too long$"):
        select_variant(bundle)


FP32_SERVED = "fp32 is served because int8, the fastest of the other variants,"
ON_THIS_MACHINE = "on this machine (batches of 1, 8 and 64 rows)"


@pytest.mark.parametrize(
    ("speeds", "variant", "reason"),
    [
        ((1, 1.004), "fp32", f"{FP32_SERVED} is as fast as fp32 on this machine (batches"),
        ((1, 1.09), "fp32", f"{FP32_SERVED} is 9 % faster than fp32 on this machine ("),
        ((1, 0.8), "fp32", f"{FP32_SERVED} is 20 % slower than fp32 on this machine ("),
        ((1, 1.11), "int8", f"int8 is 11 % faster than fp32 {ON_THIS_MACHINE}"),
        ((1, 2), "int8", f"int8 is 2 times as fast as fp32 {ON_THIS_MACHINE}"),
        (
            (1, 3, 3.2),
            "int8",
            f"int8 is 3 times as fast as fp32 {ON_THIS_MACHINE}; pruned is 7 % faster than int8, "
            "which is not enough to prefer it",
        ),
        ((1, 1.05, 3.5), "pruned", f"pruned is 3.5 times as fast as fp32 {ON_THIS_MACHINE}"),
        ((1, 3, 3.31), "pruned", f"pruned is 3.31 times as fast as fp32 {ON_THIS_MACHINE}"),
    ],
)
def test_select_variant_reason_compares_the_measured_times(
    speeds, variant, reason, make_bundle, monkeypatch
):
    names = ("fp32", "int8", "pruned")[: len(speeds)]
    times = {
        name: dict.fromkeys((1, 8, 64), 100 / speed)
        for name, speed in zip(names, speeds, strict=True)
    }
    monkeypatch.setattr("serving.runtime.variant_selection.measure_latencies", lambda *_: times)
    selection = select_variant(make_bundle(**dict.fromkeys(names, keep_unchanged)))
    assert selection.variant == variant
    assert selection.reason.startswith(reason)


@pytest.mark.parametrize("fault", [flip_bit, expect_other_answers])
def test_select_variant_failed_self_test_is_never_selected(fault, make_bundle):
    bundle = make_bundle(fp32=slow_down, int8=keep_unchanged)
    fault(bundle.path, "int8")
    selection = select_variant(Bundle.open(bundle.path))
    assert (selection.variant, selection.reason) == (
        "fp32",
        "fp32 is the only variant that passed its self-test",
    )
    reason = {flip_bit: "model.int8.onnx was altered", expect_other_answers: "does not reproduce"}[
        fault
    ]
    assert reason in selection.checks["int8"].failure
    assert selection.checks["fp32"].microseconds == {}


def test_select_variant_wrong_weights_are_never_selected(make_bundle):
    selection = select_variant(make_bundle(fp32=slow_down, int8=negate_weights))
    assert selection.variant == "fp32"
    assert "does not reproduce its self-test on this CPU" in selection.checks["int8"].failure
    assert selection.checks["int8"].difference.max_abs > 0.1


def test_select_variant_first_fails_others_are_compared_with_the_second(make_bundle):
    bundle = make_bundle(fp32=keep_unchanged, int8=slow_down, pruned=keep_unchanged)
    flip_bit(bundle.path, "fp32")
    selection = select_variant(bundle)
    assert selection.variant == "pruned"
    assert "times as fast as int8 on this machine" in selection.reason


def test_select_variant_none_passes_error_lists_every_failure(make_bundle):
    bundle = make_bundle(fp32=keep_unchanged, int8=negate_weights)
    flip_bit(bundle.path, "fp32")
    with pytest.raises(BundleError, match=r"model.fp32.onnx was altered .*int8 does not reproduce"):
        select_variant(bundle)


def test_select_variant_requested_variant_is_selected_without_timing(make_bundle):
    bundle = make_bundle(fp32=keep_unchanged, int8=slow_down)
    for variant in ("fp32", "int8"):
        selection = select_variant(bundle, variant)
        assert (selection.variant, selection.reason) == (variant, f"{variant} was requested")
        assert not any(check.microseconds for check in selection.checks.values())


def test_select_variant_requested_variant_fails_selects_the_first_that_passes(make_bundle):
    bundle = make_bundle(fp32=keep_unchanged, int8=negate_weights, pruned=keep_unchanged)
    selection = select_variant(bundle, "int8")
    assert (selection.variant, selection.reason) == (
        "fp32",
        "fp32, since int8 fails its self-test here",
    )
    assert not selection.checks["int8"].passed


def test_select_variant_requested_variant_missing_selects_the_fastest(make_bundle):
    selection = select_variant(make_bundle(fp32=slow_down, int8=keep_unchanged), "pruned")
    assert selection.variant == "int8"
    assert selection.reason.endswith(
        "64 rows); pruned was requested, but the bundle has no such variant"
    )


def test_select_variant_decision_of_another_worker_is_followed_without_timing(make_bundle):
    bundle = make_bundle(fp32=slow_down, int8=keep_unchanged)
    first = select_variant(bundle)
    second = select_variant(bundle, decision=first.decision)
    assert first.variant == second.variant == "int8"
    assert first.checks == second.checks  # newly measured times would differ
    assert (first.reason, first.decision) == (second.reason, second.decision)
    assert first.session is not second.session


def test_select_variant_decided_variant_fails_here_selects_another(make_bundle):
    bundle = make_bundle(fp32=slow_down, int8=keep_unchanged)
    decision = select_variant(bundle).decision
    flip_bit(bundle.path, "int8")
    selection = select_variant(bundle, decision=decision)
    assert (selection.variant, selection.reason) == (
        "fp32",
        "fp32, since int8 fails its self-test here",
    )
    assert selection.decision == decision  # the other workers still follow it


def test_select_variant_fixed_batch_size_fails(make_bundle):
    def fix_batch_size(graph):
        model = onnx.load_from_string(graph)
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 132
        return model.SerializeToString()

    selection = select_variant(make_bundle(fp32=keep_unchanged, int8=fix_batch_size))
    assert selection.variant == "fp32"
    assert "cannot run the graph" in selection.checks["int8"].failure


def test_select_variant_graph_that_refuses_a_batch_size_fails_alone(make_bundle):
    selection = select_variant(make_bundle(fp32=keep_unchanged, int8=refuse_row_count))
    assert selection.variant == "fp32"
    assert "ONNX Runtime cannot run the graph" in selection.checks["int8"].failure
