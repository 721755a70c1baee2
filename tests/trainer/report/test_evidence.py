import json
import shutil

import pytest

from trainer.report import Evidence


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
    evidence = Evidence.gather(compressed.bundle, runs)
    assert compressed.bundle.manifest.version == 2
    assert evidence.run.path == runs / "digits" / "1"
    assert evidence.absent == ""
    assert len(evidence.judged) == len(compressed.trained.parts.test)
    assert [proof.variant for proof in evidence.proofs] == [*compressed.bundle.manifest.variants]


def test_a_run_of_its_own_is_taken_first(compressed, runs):
    shutil.copytree(runs / "digits" / "1", runs / "digits" / "2")
    assert Evidence.gather(compressed.bundle, runs).run.path == runs / "digits" / "2"


def test_what_lies_under_its_number_may_be_of_another(compressed, runs):
    shutil.copytree(runs / "digits" / "1", runs / "digits" / "0")
    rename(runs, 0, 2, graph="of another")
    assert Evidence.gather(compressed.bundle, runs).run.path == runs / "digits" / "1"


def test_an_earlier_run_that_led_elsewhere_is_none_of_its(compressed, runs):
    rename(runs, 1, 1, graph="of another")
    evidence = Evidence.gather(compressed.bundle, runs)
    assert evidence.run is None
    assert f"{runs}/digits/2, which is none" in evidence.absent


def test_a_later_run_is_none_of_its(compressed, runs):
    rename(runs, 1, 3)
    assert Evidence.gather(compressed.bundle, runs).run is None
