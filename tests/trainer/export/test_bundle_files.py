import itertools
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.bundle import MANIFEST_FILE, Bundle, Manifest, list_models, list_versions
from tests.killed import every_moment, restore, tree
from trainer.cli import main
from trainer.export.bundle_files import BUILDING, require_writable, write_bundle
from trainer.runs import RunError, read_run
from trainer.training.array_file import read_arrays


@pytest.fixture
def template(shipped) -> Manifest:
    return Bundle.open(shipped / "digits" / "1").manifest


def numbered(template):
    return lambda version: template.model_copy(update={"version": version})


def accept(built):
    """A check that finds no fault."""


def test_versions_count_up_from_one(tmp_path, template):
    for expected in (1, 2, 3):
        path = write_bundle(tmp_path, "digits", {"a.bin": b"a"}, numbered(template), accept)
        assert path == tmp_path / "digits" / str(expected)
        assert (path / "a.bin").read_bytes() == b"a"
        assert Bundle.open(path).manifest.version == expected


def test_staged_versions_are_no_versions_and_keep_their_numbers(tmp_path, template):
    def write(**options):
        files = {"a.bin": b"a"}
        return write_bundle(tmp_path, "digits", files, numbered(template), accept, **options).name

    assert [write(), write(stage=True), write(stage=True), write()] == [
        "1",
        "staged-2",
        "staged-3",
        "4",
    ]
    assert list_versions(tmp_path / "digits") == [1, 4]
    (tmp_path / "digits" / "staged-3").rename(tmp_path / "digits" / "3")
    assert write() == "5"


def test_a_link_that_leads_nowhere_is_named_before_the_work(tmp_path):
    (tmp_path / "models").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match=r"models is a link that leads nowhere"):
        require_writable(tmp_path / "models" / "digits")


def test_the_highest_version_is_followed_whatever_is_missing_below(tmp_path, template):
    (tmp_path / "digits" / "7").mkdir(parents=True)
    (tmp_path / "digits" / "notes").mkdir()
    assert write_bundle(tmp_path, "digits", {}, numbered(template), accept).name == "8"


def test_writers_at_once_get_a_version_each(tmp_path, template):
    with ThreadPoolExecutor(8) as pool:
        paths = list(
            pool.map(
                lambda i: write_bundle(
                    tmp_path, "digits", {"i.bin": bytes([i])}, numbered(template), accept
                ),
                range(16),
            )
        )
    assert sorted(int(p.name) for p in paths) == list(range(1, 17))
    assert sorted((p / "i.bin").read_bytes() for p in paths) == [bytes([i]) for i in range(16)]
    assert not (tmp_path / "digits" / BUILDING).exists()


def test_everything_is_on_disk_before_the_version_appears(tmp_path, template, monkeypatch):
    steps = []

    def fsync(handle, call=os.fsync):
        path = Path(f"/proc/self/fd/{handle}").readlink()
        steps.append(path.name)
        assert path.is_dir() or path.stat().st_size  # what was written has left the process
        call(handle)

    def rename(path, target, call=Path.rename):
        steps.append("rename")
        return call(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    write_bundle(tmp_path, "digits", {"a.bin": b"a"}, numbered(template), accept)
    assert steps == [tmp_path.name, "a.bin", MANIFEST_FILE, BUILDING, "rename", "digits"]


def test_an_export_that_fails_leaves_nothing(tmp_path):
    def fail(version):
        raise ValueError("no manifest")

    with pytest.raises(ValueError, match="no manifest"):
        write_bundle(tmp_path, "digits", {"a.bin": b"a"}, fail, accept)
    assert not (tmp_path / "digits").exists()


def test_a_bundle_that_fails_its_check_leaves_nothing(tmp_path, template):
    seen = []

    def refuse(built):
        seen.append((built.path / "a.bin").read_bytes())
        raise ValueError("not sound")

    with pytest.raises(ValueError, match="not sound"):
        write_bundle(tmp_path, "digits", {"a.bin": b"a"}, numbered(template), refuse)
    assert seen == [b"a"]
    assert not (tmp_path / "digits").exists()


def test_a_manifest_that_no_one_could_read_leaves_nothing(tmp_path, template):
    def manifest(version):
        return template.model_copy(update={"version": version, "metrics": {"test": {"r2": None}}})

    with pytest.raises(ValidationError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic's, of what it is made to write
        write_bundle(tmp_path, "digits", {"a.bin": b"a"}, manifest, accept)
    assert not (tmp_path / "digits").exists()


# Killed at any moment; what is left then is also what a reader sees who comes at that moment


@pytest.mark.parametrize("first, stage", [(True, False), (False, False), (False, True)])
def test_write_bundle_killed_at_any_moment_leaves_whole_versions_only(
    first, stage, tmp_path, template
):
    models, folder = tmp_path / "models", tmp_path / "models" / "digits"
    files = {"a.bin": b"some bytes", "b.bin": bytes(300)}

    def write(**options):
        return write_bundle(models, "digits", files, numbered(template), accept, **options)

    if first:
        models.mkdir()
    else:
        write()
    with every_moment(models) as moments:
        written = write(stage=stage)
    assert moments.calls == {"mkdir", "write", "fsync", "rename"}
    assert len(moments.states) >= 3 * 3  # each file empty, half and whole
    seen = []
    for state in moments.states:
        restore(state, models)
        there = sorted(path.name for path in folder.glob("[!.]*"))
        seen.append(there)
        for name in there:
            content = tree(folder / name)
            assert Bundle.open(folder / name).path.name == name
            assert content.pop(MANIFEST_FILE) is not None
            assert content == files
        assert list_models(models) == (["digits"] if versions_of(folder) else [])
        # The next one removes what was left.
        following = write()
        assert int(following.name) == len(there) + 1
        assert sorted(path.name for path in folder.iterdir()) == sorted([*there, following.name])
    before = [] if first else ["1"]
    assert [there for there, _ in itertools.groupby(seen)] == [before, [*before, written.name]]


def test_fit_killed_at_any_moment_leaves_whole_versions_and_runs(tmp_path):
    """All that `trainer fit` writes: a checkpoint, the bundle, and what it keeps of the run."""
    models, runs = tmp_path / "models", tmp_path / "runs"
    command = [
        "fit",
        "moons",
        "--models",
        str(models),
        "--runs",
        str(runs),
        "--epochs",
        "2",
        "--hidden",
        "4",
        "--skip-baselines",
        "--checkpoint",
        str(tmp_path / "state.npz"),
    ]
    with every_moment(tmp_path) as moments:
        main(command, standalone_mode=False)
    assert moments.calls == {"mkdir", "write", "fsync", "rename", "unlink"}
    last, found = tree(models / "moons" / "1"), set()
    for state in moments.states:
        restore(state, tmp_path)
        try:
            checkpoint = len(read_arrays(tmp_path / "state.npz")) > 0
        except FileNotFoundError:
            checkpoint = False
        try:
            run = len(read_run(runs / "moons" / "1").history) == 2
        except RunError:
            assert not (runs / "moons" / "1").exists()
            run = False
        for version in versions_of(models / "moons"):
            assert tree(models / "moons" / str(version)) == last
        found.add((checkpoint, versions_of(models / "moons") == [1], run))
    assert found == {
        (False, False, False),
        (True, False, False),
        (True, True, False),
        (False, True, False),
        (False, True, True),
    }


def versions_of(folder):
    """The versions of a model, of which there are none before its folder is made."""
    return list_versions(folder) if folder.exists() else []
