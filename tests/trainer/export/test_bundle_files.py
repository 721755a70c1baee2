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
from trainer.export.bundle_files import BUILDING_FOLDER, require_writable, write_bundle
from trainer.runs import RunError, read_run
from trainer.training.array_file import read_arrays


@pytest.fixture
def template(shipped) -> Manifest:
    return Bundle.open(shipped / "digits" / "1").manifest


def create_manifest_from(template):
    return lambda version: template.model_copy(update={"version": version})


def accept_bundle(built):
    """Accept every bundle."""


def test_write_bundle_versions_count_from_one(tmp_path, template):
    for expected in (1, 2, 3):
        path = write_bundle(
            tmp_path, "digits", {"a.bin": b"a"}, create_manifest_from(template), accept_bundle
        )
        assert path == tmp_path / "digits" / str(expected)
        assert (path / "a.bin").read_bytes() == b"a"
        assert Bundle.open(path).manifest.version == expected


def test_write_bundle_staged_version_keeps_its_number(tmp_path, template):
    def write(**options):
        files = {"a.bin": b"a"}
        return write_bundle(
            tmp_path, "digits", files, create_manifest_from(template), accept_bundle, **options
        ).name

    assert [write(), write(stage=True), write(stage=True), write()] == [
        "1",
        "staged-2",
        "staged-3",
        "4",
    ]
    assert list_versions(tmp_path / "digits") == [1, 4]
    (tmp_path / "digits" / "staged-3").rename(tmp_path / "digits" / "3")
    assert write() == "5"


def test_require_writable_broken_link_is_refused(tmp_path):
    (tmp_path / "models").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match=r"models is a link that leads nowhere"):
        require_writable(tmp_path / "models" / "digits")


def test_write_bundle_gap_in_versions_follows_the_highest(tmp_path, template):
    (tmp_path / "digits" / "7").mkdir(parents=True)
    (tmp_path / "digits" / "notes").mkdir()
    assert (
        write_bundle(tmp_path, "digits", {}, create_manifest_from(template), accept_bundle).name
        == "8"
    )


def test_write_bundle_concurrent_writers_get_a_version_each(tmp_path, template):
    with ThreadPoolExecutor(8) as pool:
        paths = list(
            pool.map(
                lambda i: write_bundle(
                    tmp_path,
                    "digits",
                    {"i.bin": bytes([i])},
                    create_manifest_from(template),
                    accept_bundle,
                ),
                range(16),
            )
        )
    assert sorted(int(p.name) for p in paths) == list(range(1, 17))
    assert sorted((p / "i.bin").read_bytes() for p in paths) == [bytes([i]) for i in range(16)]
    assert not (tmp_path / "digits" / BUILDING_FOLDER).exists()


def test_write_bundle_syncs_files_before_rename(tmp_path, template, monkeypatch):
    steps = []

    def fsync(handle, call=os.fsync):
        path = Path(f"/proc/self/fd/{handle}").readlink()
        steps.append(path.name)
        assert path.is_dir() or path.stat().st_size  # Python's buffer was flushed
        call(handle)

    def rename(path, target, call=Path.rename):
        steps.append("rename")
        return call(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    write_bundle(tmp_path, "digits", {"a.bin": b"a"}, create_manifest_from(template), accept_bundle)
    assert steps == [tmp_path.name, "a.bin", MANIFEST_FILE, BUILDING_FOLDER, "rename", "digits"]


def test_write_bundle_failing_manifest_leaves_nothing(tmp_path):
    def fail(version):
        raise ValueError("no manifest")

    with pytest.raises(ValueError, match="no manifest"):
        write_bundle(tmp_path, "digits", {"a.bin": b"a"}, fail, accept_bundle)
    assert not (tmp_path / "digits").exists()


def test_write_bundle_failing_check_leaves_nothing(tmp_path, template):
    checked_contents = []

    def refuse(built):
        checked_contents.append((built.path / "a.bin").read_bytes())
        raise ValueError("not sound")

    with pytest.raises(ValueError, match="not sound"):
        write_bundle(tmp_path, "digits", {"a.bin": b"a"}, create_manifest_from(template), refuse)
    assert checked_contents == [b"a"]
    assert not (tmp_path / "digits").exists()


def test_write_bundle_unreadable_manifest_leaves_nothing(tmp_path, template):
    def manifest(version):
        return template.model_copy(update={"version": version, "metrics": {"test": {"r2": None}}})

    with pytest.raises(ValidationError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic warns about the invalid value
        write_bundle(tmp_path, "digits", {"a.bin": b"a"}, manifest, accept_bundle)
    assert not (tmp_path / "digits").exists()


# Exports killed at any moment. What they leave is also what a concurrent reader sees.


@pytest.mark.parametrize("is_first, stage", [(True, False), (False, False), (False, True)])
def test_write_bundle_killed_at_any_moment_leaves_complete_versions(
    is_first, stage, tmp_path, template
):
    models, folder = tmp_path / "models", tmp_path / "models" / "digits"
    files = {"a.bin": b"some bytes", "b.bin": bytes(300)}

    def write(**options):
        return write_bundle(
            models, "digits", files, create_manifest_from(template), accept_bundle, **options
        )

    if is_first:
        models.mkdir()
    else:
        write()
    with every_moment(models) as moments:
        written = write(stage=stage)
    assert moments.calls == {"mkdir", "write", "fsync", "rename"}
    assert len(moments.states) >= 3 * 3  # each file empty, half written and complete
    seen_versions = []
    for state in moments.states:
        restore(state, models)
        existing = sorted(path.name for path in folder.glob("[!.]*"))
        seen_versions.append(existing)
        for name in existing:
            content = tree(folder / name)
            assert Bundle.open(folder / name).path.name == name
            assert content.pop(MANIFEST_FILE) is not None
            assert content == files
        assert list_models(models) == (["digits"] if list_existing_versions(folder) else [])
        # The next export removes the leftovers.
        following = write()
        assert int(following.name) == len(existing) + 1
        assert sorted(path.name for path in folder.iterdir()) == sorted([*existing, following.name])
    before = [] if is_first else ["1"]
    assert [names for names, _ in itertools.groupby(seen_versions)] == [
        before,
        [*before, written.name],
    ]


def test_fit_killed_at_any_moment_leaves_complete_versions_and_runs(tmp_path):
    """`trainer fit` writes a checkpoint, the bundle and the archived run."""
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
    last_tree, seen_states = tree(models / "moons" / "1"), set()
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
        for version in list_existing_versions(models / "moons"):
            assert tree(models / "moons" / str(version)) == last_tree
        seen_states.add((checkpoint, list_existing_versions(models / "moons") == [1], run))
    assert seen_states == {
        (False, False, False),
        (True, False, False),
        (True, True, False),
        (False, True, False),
        (False, True, True),
    }


def list_existing_versions(folder):
    """Return the versions of a model; none if its folder does not exist."""
    return list_versions(folder) if folder.exists() else []
