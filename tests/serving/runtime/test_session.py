"""Sessions of ONNX Runtime: loading and running graphs, threads, telemetry and time limits."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from serving.bundle import Bundle
from serving.runtime import GraphError, GraphSession


@pytest.fixture
def bundle(only_digits):
    return Bundle.open(only_digits / "digits" / "1")


def test_graph_session_not_a_graph_is_refused():
    for content in (b"", b"no graph", b"\x08\x09" * 10):
        with pytest.raises(GraphError, match="cannot load"):
            GraphSession(content)


def test_run_inputs_of_another_graph_are_refused(bundle):
    session = GraphSession(bundle.read_graph("fp32"))
    for inputs in (
        {},
        {"features": np.ones((1, 3), np.float32)},
        {"other": np.ones((1, 1), np.float32)},
    ):
        with pytest.raises(GraphError, match="cannot run"):
            session.run(inputs)


def test_run_starts_no_threads_by_default(bundle):
    before = set(Path("/proc/self/task").iterdir())
    session = GraphSession(bundle.read_graph("fp32"))
    session.run({"features": np.zeros((256, 64), np.float32)})
    assert not set(Path("/proc/self/task").iterdir()) - before


@pytest.mark.usefixtures("processes")
def test_graph_session_turns_telemetry_off_before_the_import():
    script = """
import os, sys
class ImportWatcher:
    def find_spec(self, name, *rest):
        if name == "onnxruntime":
            print("loading with", os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, ImportWatcher())
from serving.runtime import GraphError, GraphSession
try:
    GraphSession(b"no graph")
except GraphError:
    print("loaded")
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "loading with 1\nloaded\n"


@pytest.mark.usefixtures("processes")
def test_run_self_test_writes_nothing_to_the_home_folder(shipped, tmp_path):
    # With its telemetry on, ONNX Runtime creates a database in the home folder immediately.
    script = (
        "import sys, pathlib; from serving import bundle, runtime; "
        "result = runtime.run_self_test(bundle.Bundle.open(pathlib.Path(sys.argv[1])), 'fp32'); "
        "assert result.passed"
    )
    subprocess.run(
        [sys.executable, "-c", script, shipped / "digits" / "1"],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    )
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("run_seconds", [None, 60])
def test_run_refused_inputs_do_not_affect_later_runs(run_seconds, shipped):
    graph = (shipped / "digits" / "1" / "model.onnx").read_bytes()
    session = GraphSession(graph, run_seconds=run_seconds)
    valid = {"features": np.zeros((1, 64), np.float32)}
    expected = session.run(valid)
    with pytest.raises(GraphError, match="ONNX Runtime cannot run the graph") as refused:
        session.run({"features": np.zeros((1, 65), np.float32)})
    assert type(refused.value) is GraphError
    np.testing.assert_equal(session.run(valid), expected)
