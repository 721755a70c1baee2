"""How gunicorn runs the application: what its arbiter does before there are workers."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn.workers import base

from serving.server import gunicorn_conf
from serving.telemetry.shared_counters import SharedCounters

pytestmark = pytest.mark.usefixtures("processes")

# A process of its own: what the arbiter imports stays, and so do the limits it sets.
START = """import os, sys
from serving.server import gunicorn_conf
gunicorn_conf.MAX_OPEN_FILES = {files}
gunicorn_conf.on_starting(None)
"""


def arbiter(script, *, limit="", files=gunicorn_conf.MAX_OPEN_FILES):
    """What a process prints that has begun as the arbiter does."""
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


def test_workers_share_all_libraries_but_onnx_runtime():
    names = ["flask", "numpy", "onnxruntime", "serving.inference.predictor"]
    found = arbiter(f"print(*[name for name in {names} if name in sys.modules])")
    assert found == ["flask", "numpy", "serving.inference.predictor"]


def test_keep_alive_is_the_idle_time_of_gunicorns_connections(monkeypatch):
    show = "print(gunicorn_conf.keepalive, gunicorn_conf.http_parser)"
    monkeypatch.delenv("FORWARDPASS_KEEP_ALIVE", raising=False)
    assert arbiter(show) == ["75", "python"]
    monkeypatch.setenv("FORWARDPASS_KEEP_ALIVE", "620")
    assert arbiter(show) == ["620", "python"]


def test_numpy_multiplies_in_a_worker_as_it_does_before_the_fork():
    # Large enough for all of BLAS's threads, which no fork takes with it.
    found = arbiter(
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
def test_as_many_files_may_be_open_as_the_system_grants(soft, hard, bound, allowed):
    found = arbiter(
        "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))",
        limit=f"ulimit -Sn {soft}; ulimit -Hn {hard};",
        files=bound,
    )
    assert found == [str(allowed), str(hard)]


def test_heartbeat_needs_no_folder():
    # gunicorn's own takes the folder of this setting, and ends the server where it cannot.
    beat = base.WorkerTmp(SimpleNamespace(worker_tmp_dir="/nowhere", umask=0))
    before = time.monotonic()
    beat.notify()
    assert before - 1e-6 <= beat.last_update() <= time.monotonic()
    beat.close()


def test_worker_keeps_no_file_in_a_folder_that_may_be_read_only(live):
    (worker,) = live.workers()
    files = [str(file.readlink()) for file in Path(f"/proc/{worker}/fd").iterdir()]
    assert any("heartbeat" in file for file in files)
    assert [f for f in files if f.startswith(("/dev/shm", "/tmp", "/var/tmp"))] == []  # noqa: S108


def test_pre_fork_signals_to_stop_wait_until_the_worker_handles_them(monkeypatch):
    monkeypatch.setattr(SharedCounters, "shared", SharedCounters(1))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        gunicorn_conf.pre_fork(None, SimpleNamespace())
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        gunicorn_conf._unblock_stop_signals()  # as the arbiter does after the fork
        assert blocked - before == {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT}
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
