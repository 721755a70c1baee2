import hashlib
import itertools
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from serving.bundle import Bundle, SelfTest
from serving.runtime import (
    MAX_TIMING_SECONDS,
    GraphError,
    GraphSession,
    compare_outputs,
    measure_latencies,
    run_self_test,
)
from serving.runtime import latency_profile as timing
from tests.variants import keep_unchanged, slow_down, write_variants

N_GOLDEN = 132  # rows of the shipped self-test


@pytest.fixture
def bundle(only_digits):
    return Bundle.open(only_digits / "digits" / "1")


def f32(*rows):
    return np.array(rows, np.float32)


def test_the_shipped_bundle_reproduces_here(shipped):
    proof = run_self_test(Bundle.open(shipped / "digits" / "1"), "fp32")
    assert proof.passed
    assert proof.failure == ""
    assert proof.difference.rows >= 100
    assert proof.difference.label_agreement == 1


def test_a_graph_that_is_none_is_refused():
    for content in (b"", b"no graph", b"\x08\x09" * 10):
        with pytest.raises(GraphError, match="does not load"):
            GraphSession(content)


def test_inputs_that_do_not_fit_are_refused(bundle):
    session = GraphSession(bundle.read_graph("fp32"))
    for inputs in ({}, {"features": np.ones((1, 3), np.float32)}, {"other": f32([1])}):
        with pytest.raises(GraphError, match="does not run"):
            session.run(inputs)


def test_one_thread_by_default(bundle):
    before = set(Path("/proc/self/task").iterdir())
    session = GraphSession(bundle.read_graph("fp32"))
    session.run({"features": np.zeros((256, 64), np.float32)})
    assert not set(Path("/proc/self/task").iterdir()) - before


def test_differences_are_measured():
    expected = {"label": np.array([1, 2]), "p": f32([0.5, 0.25], [1, 0])}
    got = {"label": np.array([1, 3]), "p": f32([0.5, 0.25], [0.5, 0])}
    found = compare_outputs(got, expected, {"p": f32([1, 1], [1, 1])})
    assert (found.rows, found.max_abs, found.max_rel, found.label_agreement) == (2, 0.5, 0.5, 0.5)
    assert not found.is_within_tolerance  # a label differs


def test_each_value_has_its_own_tolerance():
    expected = {"p": f32([1, 2])}
    got = {"p": f32([1.5, 2])}
    assert compare_outputs(got, expected, {"p": f32([0.5, 0])}).is_within_tolerance
    assert not compare_outputs(got, expected, {"p": f32([0.4, 9])}).is_within_tolerance


def test_nan_is_within_no_tolerance():
    expected = {"p": f32([1, 1])}
    found = compare_outputs({"p": f32([np.nan, 1])}, expected, {"p": f32([1e30, 1e30])})
    assert not found.is_within_tolerance
    assert found.max_abs == found.max_rel == np.inf


def test_another_face_is_refused():
    expected = {"p": f32([1, 2])}
    for got in ({}, {"p": f32([1, 2, 3])}, {"p": np.array([["a", "b"]])}):
        with pytest.raises(GraphError, match="expected p as float32"):
            compare_outputs(got, expected, {"p": f32([0, 0])})


def rewrite_selftest(bundle, change):
    """Another self-test, with the manifest's sum adjusted: as a faulty exporter would."""
    selftest = bundle.read_selftest()
    change(selftest)
    content = selftest.to_bytes()
    (bundle.path / "selftest.npz").write_bytes(content)
    files = bundle.manifest.files | {"selftest.npz": hashlib.sha256(content).hexdigest()}
    manifest = bundle.manifest.model_copy(update={"files": files})
    (bundle.path / "bundle.json").write_text(manifest.model_dump_json())
    return Bundle.open(bundle.path)


def a_probability_off(selftest):
    selftest.expected["fp32"].outputs["probabilities"][5, 3] += 1e-2


def a_label_off(selftest):
    label = selftest.expected["fp32"].outputs["label"]
    label[7] = (label[7] + 1) % 10


@pytest.mark.parametrize("fault", [a_probability_off, a_label_off])
def test_a_variant_that_does_not_reproduce_is_refused_with_the_reason(fault, bundle):
    proof = run_self_test(rewrite_selftest(bundle, fault), "fp32")
    assert not proof.passed
    assert proof.session is None
    assert "does not reproduce its self-test on this CPU" in proof.failure


