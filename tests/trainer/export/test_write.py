import json
import os
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.bundle import MANIFEST, Bundle, Manifest, versions
from serving.runtime import prove
from trainer.export.write import BUILDING, write_bundle


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


def test_the_highest_version_is_followed_whatever_is_missing_below(tmp_path, template):
    (tmp_path / "digits" / "7").mkdir(parents=True)
    (tmp_path / "digits" / "notes").mkdir()
    assert write_bundle(tmp_path, "digits", {}, numbered(template), accept).name == "8"


def test_writers_at_once_get_a_version_each(tmp_path, template):
    with ThreadPoolExecutor(8) as pool:
        paths = list(
            pool.map(lambda i: write_bundle(tmp_path, "digits", {"i.bin": bytes([i])},
                                            numbered(template), accept), range(16))
        )  # fmt: skip
    assert sorted(int(p.name) for p in paths) == list(range(1, 17))
    assert sorted((p / "i.bin").read_bytes() for p in paths) == [bytes([i]) for i in range(16)]
    assert not (tmp_path / "digits" / BUILDING).exists()


def test_a_reader_never_sees_half_a_version(tmp_path, shipped):
    whole = Bundle.open(shipped / "digits" / "1")
    files = {file: whole.content(file) for file in whole.sums}
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(
            lambda: [write_bundle(tmp_path, "digits", files, numbered(whole.manifest), accept)
                     for _ in range(40)]
        )  # fmt: skip
        seen = set()
        while not writing.done():
            for version in set(versions(tmp_path / "digits")) - seen:
                bundle = Bundle.open(tmp_path / "digits" / str(version))
                assert all(bundle.content(file) for file in bundle.sums)
                seen.add(version)
        writing.result()
    assert len(seen) > 1


def test_everything_is_on_disk_before_the_version_appears(tmp_path, template, monkeypatch):
    steps = []

    def fsync(handle, call=os.fsync):
        steps.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        call(handle)

    def rename(path, target, call=Path.rename):
        steps.append("rename")
        return call(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    write_bundle(tmp_path, "digits", {"a.bin": b"a"}, numbered(template), accept)
    assert steps == [tmp_path.name, "a.bin", MANIFEST, BUILDING, "rename", "digits"]


def test_an_export_that_fails_leaves_nothing(tmp_path):
    def fail(version):
        raise ValueError("no manifest")

    with pytest.raises(ValueError, match="no manifest"):
        write_bundle(tmp_path, "digits", {"a.bin": b"a"}, fail, accept)
    assert list((tmp_path / "digits").iterdir()) == []


def test_a_bundle_that_fails_its_check_leaves_nothing(tmp_path, template):
    seen = []

    def refuse(built):
        seen.append((built.path / "a.bin").read_bytes())
        raise ValueError("not sound")

    with pytest.raises(ValueError, match="not sound"):
        write_bundle(tmp_path, "digits", {"a.bin": b"a"}, numbered(template), refuse)
    assert seen == [b"a"]
    assert list((tmp_path / "digits").iterdir()) == []


def test_a_manifest_that_no_one_could_read_leaves_nothing(tmp_path, template):
    def manifest(version):
        return template.model_copy(update={"version": version, "metrics": {"test": {"r2": None}}})

    with pytest.raises(ValidationError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic's, of what it is made to write
        write_bundle(tmp_path, "digits", {"a.bin": b"a"}, manifest, accept)
    assert list((tmp_path / "digits").iterdir()) == []


KILLED_AT_STEP = """
import os, pathlib, signal, sys
from serving.bundle import Bundle
from trainer.export import write

source, models, fatal = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
steps = 0

def counted(function):
    def step(*args, **kwargs):
        global steps
        steps += 1
        if steps == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return step

# Every call of the writer that reaches the disk.
os.fsync = counted(os.fsync)
pathlib.Path.open = counted(pathlib.Path.open)
pathlib.Path.mkdir = counted(pathlib.Path.mkdir)
pathlib.Path.rename = counted(pathlib.Path.rename)

bundle = Bundle.open(source)
files = {file: (source / file).read_bytes() for file in bundle.sums}
steps = 0
write.write_bundle(models, "digits", files,
                   lambda v: bundle.manifest.model_copy(update={"version": v}), lambda built: None)
print(steps)
"""


def test_a_writer_killed_at_any_step_leaves_no_half_written_version(tmp_path, shipped):
    source, models = shipped / "digits" / "1", tmp_path / "models"

    def run(fatal):
        command = [sys.executable, "-c", KILLED_AT_STEP, source, models, str(fatal)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    run(0)
    steps = int(run(0).stdout)  # when the model's folder is there already
    assert steps >= 12
    for fatal in range(1, steps + 1):
        before = versions(models / "digits")
        assert run(fatal).returncode == -signal.SIGKILL
        for version in versions(models / "digits"):
            _assert_whole(models / "digits" / str(version))
        assert len(versions(models / "digits")) - len(before) in (0, 1)
    # and the next one is not in the way of what they left
    assert run(0).returncode == 0
    assert not (models / "digits" / BUILDING).exists()


def _assert_whole(path):
    bundle = Bundle.open(path)
    for file in bundle.sums:
        bundle.content(file)
    assert prove(bundle, "fp32").passed


@pytest.mark.parametrize("delay", [0.3, 0.8, 1.2, 1.5, 1.7, 1.9, 2.1, 2.3])
def test_fit_killed_at_any_moment_leaves_no_half_written_version(delay, tmp_path):
    command = [sys.executable, "-m", "trainer", "fit", "wine", "--models", tmp_path]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    time.sleep(delay)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for version in versions(tmp_path / "wine"):
        _assert_whole(tmp_path / "wine" / str(version))
    for path in tmp_path.rglob(MANIFEST):
        assert path.parent.name == BUILDING or json.loads(path.read_text())
