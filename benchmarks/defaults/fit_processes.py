"""Run each fit in a process of its own, and keep its result, so that a run can be continued.

A fit gets its job as JSON on its standard input, writes its predictions to a file, and answers with
JSON on its standard output: `seconds` of the training, `peak_mb` of the process.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.defaults.error_measures import measure_errors
from benchmarks.defaults.shared_tables import SharedTable
from benchmarks.machine import ROOT

FOLDER = Path(__file__).parent
RIVAL_SCRIPT = FOLDER / "rival_fit.py"
# Sources that decide the results of all contenders.
SHARED_SOURCES = tuple(
    FOLDER / f"{name}.py" for name in ("error_measures", "fit_processes", "shared_tables")
)
RIVALS = ("lightgbm", "catboost", "xgboost", "histgradientboosting", "mlp")
TIMEOUT_SECONDS = 300.0
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
MAX_LOG_CHARACTERS = 500


@dataclass(frozen=True)
class TrainingContender:
    """A rival, or a configuration of ours.

    Attributes:
        name: Name in the results.
        options: Options of our training; None for a rival.
    """

    name: str
    options: Mapping[str, str] | None = None

    @classmethod
    def parse(cls, text: str) -> TrainingContender:
        """Return a configuration of ours.

        Args:
            text: A preset, or a preset, a colon and options, such as
                `balanced: dropout=0.1 epochs=64`.

        Raises:
            ValueError: If an option has no value.
        """
        preset, _, words = text.partition(":")
        options = {"preset": preset.strip()}
        for word in words.split():
            name, separator, value = word.partition("=")
            if not separator:
                raise ValueError(
                    f"expected options such as dropout=0.1 after the colon; got {word!r}; write "
                    f"NAME=VALUE"
                )
            options[name.replace("-", "_")] = value
        return cls(" ".join(text.split()), options)


@dataclass(frozen=True)
class FitRunner:
    """Runs fits, and keeps their results in a folder.

    Attributes:
        folder: Folder of the results.
        rival_python: Python interpreter of the rivals' environment; None if no rival is fitted.
        threads: Number of threads of each fit.
        timeout: Longest duration of a fit, in seconds.
    """

    folder: Path
    rival_python: str | None = None
    threads: int = 2
    timeout: float = TIMEOUT_SECONDS

    def run(
        self,
        contender: TrainingContender,
        table: SharedTable,
        seed: int,
        *,
        measure_bundle: bool = False,
    ) -> dict[str, Any]:
        """Return the errors, the seconds and the memory of a fit, which is run if it is new.

        Args:
            contender: TrainingContender that is fitted.
            table: Rows with their split.
            seed: Seed of the fit.
            measure_bundle: Whether ours is exported and timed.

        Returns:
            `failed`, a text, if the fit has failed; it is not kept, unless it took too long. In
            any case `process_seconds`, the duration of its process.
        """
        is_ours = contender.options is not None
        key = {
            "contender": contender.name if contender.options is None else contender.options,
            "table": table.compute_digest(),
            "seed": seed,
            "threads": self.threads,
            "timeout": self.timeout,
            "code": compute_our_digest() if is_ours else compute_rival_digest(self.rival_python),
            "measure_bundle": measure_bundle,
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
        path = self.folder / f"{digest}.json"
        if path.exists():
            kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["result"]
            return kept
        started = time.perf_counter()
        result = self._fit(contender, table, seed, measure_bundle=measure_bundle)
        result["process_seconds"] = time.perf_counter() - started
        if "failed" not in result or result.get("timeout"):
            self.folder.mkdir(parents=True, exist_ok=True)
            entry = {"table_name": table.name, "key": key, "result": result}
            # Renamed when complete, so that an interrupted run leaves no half of a file.
            building = path.with_suffix(".building")
            building.write_text(json.dumps(entry, indent=1), encoding="utf-8")
            building.replace(path)
        return result

    def _fit(
        self, contender: TrainingContender, table: SharedTable, seed: int, *, measure_bundle: bool
    ) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            table.write(folder / "table.npz")
            job = {
                "contender": contender.name,
                "options": contender.options,
                "table": str(folder / "table.npz"),
                "predictions": str(folder / "predictions.npz"),
                "seed": seed,
                "threads": self.threads,
                "measure_bundle": measure_bundle,
            }
            try:
                done = subprocess.run(
                    self._get_command(contender),
                    input=json.dumps(job),
                    capture_output=True,
                    text=True,
                    cwd=ROOT,
                    env=self._get_environment(contender),
                    timeout=self.timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return {"failed": f"no result after {self.timeout:g} s", "timeout": True}
            if done.returncode:
                return {"failed": done.stderr[-MAX_LOG_CHARACTERS:] or f"exit {done.returncode}"}
            with np.load(folder / "predictions.npz", allow_pickle=False) as predictions:
                try:
                    errors = measure_errors(table.task, table.target[table.test], predictions)
                except ValueError as error:
                    return {"failed": str(error)}
            return {**errors, **json.loads(done.stdout.splitlines()[-1])}

    def _get_command(self, contender: TrainingContender) -> Sequence[str]:
        if contender.options is not None:
            return [sys.executable, "-m", "benchmarks.defaults.our_fit"]
        if self.rival_python is None:
            raise ValueError(
                f"expected the Python interpreter of the rivals for {contender.name}; got none; "
                f"say --rivals-python"
            )
        return [self.rival_python, str(RIVAL_SCRIPT)]

    def _get_environment(self, contender: TrainingContender) -> dict[str, str]:
        variables = os.environ | dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        if contender.options is None:
            variables.pop("PYTHONPATH", None)
            return variables
        return variables | {"PYTHONPATH": str(ROOT)}


@cache
def compute_our_digest() -> str:
    """Return a digest of the sources that decide the results of our fits."""
    sources = [path for path in (ROOT / "trainer").rglob("*.py") if "cli" not in path.parts]
    return compute_files_digest([*sources, FOLDER / "our_fit.py", *SHARED_SOURCES])


@cache
def compute_rival_digest(python: str | None) -> str:
    """Return a digest of the versions of the rivals and of the sources of their fits."""
    versions = json.dumps(read_rival_versions(python)) if python else ""
    return hashlib.sha256(
        (versions + compute_files_digest([RIVAL_SCRIPT, *SHARED_SOURCES])).encode()
    ).hexdigest()


@cache
def read_rival_versions(python: str) -> dict[str, str]:
    """Return the versions of the packages in the rivals' environment.

    Args:
        python: Python interpreter of that environment.
    """
    code = (
        "import json; from importlib.metadata import distributions; "
        "print(json.dumps(sorted({d.name.lower(): d.version for d in distributions()}.items())))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def compute_files_digest(paths: Iterable[Path]) -> str:
    """Return a digest of the content of some files."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()