@pytest.mark.parametrize(
    "tolerances",
    [
        {},
        {"probabilities": np.ones((3, 2))},
        {"probabilities": np.array("x")},
        {"probabilities": np.full((N_GOLDEN, 10), np.inf)},
        {"probabilities": -np.ones((N_GOLDEN, 10))},
        {"probabilities": np.ones((N_GOLDEN, 10)), "label": np.ones(N_GOLDEN)},
    ],
)
def test_tolerances_that_are_none_are_refused(tolerances, bundle):
    def change(selftest):
        assert len(selftest.inputs["features"]) == N_GOLDEN
        selftest.expected["fp32"].tolerances.clear()
        selftest.expected["fp32"].tolerances.update(tolerances)

    assert (
        "expected finite tolerances"
        in run_self_test(rewrite_selftest(bundle, change), "fp32").failure
    )


def test_an_untested_variant_is_refused(bundle):
    proof = run_self_test(rewrite_selftest(bundle, lambda s: s.expected.clear()), "fp32")
    assert "the self-test expects nothing of fp32" in proof.failure


@pytest.mark.parametrize(("rows", "passed"), [(0, False), (7, False), (8, True)])
def test_a_few_golden_rows_prove_nothing(rows, passed, bundle):
    def shorten(selftest: SelfTest) -> None:
        selftest.inputs["features"] = selftest.inputs["features"][:rows]
        expected = selftest.expected["fp32"]
        for arrays in (expected.outputs, expected.tolerances):
            arrays.update({name: array[:rows] for name, array in arrays.items()})

    proof = run_self_test(rewrite_selftest(bundle, shorten), "fp32")
    assert proof.passed == passed
    assert passed or f"at least 8 golden rows to prove it by; got {rows}" in proof.failure


def edit_manifest(bundle, **changes):
    manifest = bundle.manifest.model_copy(update=changes)
    (bundle.path / "bundle.json").write_text(manifest.model_dump_json())
    return Bundle.open(bundle.path)


def test_a_manifest_that_promises_other_inputs_or_answers_is_refused(bundle):
    fewer = edit_manifest(bundle, inputs=bundle.manifest.inputs[:-1])
    assert "expected golden rows of 63 features" in run_self_test(fewer, "fp32").failure
    classes = edit_manifest(bundle, classes=list(range(11)))
    assert "expected answers of the shapes" in run_self_test(classes, "fp32").failure
    task = edit_manifest(bundle, classes=None)
    assert "'value': (" in run_self_test(task, "fp32").failure


def test_an_altered_graph_is_refused(bundle):
    path = bundle.path / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    assert "model.onnx was altered after export" in run_self_test(bundle, "fp32").failure


def test_graphs_are_timed_at_every_size(bundle):
    write_variants(bundle.path, fp32=keep_unchanged, slow=slow_down)
    bundle = Bundle.open(bundle.path)
    sessions = {name: GraphSession(bundle.read_graph(name)) for name in bundle.manifest.variants}
    found = measure_latencies(sessions, bundle.read_selftest().inputs, (1, 300))
    assert list(found) == ["fp32", "slow"]
    assert all(list(times) == [1, 300] for times in found.values())
    assert all(0 < found["fp32"][size] < found["slow"][size] for size in (1, 300))
    assert found["fp32"][1] < found["fp32"][300]


def test_a_table_of_mixed_columns_can_be_timed(adults):
    bundle = Bundle.open(adults / "adults" / "1")
    times = measure_latencies(
        {"it": GraphSession(bundle.read_graph("fp32"))}, bundle.read_selftest().inputs
    )["it"]
    assert list(times) == [1, 8, 64, 256]


def test_the_time_of_a_graph_is_the_median_of_its_runs(monkeypatch):
    monkeypatch.setattr(timing, "MAX_TIMED_RUNS", 5)
    lengths = iter([7.0, 1.0, 2.0, 90.0, 3.0])  # seconds of the runs that are timed
    now, timed = [0.0], itertools.cycle([False, True])

    class Clocked:
        def run(self, rows):
            now[0] += next(lengths) if next(timed) else 1000.0

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timing, "MAX_TIMING_SECONDS", 1e9)
    assert measure_latencies({"a": Clocked()}, {"features": np.ones((1, 2))}, (8,)) == {
        "a": {8: 3e6}
    }


