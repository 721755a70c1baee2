"""A full disk: the file is named, in one line, and nothing half done or empty stays behind."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from serving.bundle import add_path_to_errors, create_folder, write_atomically
from trainer import runs, score
from trainer.cli import main

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="/dev/full is of Linux")
QUICK = ("--epochs", "1", "--hidden", "4", "--skip-baselines")


def trainer(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def no_room(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_room_for_a_file(handle):
    if stat.S_ISREG(os.fstat(handle).st_mode):
        no_room()


def assert_one_line(done, file):
    assert done.exit_code == 1, done.output
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert "No space left on device" in errors[0]
    assert str(file) in errors[0]
    assert "Traceback" not in done.output


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    done = trainer("fit", "iris", "--models", folder / "models", "--runs", folder / "runs", *QUICK)
    assert done.exit_code == 0, done.output
    return folder


def test_fit_names_the_file_of_the_bundle_and_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_room_for_a_file)
    models = tmp_path / "new" / "models"
    done = trainer("fit", "iris", "--models", models, "--runs", tmp_path / "runs", *QUICK)
    assert_one_line(done, models / "iris" / ".building" / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_fit_keeps_the_versions_there_are(made, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_room_for_a_file)
    done = trainer("fit", "iris", "--models", made / "models", "--runs", made / "runs", *QUICK)
    assert_one_line(done, ".building/model.onnx")
    assert [path.name for path in (made / "models" / "iris").iterdir()] == ["1"]


def test_fit_a_run_that_has_no_room_is_a_warning_and_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "write_arrays", no_room)
    done = trainer(
        "fit", "iris", "--models", tmp_path / "models", "--runs", tmp_path / "a" / "runs", *QUICK
    )
    assert done.exit_code == 0
    assert "No space left on device" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_fit_names_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_room)
    state = tmp_path / "state"
    done = trainer("fit", "iris", "--models", tmp_path / "m", *QUICK, "--checkpoint", state)
    assert_one_line(done, state)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_fit_names_the_log(tmp_path, ending):
    log = tmp_path / f"log{ending}"
    log.symlink_to(FULL)
    assert_one_line(trainer("fit", "iris", "--models", tmp_path / "m", *QUICK, "--log", log), log)


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_score_names_the_output_and_leaves_none(made, tmp_path, monkeypatch, ending):
    manifest_columns = (
        "sepal length (cm)",
        "sepal width (cm)",
        "petal length (cm)",
        "petal width (cm)",
    )
    (tmp_path / "new.csv").write_text(f"{','.join(manifest_columns)}\n" + "1,2,3,4\n" * 50_000)
    make = score.WRITERS[ending]
    monkeypatch.setitem(score.WRITERS, ending, lambda _: make(FULL))
    output = tmp_path / f"out{ending}"
    done = trainer("score", made / "models" / "iris", tmp_path / "new.csv", "-o", output)
    assert_one_line(done, output)
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


def test_report_keeps_the_page_there_was(made, tmp_path, monkeypatch):
    page = tmp_path / "report.html"
    page.write_text("before")
    write = Path.write_text

    def cut(path, text, **options):
        write(path, text[:10], **options)
        no_room()

    monkeypatch.setattr(Path, "write_text", cut)
    monkeypatch.setattr("trainer.report.render", lambda evidence: "a page of text")
    done = trainer("report", made / "models" / "iris", "-o", page, "--runs", made / "runs")
    assert_one_line(done, page)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
        ("report.html", "before")
    ]


def test_search_names_the_journal_and_leaves_no_folder(tmp_path, monkeypatch):
    (tmp_path / "grid.toml").write_text("hidden = [[4], [8]]\n")
    monkeypatch.setattr(os, "fsync", no_room)
    journal = tmp_path / "runs" / "iris" / "search.jsonl"
    done = trainer(
        "search",
        "iris",
        "--grid",
        tmp_path / "grid.toml",
        "--folds",
        2,
        *QUICK,
        "--models",
        tmp_path / "models",
        "--runs",
        tmp_path / "runs",
    )
    assert_one_line(done, journal)
    assert [path.name for path in tmp_path.iterdir()] == ["grid.toml"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["trainer", "serving"])
def test_standard_output_without_room_is_one_line(command):
    code = f"from {command}.cli import main; main()"
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: standard output: No space left on device")
    assert done.stderr.count("\n") == 1


def test_naming_puts_the_file_into_an_error_without_one(tmp_path):
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*x'"),
        add_path_to_errors(tmp_path / "x"),
    ):
        no_room()
    with pytest.raises(FileNotFoundError, match="'other'"), add_path_to_errors(tmp_path / "x"):
        raise FileNotFoundError(errno.ENOENT, "gone", "other")
    with pytest.raises(OSError, match=r"x: what Arrow says"), add_path_to_errors(tmp_path / "x"):
        raise OSError("what Arrow says")


def test_whole_file_is_written_whole_or_not_at_all(tmp_path):
    place = tmp_path / "x.txt"
    (tmp_path / "link.txt").symlink_to(place)
    with write_atomically(tmp_path / "link.txt") as building:
        building.write_text("one")
    assert (place.read_text(), (tmp_path / "link.txt").is_symlink()) == ("one", True)
    with pytest.raises(KeyError), write_atomically(place) as building:
        building.write_text("two")
        raise KeyError
    assert place.read_text() == "one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.txt", "x.txt"]


def test_made_folder_leaves_folders_that_were_there_or_hold_something(tmp_path):
    (tmp_path / "old").mkdir()
    for below, left in (("old/a/b", []), ("old", [])):
        with pytest.raises(KeyError), create_folder(tmp_path / below):
            raise KeyError
        assert [path.name for path in (tmp_path / "old").iterdir()] == left
    with pytest.raises(KeyError), create_folder(tmp_path / "old/a/b"):
        (tmp_path / "old/a/kept").touch()
        raise KeyError
    assert [path.name for path in (tmp_path / "old/a").iterdir()] == ["kept"]
