"""A full disk: commands name the file in one line, and leave no incomplete or empty file."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from serving.bundle import add_path_to_errors, create_folder, write_atomically
from trainer import runs, score_writers
from trainer.cli import main

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")
QUICK = ("--epochs", "1", "--hidden", "4", "--skip-baselines")


def trainer(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def raise_full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def raise_full_disk_for_files(handle):
    if stat.S_ISREG(os.fstat(handle).st_mode):
        raise_full_disk()


def assert_one_error(done, file):
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


def test_fit_full_disk_names_the_file_and_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", raise_full_disk_for_files)
    models = tmp_path / "new" / "models"
    done = trainer("fit", "iris", "--models", models, "--runs", tmp_path / "runs", *QUICK)
    assert_one_error(done, models / "iris" / ".building" / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_fit_full_disk_keeps_earlier_versions(made, monkeypatch):
    monkeypatch.setattr(os, "fsync", raise_full_disk_for_files)
    done = trainer("fit", "iris", "--models", made / "models", "--runs", made / "runs", *QUICK)
    assert_one_error(done, ".building/model.onnx")
    assert [path.name for path in (made / "models" / "iris").iterdir()] == ["1"]


def test_fit_full_disk_for_the_run_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "write_arrays", raise_full_disk)
    done = trainer(
        "fit", "iris", "--models", tmp_path / "models", "--runs", tmp_path / "a" / "runs", *QUICK
    )
    assert done.exit_code == 0
    assert "No space left on device" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_fit_full_disk_for_the_checkpoint_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", raise_full_disk)
    state = tmp_path / "state"
    done = trainer("fit", "iris", "--models", tmp_path / "m", *QUICK, "--checkpoint", state)
    assert_one_error(done, state)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_fit_full_disk_for_the_log_names_it(tmp_path, suffix):
    log = tmp_path / f"log{suffix}"
    log.symlink_to(FULL)
    assert_one_error(trainer("fit", "iris", "--models", tmp_path / "m", *QUICK, "--log", log), log)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_score_full_disk_names_the_output_and_leaves_none(made, tmp_path, monkeypatch, suffix):
    columns = (
        "sepal length (cm)",
        "sepal width (cm)",
        "petal length (cm)",
        "petal width (cm)",
    )
    (tmp_path / "new.csv").write_text(f"{','.join(columns)}\n" + "1,2,3,4\n" * 50_000)
    create_writer = score_writers.WRITERS[suffix]
    monkeypatch.setitem(score_writers.WRITERS, suffix, lambda _: create_writer(FULL))
    output = tmp_path / f"out{suffix}"
    done = trainer("score", made / "models" / "iris", tmp_path / "new.csv", "-o", output)
    assert_one_error(done, output)
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


def test_report_full_disk_keeps_the_old_page(made, tmp_path, monkeypatch):
    page = tmp_path / "report.html"
    page.write_text("before")
    write_text = Path.write_text

    def write_in_part(path, text, **options):
        write_text(path, text[:10], **options)
        raise_full_disk()

    monkeypatch.setattr(Path, "write_text", write_in_part)
    monkeypatch.setattr("trainer.report.render", lambda evidence: "a page of text")
    done = trainer("report", made / "models" / "iris", "-o", page, "--runs", made / "runs")
    assert_one_error(done, page)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
        ("report.html", "before")
    ]


def test_search_full_disk_names_the_journal_and_leaves_no_folder(tmp_path, monkeypatch):
    (tmp_path / "grid.toml").write_text("hidden = [[4], [8]]\n")
    monkeypatch.setattr(os, "fsync", raise_full_disk)
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
    assert_one_error(done, journal)
    assert [path.name for path in tmp_path.iterdir()] == ["grid.toml"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["trainer", "serving"])
def test_command_full_disk_behind_stdout_prints_one_line(command):
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


def test_add_path_to_errors_error_without_a_file_gets_it(tmp_path):
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*x'"),
        add_path_to_errors(tmp_path / "x"),
    ):
        raise_full_disk()
    with pytest.raises(FileNotFoundError, match="'other'"), add_path_to_errors(tmp_path / "x"):
        raise FileNotFoundError(errno.ENOENT, "gone", "other")
    with pytest.raises(OSError, match=r"x: what Arrow says"), add_path_to_errors(tmp_path / "x"):
        raise OSError("what Arrow says")


def test_write_atomically_error_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    (tmp_path / "link.txt").symlink_to(path)
    with write_atomically(tmp_path / "link.txt") as building:
        building.write_text("one")
    assert (path.read_text(), (tmp_path / "link.txt").is_symlink()) == ("one", True)
    with pytest.raises(KeyError), write_atomically(path) as building:
        building.write_text("two")
        raise KeyError
    assert path.read_text() == "one"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.txt", "x.txt"]


def test_create_folder_error_removes_only_new_empty_folders(tmp_path):
    (tmp_path / "old").mkdir()
    for folder, remaining in (("old/a/b", []), ("old", [])):
        with pytest.raises(KeyError), create_folder(tmp_path / folder):
            raise KeyError
        assert [path.name for path in (tmp_path / "old").iterdir()] == remaining
    with pytest.raises(KeyError), create_folder(tmp_path / "old/a/b"):
        (tmp_path / "old/a/kept").touch()
        raise KeyError
    assert [path.name for path in (tmp_path / "old/a").iterdir()] == ["kept"]
