"""How gunicorn runs the application: what its arbiter does before there are workers."""

import subprocess
import sys

# A process of its own: what the arbiter imports stays.
START = """import os, sys
from serving import gunicorn_conf
gunicorn_conf.on_starting(None)
"""


def arbiter(script):
    """What a process prints that has begun as the arbiter does."""
    done = subprocess.run(
        [sys.executable, "-c", START + script],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_workers_share_all_libraries_but_onnx_runtime():
    names = ["flask", "numpy", "onnxruntime", "serving.predict"]
    found = arbiter(f"print(*[name for name in {names} if name in sys.modules])")
    assert found == ["flask", "numpy", "serving.predict"]


def test_numpy_multiplies_in_a_worker_as_it_does_before_the_fork():
    # Large enough for all of BLAS's threads, which no fork takes with it.
    found = arbiter(
        "import numpy as np; a = np.arange(640_000.0).reshape(800, 800); before = a @ a; "
        "child = os.fork(); "
        "child or os._exit(0 if np.array_equal(a @ a, before) else 1); "
        "print(os.waitpid(child, 0)[1])"
    )
    assert found == ["0"]
