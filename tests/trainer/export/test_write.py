import json
import os
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.bundle import MANIFEST, Bundle, Manifest, versions
from serving.runtime import prove
from trainer.export.write import BUILDING, require_writable, write_bundle


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
        "1", "staged-2", "staged-3", "4",
    ]  # fmt: skip
    assert versions(tmp_path / "digits") == [1, 4]
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


# Forks a writer for each line it reads, which is killed at the step that the line names, and
# answers with the writer's exit status and steps.
KILLED_AT_STEP = """
import os, pathlib, signal, sys
from serving.bundle import Bundle
from trainer.export import write

source, models = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
steps = fatal = 0

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
for line in sys.stdin:
    if child := os.fork():
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print("ended", status, flush=True)
        continue
    steps, fatal = 0, int(line)
    write.write_bundle(models, "digits", files,
                       lambda v: bundle.manifest.model_copy(update={"version": v}),
                       lambda built: None)
    print("steps", steps, flush=True)
    os._exit(0)
"""


def test_a_writer_killed_at_any_step_leaves_no_half_written_version(tmp_path, shipped, processes):
    source, models = shipped / "digits" / "1", tmp_path / "models"
    writers = processes.start(
        [sys.executable, "-c", KILLED_AT_STEP, source, models],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip

    def run(fatal):
        """The exit status of a writer, and its steps if it came to its end."""
        writers.stdin.write(f"{fatal}\n")
        writers.stdin.flush()
        steps = None
        for line in writers.stdout:
            what, number = line.split()
            if what == "ended":
                return int(number), steps
            steps = int(number)
        raise AssertionError("the process ended")

    run(0)
    _, steps = run(0)  # when the model's folder is there already
    assert steps >= 12
    for fatal in range(1, steps + 1):
        before = versions(models / "digits")
        assert run(fatal) == (-signal.SIGKILL, None)
        for version in versions(models / "digits"):
            _assert_whole(models / "digits" / str(version))
        assert len(versions(models / "digits")) - len(before) in (0, 1)
    # and the next one is not in the way of what they left
    assert run(0)[0] == 0
    assert not (models / "digits" / BUILDING).exists()


def _assert_whole(path):
    bundle = Bundle.open(path)
    for file in bundle.sums:
        bundle.content(file)
    assert prove(bundle, "fp32").passed


# Forks a fit for each line it reads, which is killed at the event of the interpreter that the line
# names, of those that open, make, rename or remove something below the repository.
KILLED_AT_EVENT = """
import os, signal, sys
from serving.runtime import timing
from trainer.cli import main

timing.TIMED_RUNS = 3
models, events, fatal = sys.argv[1], 0, 0
command = ["fit", "wine", "--models", models, "--epochs", "3", "--skip-baselines"]

def count(event, arguments):
    global events
    if fatal and event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
        if any(str(argument).startswith(models) for argument in arguments):
            events += 1
            if events == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
main(command, standalone_mode=False)  # so that all is imported before the first fork
for line in sys.stdin:
    if not (child := os.fork()):
        fatal = int(line)
        main(command, standalone_mode=False)
        os._exit(0)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_fit_killed_at_any_moment_leaves_no_half_written_version(tmp_path, processes):
    fits = processes.start(
        [sys.executable, "-c", KILLED_AT_EVENT, tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip

    def is_killed_at(event):
        fits.stdin.write(f"{event}\n")
        fits.stdin.flush()
        status = next(int(line.split()[1]) for line in fits.stdout if line.startswith("ended"))
        assert status in (0, -signal.SIGKILL)
        return status != 0

    event = 1
    while is_killed_at(event):
        assert_no_half_written_version(tmp_path)
        event += 1
    assert event > 8
    assert_no_half_written_version(tmp_path)


def assert_no_half_written_version(tmp_path):
    for version in versions(tmp_path / "wine"):
        _assert_whole(tmp_path / "wine" / str(version))
    for path in tmp_path.rglob(MANIFEST):
        assert path.parent.name == BUILDING or json.loads(path.read_text())
