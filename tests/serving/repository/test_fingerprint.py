"""Fingerprints of versions depend on the content of the files, not on their place or time."""

import os
import shutil

import pytest

from serving.bundle import BundleError
from serving.repository import folder_scan, loading
from serving.repository.folder_scan import compute_fingerprint, compute_readable_fingerprint
from serving.repository.shared_state import SharedState
from tests.bundle_versions import add_version, damage, rename_column
from tests.repositories import load_repository

EVERY_STEP = 1e-9  # seconds between scans of the folder: it is scanned in every step
STRAY = (".DS_Store", "._model.onnx", "Thumbs.db", "desktop.ini", ".nfs000123", "notes.txt")


@pytest.fixture
def folder(only_digits):
    return only_digits / "digits" / "1"


@pytest.fixture
def loads(monkeypatch):
    """Return the list of versions that were loaded, in order."""
    found, real = [], loading.load_version

    def load_and_record(models, name, snapshot, *options):
        found.append(snapshot.version)
        return real(models, name, snapshot, *options)

    monkeypatch.setattr(loading, "load_version", load_and_record)
    return found


@pytest.fixture
def checksums(monkeypatch):
    """Return the list of files whose checksum was computed, in order."""
    found, real = [], folder_scan.compute_checksum

    def compute_and_record(folder, file, within):
        found.append(file)
        return real(folder, file, within)

    monkeypatch.setattr(folder_scan, "compute_checksum", compute_and_record)
    return found


def replace_by_copy(folder):
    """Replace the folder by a copy, as rsync or the client of an object store does."""
    copy = folder.parent.parent / ".copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(folder)
    copy.rename(folder)


def touch_files(folder):
    for path in folder.iterdir():
        os.utime(path)


def add_stray_files(folder):
    for name in STRAY:
        (folder / name).write_bytes(b"Bud1")


def replace_by_links(folder):
    """Replace the files by links into a folder of their own, as Kubernetes mounts them."""
    data = folder / "..data"
    data.mkdir()
    for path in [path for path in folder.iterdir() if path.is_file()]:
        path.rename(data / path.name)
        path.symlink_to(f"..data/{path.name}")


UNCHANGED = [replace_by_copy, touch_files, add_stray_files, replace_by_links]


@pytest.mark.parametrize("change", UNCHANGED)
def test_fingerprint_same_content_is_unchanged(change, folder):
    before = compute_fingerprint(folder)
    change(folder)
    assert compute_fingerprint(folder) == before


@pytest.mark.parametrize("change", UNCHANGED)
def test_repository_same_content_is_not_loaded_again(change, folder, only_digits, loads):
    repository = load_repository(only_digits, poll=EVERY_STEP)
    before = repository.find_model("digits")
    change(folder)
    for _ in range(3):
        repository.reconcile_once()
    assert repository.find_model("digits") is before
    assert (loads, repository.refusal_reasons) == ([1], {})


@pytest.mark.parametrize("change", UNCHANGED)
def test_second_worker_same_content_serves_same_version(change, folder, only_digits):
    shared_state = SharedState()
    first = load_repository(only_digits, shared_state=shared_state, poll=EVERY_STEP)
    before = first.find_model("digits")
    change(folder)
    second = load_repository(only_digits, shared_state=shared_state, poll=EVERY_STEP)
    first.reconcile_once()
    assert second.find_model("digits").manifest.version == 1
    assert first.find_model("digits") is before
    assert first.refusal_reasons == second.refusal_reasons == {}


def damage_and_restore_time(folder):
    found = (folder / "model.onnx").stat()
    damage(folder)
    os.utime(folder / "model.onnx", ns=(found.st_atime_ns, found.st_mtime_ns))


def replace_by_damaged_copy_and_restore_time(folder):
    shutil.copy2(folder / "model.onnx", folder.parent / "copy")
    damage_and_restore_time(folder)
    shutil.copy2(folder / "model.onnx", folder.parent / "damaged")
    (folder.parent / "damaged").replace(folder / "model.onnx")
    (folder.parent / "copy").unlink()


def truncate_graph(folder):
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[:-1])


def remove_selftest(folder):
    (folder / "selftest.npz").unlink()


CHANGED = [
    damage,
    damage_and_restore_time,
    replace_by_damaged_copy_and_restore_time,
    truncate_graph,
    remove_selftest,
    lambda folder: rename_column(folder, "other_"),
    shutil.rmtree,
]


@pytest.mark.parametrize("change", CHANGED)
def test_fingerprint_other_content_differs(change, folder):
    before = compute_fingerprint(folder)
    change(folder)
    assert compute_fingerprint(folder) != before


def test_fingerprint_two_versions_differ(only_digits):
    assert compute_fingerprint(only_digits / "digits" / "1") != compute_fingerprint(
        add_version(only_digits, 2)
    )


def test_fingerprint_files_unchanged_are_not_read_again(folder, checksums):
    for _ in range(3):
        compute_fingerprint(folder)
    assert sorted(checksums) == ["model.onnx", "reference.json", "selftest.npz"]
    touch_files(folder)
    compute_fingerprint(folder)
    assert len(checksums) == 6


@pytest.mark.parametrize("change", [truncate_graph, remove_selftest])
def test_fingerprint_incomplete_version_reads_no_graph(change, folder, checksums):
    change(folder)
    compute_fingerprint(folder)
    assert checksums == []


def test_fingerprint_content_too_large_is_not_read(folder, checksums, monkeypatch):
    monkeypatch.setattr(folder_scan, "MAX_CONTENT_BYTES", 1000)
    before = compute_fingerprint(folder)
    assert checksums == []
    touch_files(folder)
    assert compute_fingerprint(folder) != before


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"files": [], "variants": {}}',
        '{"files": {"../x": "0"}, "variants": {}}',
        '{"files": {}, "variants": {"a": {"file": 7, "sha256": "", "size_bytes": 1}}}',
        '{"files": {}, "variants": {"a": {"file": [], "sha256": "", "size_bytes": 1}}}',
    ],
)
def test_fingerprint_manifest_malformed_depends_on_file_stats(content, folder):
    (folder / "bundle.json").write_text(content)
    before = compute_fingerprint(folder)
    touch_files(folder)
    assert compute_fingerprint(folder) != before


def test_fingerprint_link_out_of_repository_is_not_followed(folder, tmp_path, checksums):
    (folder / "model.onnx").rename(tmp_path / "model.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "model.onnx")
    compute_fingerprint(folder)
    assert checksums == []


def test_fingerprint_file_unreadable_is_not_cached(folder, monkeypatch):
    before = compute_fingerprint(folder)
    touch_files(folder)

    def denied(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("serving.bundle.files.os.open", denied)  # Root may read everything.
        assert compute_fingerprint(folder) != before
        with pytest.raises(BundleError, match="Permission denied"):
            compute_readable_fingerprint(folder)
    assert compute_fingerprint(folder) == before
