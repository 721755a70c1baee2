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
def runs(made, tmp_path):
    """A copy of where the first version's run was kept."""
    shutil.copytree(made("digits").config.runs, tmp_path / "runs")
    return tmp_path / "runs"


def rename(runs, number, to, graph=None):
    """Another version's run; if a graph is named, one that led to that."""
    place = (runs / "digits" / str(number)).rename(runs / "digits" / str(to))
    if graph:
        path = place / "environment.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"graph": graph}))


def test_the_run_of_a_compressed_version_is_that_of_the_version_it_came_from(compressed, runs):
    evidence = ReportInputs.gather(compressed.bundle, runs)
    assert compressed.bundle.manifest.version == 2
    assert evidence.run.path == runs / "digits" / "1"
    assert evidence.absent == ""
    assert len(evidence.judged) == len(compressed.trained.parts.test)
    assert [proof.variant for proof in evidence.proofs] == [*compressed.bundle.manifest.variants]


def test_a_run_of_its_own_is_taken_first(compressed, runs):
    shutil.copytree(runs / "digits" / "1", runs / "digits" / "2")
    assert ReportInputs.gather(compressed.bundle, runs).run.path == runs / "digits" / "2"


def test_what_lies_under_its_number_may_be_of_another(compressed, runs):
    shutil.copytree(runs / "digits" / "1", runs / "digits" / "0")
    rename(runs, 0, 2, graph="of another")
    assert ReportInputs.gather(compressed.bundle, runs).run.path == runs / "digits" / "1"


def test_an_earlier_run_that_led_elsewhere_is_none_of_its(compressed, runs):
    rename(runs, 1, 1, graph="of another")
    evidence = ReportInputs.gather(compressed.bundle, runs)
    assert evidence.run is None
    assert f"{runs}/digits/2, which does not exist" in evidence.absent


def test_a_later_run_is_none_of_its(compressed, runs):
    rename(runs, 1, 3)
    assert ReportInputs.gather(compressed.bundle, runs).run is None


def compress(*arguments):
    return CliRunner().invoke(main, ["compress", *map(str, arguments)])


@pytest.fixture
def next_version(made, monkeypatch):
    """What `compress` writes, without the work: a version of the same graph."""
    dense = made("digits").bundle
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
    done = CompressionResult(
        replace(dense, manifest=manifest),
        CompressionSummary(metric="accuracy", max_drop=0.1, tried=[candidate]),
        {},
    )
    monkeypatch.setattr(
        sys.modules["trainer.cli.compress"], "run_compression", lambda *_, **__: done
    )
    return done.bundle


def test_compress_keeps_the_run_for_its_version_where_it_is_told_to(next_version, made, runs):
    done = compress(made("digits").bundle.path, "--runs", runs, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    shutil.rmtree(runs / "digits" / "1")
    evidence = ReportInputs.gather(next_version, runs)
    assert evidence.run.path == runs / "digits" / "2"
    assert not list((runs / "digits").glob(".*"))


def test_compress_says_that_there_is_no_run_to_keep_if_it_was_asked_to(
    next_version, made, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    dense = made("digits").bundle.path
    done = compress(dense, "--runs", tmp_path / "none")
    assert done.exit_code == 0
    assert "warning: " in done.stderr
    assert str(tmp_path / "none") in done.stderr
    assert (
        f"a running server of {next_version.path.parent.parent} loads it automatically"
        in done.stdout
    )
    assert compress(dense).stderr == ""
    assert list(tmp_path.iterdir()) == []
