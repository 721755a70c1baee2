"""What tells one content of a version from another: its files, not where and when they lie."""

import os
import shutil

import pytest

from serving.bundle import BundleError
from serving.repository import Repository
from serving.repository import folder_scan as stamps
from serving.repository import loading as loader
from serving.repository.folder_scan import compute_fingerprint, compute_readable_fingerprint
from serving.repository.shared_state import SharedState
from tests.bundle_versions import add_version, damage, rename_column

ALWAYS = 1e-9  # seconds between looks at the folder: at every turn
STRAY = (".DS_Store", "._model.onnx", "Thumbs.db", "desktop.ini", ".nfs000123", "notes.txt")


@pytest.fixture
def folder(only_digits):
    return only_digits / "digits" / "1"


@pytest.fixture
def proofs(monkeypatch):
    """Versions that were put to the proof."""
    found, real = [], loader.load_version

    def prove(models, name, edition, *options):
        found.append(edition.version)
        return real(models, name, edition, *options)

    monkeypatch.setattr(loader, "load_version", prove)
    return found


@pytest.fixture
def sums(monkeypatch):
    """Files whose checksum was computed."""
    found, real = [], stamps.compute_checksum

    def checksum(folder, file, within):
        found.append(file)
        return real(folder, file, within)

    monkeypatch.setattr(stamps, "compute_checksum", checksum)
    return found


def copied(folder):
    """Put a copy of the whole folder in its place, as rsync or an object store's client does."""
    copy = folder.parent.parent / ".copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(folder)
    copy.rename(folder)


def touched(folder):
    for path in folder.iterdir():
        os.utime(path)


def strayed(folder):
    for name in STRAY:
        (folder / name).write_bytes(b"Bud1")


def linked(folder):
    """As Kubernetes mounts a folder: files are links into one that is replaced."""
    data = folder / "..data"
    data.mkdir()
    for path in [path for path in folder.iterdir() if path.is_file()]:
        path.rename(data / path.name)
        path.symlink_to(f"..data/{path.name}")


UNCHANGED = [copied, touched, strayed, linked]


@pytest.mark.parametrize("change", UNCHANGED)
def test_stamp_of_the_same_content_stays(change, folder):
    before = compute_fingerprint(folder)
    change(folder)
    assert compute_fingerprint(folder) == before


@pytest.mark.parametrize("change", UNCHANGED)
def test_repository_proves_a_version_of_the_same_content_once(change, folder, only_digits, proofs):
    repository = Repository(only_digits, poll=ALWAYS)
    before = repository.find_model("digits")
    change(folder)
    for _ in range(3):
        repository.reconcile_once()
    assert repository.find_model("digits") is before
    assert (proofs, repository.refusal_reasons) == ([1], {})


@pytest.mark.parametrize("change", UNCHANGED)
def test_worker_that_comes_later_serves_the_same_content_as_the_others(change, folder, only_digits):
    ledger = SharedState()
    first = Repository(only_digits, shared_state=ledger, poll=ALWAYS)
    before = first.find_model("digits")
    change(folder)
    second = Repository(only_digits, shared_state=ledger, poll=ALWAYS)
    first.turn()
    assert second.find("digits").manifest.version == 1
    assert first.find("digits") is before
    assert first.refused == second.refused == {}


def damaged_with_its_old_time(folder):
    found = (folder / "model.onnx").stat()
    damage(folder)
    os.utime(folder / "model.onnx", ns=(found.st_atime_ns, found.st_mtime_ns))


def damaged_copy_with_its_old_time(folder):
    shutil.copy2(folder / "model.onnx", folder.parent / "copy")
    damaged_with_its_old_time(folder)
    shutil.copy2(folder / "model.onnx", folder.parent / "damaged")
    (folder.parent / "damaged").replace(folder / "model.onnx")
    (folder.parent / "copy").unlink()


def cut(folder):
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[:-1])


def without_its_selftest(folder):
    (folder / "selftest.npz").unlink()


CHANGED = [
    damage,
    damaged_with_its_old_time,
    damaged_copy_with_its_old_time,
    cut,
    without_its_selftest,
    lambda folder: rename_column(folder, "other_"),
    shutil.rmtree,
]


@pytest.mark.parametrize("change", CHANGED)
def test_stamp_of_another_content_is_another(change, folder):
    before = compute_fingerprint(folder)
    change(folder)
    assert compute_fingerprint(folder) != before


def test_stamp_of_two_versions_differ(only_digits):
    assert compute_fingerprint(only_digits / "digits" / "1") != compute_fingerprint(
        add_version(only_digits, 2)
    )


def test_stamp_reads_files_again_only_when_something_changed(folder, sums):
    for _ in range(3):
        compute_fingerprint(folder)
    assert sorted(sums) == ["model.onnx", "reference.json", "selftest.npz"]
    touched(folder)
    compute_fingerprint(folder)
    assert len(sums) == 6


@pytest.mark.parametrize("change", [cut, without_its_selftest])
def test_stamp_reads_no_graph_while_a_version_is_being_written(change, folder, sums):
    change(folder)
    compute_fingerprint(folder)
    assert sums == []


def test_stamp_reads_no_more_than_is_worth_it(folder, sums, monkeypatch):
    monkeypatch.setattr(stamps, "MAX_CONTENT_BYTES", 1000)
    before = compute_fingerprint(folder)
    assert sums == []
    touched(folder)
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
def test_stamp_of_a_manifest_that_is_none_is_that_of_its_files(content, folder):
    (folder / "bundle.json").write_text(content)
    before = compute_fingerprint(folder)
    touched(folder)
    assert compute_fingerprint(folder) != before


def test_stamp_follows_no_link_out_of_the_repository(folder, tmp_path, sums):
    (folder / "model.onnx").rename(tmp_path / "model.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "model.onnx")
    compute_fingerprint(folder)
    assert sums == []


def test_stamp_of_files_that_cannot_be_read_now_is_not_remembered(folder, monkeypatch):
    before = compute_fingerprint(folder)
    touched(folder)

    def denied(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("serving.bundle.files.os.open", denied)  # root may read everything
        assert compute_fingerprint(folder) != before
        with pytest.raises(BundleError, match="Permission denied"):
            compute_readable_fingerprint(folder)
    assert compute_fingerprint(folder) == before
