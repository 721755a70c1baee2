"""Machine and commit, which every benchmark records, and how it sums up and writes its results."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# Packages on which the speed of this project's server depends; their versions are recorded.
SERVER_LIBRARIES = (
    "gevent",
    "gunicorn",
    "gunicorn_h1c",
    "numpy",
    "onnxruntime",
    "orjson",
    "pysimdjson",
)
# What the benchmarks themselves write. A change there does not mark the commit as changed, so that
# benchmarks that run one after the other all name the same sources.
WRITTEN_PATHS = (
    "README.md",
    "benchmarks/results",
    "docs/benchmarks",
    "docs/benchmarks.md",
    "docs/compression.md",
    "docs/results.md",
)


def describe_machine() -> dict[str, object]:
    """Return CPU, number of cores, system and Python version of this machine."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def describe_commit() -> str:
    """Return the commit that is measured, with `-dirty` if a source file differs from it."""
    sources = [".", *(f":(exclude){path}" for path in WRITTEN_PATHS)]
    changes = _run_git("status", "--porcelain", "--untracked-files=no", "--", *sources)
    return _run_git("describe", "--always") + ("-dirty" if changes else "")


def _run_git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def read_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of packages, by name."""
    return {name: version(name) for name in packages}


def compute_quartiles(values: NDArray[Any]) -> dict[str, float]:
    """Return median, lower and upper quartile of values `(n,)`, rounded to three decimals."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": round(median, 3), "low": round(low, 3), "high": round(high, 3)}


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write the results of a benchmark as JSON."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