@pytest.mark.slow
def test_graphs_take_turns_and_no_longer_than_they_may():
    turns = []

    class Heavy:
        def __init__(self, name):
            self.name = name

        def run(self, rows):
            time.sleep(0.02)
            turns.append((self.name, len(rows["features"])))

    found = measure_latencies(
        {"a": Heavy("a"), "b": Heavy("b")}, {"features": np.ones((3, 2))}, (1, 8)
    )
    # Each stops at the first turn after its time, of which four runs take 80 ms or more.
    assert len(turns) <= 2 * 4 * (1 + math.ceil(MAX_TIMING_SECONDS / 0.08))
    # Each turn is two runs, the second of which is timed.
    assert [name for name, _ in turns] == ["a", "a", "b", "b"] * (len(turns) // 4)
    assert {rows for _, rows in turns} == {1, 8}
    assert all(median >= 20_000 for times in found.values() for median in times.values())


@pytest.mark.usefixtures("processes")
def test_telemetry_is_off_before_onnx_runtime_loads():
    watch = """
import os, sys
class Watch:
    def find_spec(self, name, *rest):
        if name == "onnxruntime":
            print("loading with", os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
from serving.runtime import GraphError, GraphSession
try:
    GraphSession(b"no graph")
except GraphError:
    print("loaded")
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    done = subprocess.run(
        [sys.executable, "-c", watch], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "loading with 1\nloaded\n"


@pytest.mark.usefixtures("processes")
def test_loading_and_answering_leaves_no_trace_at_home(shipped, tmp_path):
    # ONNX Runtime's telemetry keeps a database there; without our setting it does so at once.
    answer = (
        "import sys, pathlib; from serving import bundle, runtime; "
        "p = runtime.run_self_test(bundle.Bundle.open(pathlib.Path(sys.argv[1])), 'fp32'); "
        "assert p.passed"
    )
    subprocess.run(
        [sys.executable, "-c", answer, shipped / "digits" / "1"],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    )
    assert list(tmp_path.rglob("*")) == []


def test_a_table_of_mixed_columns_reproduces_here(adults):
    proof = run_self_test(Bundle.open(adults / "adults" / "1"), "fp32")
    assert proof.failure == ""
    assert proof.session.inputs == {
        "age": "float32",
        "hours/week": "float32",
        "member": "float32",
        "work": "str",
        "grade": "str",
        "since": "float64",
    }


def mixed_reason(folder, mixed, **parts):
    mixed.write(folder / "models", **parts)
    return run_self_test(Bundle.open(folder / "models" / "adults" / "1"), "fp32").failure


def test_a_graph_whose_inputs_are_not_the_manifests_is_refused(tmp_path, mixed):
    work = next(column for column in mixed.columns if column["name"] == "work")
    date = next(column for column in mixed.columns if column["name"] == "since")
    rest = [c for c in mixed.columns if c not in (work, date)]
    fewer = mixed.graph([work, *rest])
    reason = mixed_reason(tmp_path / "fewer", mixed, graph=fewer)
    assert "those of the manifest, 'since' as float64; got no such input" in reason
    more = {"inputs": [*rest, work], "example": {}}
    selftest = Bundle.open(mixed.write(tmp_path / "whole")).read_selftest()
    del selftest.inputs["since"]
    reason = mixed_reason(tmp_path / "more", mixed, selftest=selftest, **more)
    assert "'since' as none of them; got float64" in reason
    other = mixed.graph([*rest, work, {**date, "type": "number"}])
    reason = mixed_reason(tmp_path / "other", mixed, graph=other)
    assert "'since' as float64; got float32" in reason


def without_a_column(inputs):
    del inputs["age"]


def another_dtype(inputs):
    inputs["age"] = inputs["age"].astype(np.float64)


def numbers_for_texts(inputs):
    inputs["work"] = np.zeros((32, 1), np.float32)


def no_column(inputs):
    inputs["age"] = inputs["age"][:, 0]


def a_row_less(inputs):
    inputs["age"] = inputs["age"][1:]


def a_scalar(inputs):
    inputs["age"] = np.float32(1)


@pytest.mark.parametrize(
    "fault",
    [without_a_column, another_dtype, numbers_for_texts, no_column, a_row_less, a_scalar],
)
def test_golden_rows_of_other_columns_are_refused(fault, adults, tmp_path, mixed):
    selftest = Bundle.open(adults / "adults" / "1").read_selftest()
    fault(selftest.inputs)
    reason = mixed_reason(tmp_path, mixed, selftest=selftest)
    assert "expected golden rows of 6 features, as the manifest lists; got " in reason


@pytest.mark.parametrize("run_seconds", [None, 60])
def test_session_run_of_other_inputs_is_refused_whether_or_not_it_is_watched(run_seconds, shipped):
    graph = (shipped / "digits" / "1" / "model.onnx").read_bytes()
    session = GraphSession(graph, run_seconds=run_seconds)
    right = {"features": np.zeros((1, 64), np.float32)}
    expected = session.run(right)
    with pytest.raises(GraphError, match="ONNX Runtime does not run the graph") as refused:
        session.run({"features": np.zeros((1, 65), np.float32)})
    assert type(refused.value) is GraphError
    np.testing.assert_equal(session.run(right), expected)
