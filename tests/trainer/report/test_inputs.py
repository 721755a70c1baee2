import json
import shutil
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

from serving.bundle import CompressionCandidate, CompressionSummary
from trainer.cli import main
from trainer.compress.run import CompressionResult
from trainer.report import ReportInputs


@pytest.fixture
def runs(train_example, tmp_path):
    """Return a copy of the folder with the run of the first version."""
    shutil.copytree(train_example("digits").config.runs, tmp_path / "runs")
    return tmp_path / "runs"


def move_run(runs, number, to, graph=None):
    """Rename a run to another version; set the fingerprint of its graph to `graph` if given."""
    folder = (runs / "digits" / str(number)).rename(runs / "digits" / str(to))
    if graph:
        path = folder / "environment.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"graph": graph}))


def test_gather_compressed_version_finds_run_of_original(compressed_example, runs):
    inputs = ReportInputs.gather(compressed_example.bundle, runs)
    assert compressed_example.bundle.manifest.version == 2
    assert inputs.run.path == runs / "digits" / "1"
    assert inputs.run_error == ""
    assert len(inputs.test_rows) == len(compressed_example.trained.split.test)
    assert [proof.variant for proof in inputs.self_tests] == [
        *compressed_example.bundle.manifest.variants
    ]


def test_gather_prefers_run_of_own_version(compressed_example, runs):
    shutil.copytree(runs / "digits" / "1", runs / "digits" / "2")
    assert ReportInputs.gather(compressed_example.bundle, runs).run.path == runs / "digits" / "2"


def test_gather_run_of_other_graph_is_skipped(compressed_example, runs):
    shutil.copytree(runs / "digits" / "1", runs / "digits" / "0")
    move_run(runs, 0, 2, graph="of another")
    assert ReportInputs.gather(compressed_example.bundle, runs).run.path == runs / "digits" / "1"


def test_gather_earlier_run_of_other_graph_is_ignored(compressed_example, runs):
    move_run(runs, 1, 1, graph="of another")
    inputs = ReportInputs.gather(compressed_example.bundle, runs)
    assert inputs.run is None
    assert f"{runs}/digits/2, which does not exist" in inputs.run_error


def test_gather_later_run_is_ignored(compressed_example, runs):
    move_run(runs, 1, 3)
    assert ReportInputs.gather(compressed_example.bundle, runs).run is None


def run_compress(*arguments):
    return CliRunner().invoke(main, ["compress", *map(str, arguments)])


@pytest.fixture
def next_version(train_example, monkeypatch):
    """Make `compress` return a second version with the same graph, without compressing."""
    dense = train_example("digits").bundle
    manifest = dense.manifest.model_copy(update={"version": 2})
    candidate = CompressionCandidate(
        name="fp32",
        bits=32,
        inputs=64,
        hidden=[8],
        parameters=1,
        size_bytes=1,
        zipped_bytes=1,
        latency_us={"1": 1.0},
        validation=0.9,
        drop=0,
        kept=True,
    )
    result = CompressionResult(
        replace(dense, manifest=manifest),
        CompressionSummary(metric="accuracy", max_drop=0.1, tried=[candidate]),
        {},
    )
    monkeypatch.setattr(
        sys.modules["trainer.cli.compress"], "run_compression", lambda *_, **__: result
    )
    return result.bundle


def test_compress_with_runs_copies_the_run(next_version, train_example, runs):
    result = run_compress(train_example("digits").bundle.path, "--runs", runs, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    shutil.rmtree(runs / "digits" / "1")
    inputs = ReportInputs.gather(next_version, runs)
    assert inputs.run.path == runs / "digits" / "2"
    assert not list((runs / "digits").glob(".*"))


def test_compress_with_missing_runs_warns(next_version, train_example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dense = train_example("digits").bundle.path
    result = run_compress(dense, "--runs", tmp_path / "none")
    assert result.exit_code == 0
    assert "warning: " in result.stderr
    assert str(tmp_path / "none") in result.stderr
    models = next_version.path.parent.parent
    assert f"a running server of {models} serves it, unless a version is pinned" in result.stdout
    assert run_compress(dense).stderr == ""
    assert list(tmp_path.iterdir()) == []
