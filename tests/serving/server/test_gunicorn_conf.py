"""gunicorn's configuration: what the arbiter does before it forks workers."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import gunicorn.util
import pytest
from gunicorn.workers import base

from serving.http.components import SharedResources
from serving.repository.rollout import VersionSnapshot
from serving.repository.rollout_store import RolloutStore
from serving.repository.shared_state import SharedState
from serving.server import gunicorn_conf
from serving.server.gunicorn_overrides import use_heartbeat_in_memory
from serving.telemetry.shared_counters import SharedCounters

pytestmark = pytest.mark.usefixtures("processes")

# Run in a new process, because imports and limits of the arbiter cannot be undone.
START = """import os, sys
from types import SimpleNamespace
from serving.server import gunicorn_conf
from serving.server.gunicorn_overrides import use_heartbeat_in_memory
gunicorn_conf.MAX_OPEN_FILES = {files}
arbiter = SimpleNamespace()
gunicorn_conf.on_starting(arbiter)
"""


def run_as_arbiter(script, *, limit="", files=gunicorn_conf.MAX_OPEN_FILES):
    """Return the words that a script prints in a process that has started like the arbiter."""
    script = START.format(files=files) + script
    done = subprocess.run(
        ["/bin/sh", "-c", f'{limit} exec "$@"', "sh", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_on_starting_imports_all_libraries_but_onnx_runtime():
    names = ["flask", "numpy", "onnxruntime", "serving.inference.predictor"]
    found = run_as_arbiter(f"print(*[name for name in {names} if name in sys.modules])")
    assert found == ["flask", "numpy", "serving.inference.predictor"]


def test_keep_alive_sets_gunicorns_keepalive(monkeypatch):
    show = "print(gunicorn_conf.keepalive, gunicorn_conf.http_parser)"
    monkeypatch.delenv("FORWARDPASS_KEEP_ALIVE", raising=False)
    assert run_as_arbiter(show) == ["75", "python"]
    monkeypatch.setenv("FORWARDPASS_KEEP_ALIVE", "620")
    assert run_as_arbiter(show) == ["620", "python"]


def test_on_starting_numpy_works_after_fork():
    # Large enough for BLAS to use all its threads, which do not exist after a fork.
    found = run_as_arbiter(
        "import numpy as np; a = np.arange(640_000.0).reshape(800, 800); before = a @ a; "
        "child = os.fork(); "
        "child or os._exit(0 if np.array_equal(a @ a, before) else 1); "
        "print(os.waitpid(child, 0)[1])"
    )
    assert found == ["0"]


@pytest.mark.parametrize(
    ("soft", "hard", "bound", "allowed"),
    [
        (256, 4000, 65_536, 4000),
        (256, 4000, 1000, 1000),
        (256, 256, 65_536, 256),
        (2000, 4000, 1000, 2000),
    ],
)
def test_on_starting_raises_file_limit_to_what_is_granted(soft, hard, bound, allowed):
    found = run_as_arbiter(
        "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))",
        limit=f"ulimit -Sn {soft}; ulimit -Hn {hard};",
        files=bound,
    )
    assert found == [str(allowed), str(hard)]


def test_heartbeat_file_needs_no_folder(monkeypatch):
    monkeypatch.setattr(base, "WorkerTmp", base.WorkerTmp)  # restored when the test ends
    use_heartbeat_in_memory()
    # gunicorn's own class uses the folder of this setting, and fails if it is missing.
    beat = base.WorkerTmp(SimpleNamespace(worker_tmp_dir="/nowhere", umask=0))
    before = time.monotonic()
    beat.notify()
    assert before - 1e-6 <= beat.last_update() <= time.monotonic()
    beat.close()


def test_worker_has_no_file_in_a_temporary_folder(live):
    (worker,) = live.workers()
    files = [str(file.readlink()) for file in Path(f"/proc/{worker}/fd").iterdir()]
    assert any("heartbeat" in file for file in files)
    assert [f for f in files if f.startswith(("/dev/shm", "/tmp", "/var/tmp"))] == []  # noqa: S108


@pytest.fixture
def arbiter(monkeypatch):
    """An arbiter after `on_starting`; gunicorn is as it was before when the test ends."""
    monkeypatch.setattr(gunicorn.util, "write_error", gunicorn.util.write_error)
    return SimpleNamespace(shared=SharedResources(SharedCounters(1), SharedState()))


def test_pre_fork_blocks_stop_signals(arbiter):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        gunicorn_conf.pre_fork(arbiter, SimpleNamespace())
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        gunicorn_conf._unblock_stop_signals()  # called in the arbiter after the fork
        assert blocked - before == {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT}
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_pre_fork_gives_each_worker_a_slot_that_child_exit_releases(arbiter):
    arbiter.shared = SharedResources(SharedCounters(3), SharedState())
    workers = [SimpleNamespace() for _ in range(2)]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        for worker in workers:
            gunicorn_conf.pre_fork(arbiter, worker)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert all(worker.shared is arbiter.shared for worker in workers)
    assert workers[0].slot != workers[1].slot
    gunicorn_conf.child_exit(arbiter, workers[0])
    assert arbiter.shared.counters.claim_slot() == workers[0].slot


def test_on_starting_workers_inherit_the_shared_resources():
    script = (
        "from serving.http.components import inherited_resources; child = os.fork(); "
        "child or os._exit(0 if inherited_resources.get() is arbiter.shared else 1); "
        "print(os.waitpid(child, 0)[1], arbiter.shared.proof_server is not None)"
    )
    assert run_as_arbiter(script) == ["0", "True"]


def test_worker_exit_clears_the_load_attempt_of_the_worker(arbiter):
    store = RolloutStore(arbiter.shared.state)
    with store.record_load_attempt("digits", VersionSnapshot(version=1, fingerprint="0")):
        assert len(store.read_plan().load_attempts) == 1
        gunicorn_conf.worker_exit(arbiter, arbiter)
        assert not store.read_plan().load_attempts
