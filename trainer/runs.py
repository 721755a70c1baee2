"""Record a training run in a folder, and read it for a report or another version of the model.

    runs/<name>/<version>/
      config.json        options of the run
      metrics.json       metrics on the held-out rows, their intervals, the baselines
      environment.json   Python, libraries, platform, processor, cores, seconds, graph SHA-256
      history.csv        learning rate, losses and validation error of each epoch
      health.json        diagnostics of the trained network, layer by layer
      weights.npz        parameters and running statistics of the layers
      test.parquet       test rows before preprocessing, and their targets

A bundle contains no row of the data and may be given to others. A run contains test rows, so it
stays where the data are.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainer.train_extra  # noqa: F401 - says which extra to install

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from serving.bundle import Bundle, Manifest, add_path_to_errors, create_folder, list_versions
from trainer.config import Config
from trainer.data.records import Records
from trainer.data.splits import Split, subsample
from trainer.data.tables import Table
from trainer.model import Model
from trainer.run_rows import rows_from_arrow, rows_to_arrow
from trainer.training.array_file import Arrays, DamagedFileError, read_arrays, write_arrays
from trainer.training.diagnostics import FAULTS, Measurement, measure_layer_health
from trainer.training.loop import VALIDATION_ERROR, Epoch

MAX_TEST_ROWS = 20_000
HEALTH_ROWS = 512  # the number of rows that the diagnostics measure during training
HISTORY_COLUMNS = ("epoch", "learning_rate", "train_loss", "validation_loss")


class RunError(Exception):
    """The folder of a run is missing, damaged or cannot be written; the message says which."""


@dataclass(frozen=True)
class RunFolder:
    """The content of a run's folder.

    Attributes:
        path: The folder.
        config: Options of the run.
        metrics: `metrics`, `intervals` and `baselines`, as in the manifest.
        environment: Python, libraries and machine of the run, and the SHA-256 of the exported graph
            under `graph`.
        history: One entry for each epoch.
        health: Diagnostics of the trained network, layer by layer.
        records: Test rows, at most `MAX_TEST_ROWS` of them.
        truth: Targets of the test rows, `(n,)` for classes, float64 `(n, n_targets)` for
            regression.
    """

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    environment: dict[str, Any]
    history: list[Epoch]
    health: list[Measurement]
    records: Records
    truth: NDArray[Any]

    def read_weights(self) -> Arrays:
        """Return the network's parameters and running statistics, as `Network.restore` takes them.

        Raises:
            RunError: If the file is missing or damaged.
        """
        try:
            return read_arrays(self.path / "weights.npz")
        except (DamagedFileError, OSError) as error:
            raise RunError(f"{self.path}: expected complete weights; {error}") from error


def write_run(
    runs: Path,
    bundle: Bundle,
    *,
    config: Config,
    model: Model,
    table: Table,
    split: Split,
    history: Sequence[Epoch],
) -> Path:
    """Record a run. A run of the same name and version is replaced.

    Args:
        runs: Folder of all runs; created if it does not exist.
        bundle: Bundle that the run exported.
        config: Options of the run.
        model: Trained model.
        table: Data that it was trained on.
        split: Split of the rows.
        history: One entry for each epoch.

    Returns:
        The run's folder.

    Raises:
        RunError: If the run cannot be written.
    """
    manifest = bundle.manifest
    path = runs / manifest.name / str(manifest.version)
    try:
        with create_folder(path.parent), _replace_folder(path) as building:
            for name, content in {
                "config": config.model_dump(mode="json"),
                "metrics": manifest.model_dump(include={"metrics", "intervals", "baselines"}),
                "environment": _describe_environment(bundle),
                "health": [
                    _measurement_to_json(m) for m in _measure_health(config, model, table, split)
                ],
            }.items():
                text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
                _write_text(building / f"{name}.json", f"{text}\n")
            _write_text(building / "history.csv", _history_to_csv(history))
            write_arrays(building / "weights.npz", model.network.snapshot())
            test_rows = subsample(split.test, MAX_TEST_ROWS)
            rows = rows_to_arrow(table.records.take(test_rows), table.target[test_rows])
            with add_path_to_errors(building / "test.parquet"):
                pa.parquet.write_table(rows, building / "test.parquet")
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"expected to record the run in {path}; {error}; the bundle is complete, but a report "
            f"on it will lack what the run holds"
        ) from error
    return path


@contextmanager
def _replace_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, which replaces it if the body succeeds."""
    building = path.with_name(f".{path.name}.building")
    try:
        shutil.rmtree(building, ignore_errors=True)  # left by a process that was killed
        building.mkdir()
        yield building
        shutil.rmtree(path, ignore_errors=True)  # of another repository's bundle of that name
        building.rename(path)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _write_text(path: Path, text: str) -> None:
    with add_path_to_errors(path):
        path.write_text(text, encoding="utf-8")


def find_run(runs: Path, manifest: Manifest) -> RunFolder:
    """Return the run that trained the graph of a bundle.

    A compressed version without a run of its own has the graph of an earlier version, whose run is
    returned.

    Args:
        runs: Folder of all runs.
        manifest: Manifest of the bundle.

    Raises:
        RunError: If there is none.
    """
    folder = runs / manifest.name
    try:
        return _read_matching_run(folder / str(manifest.version), manifest)
    except RunError:
        for version in reversed(list_versions(folder)):
            if version < manifest.version:
                with suppress(RunError):
                    return _read_matching_run(folder / str(version), manifest)
        raise


def _read_matching_run(path: Path, manifest: Manifest) -> RunFolder:
    run = read_run(path)
    expected, got = manifest.variants["fp32"].sha256, run.environment.get("graph")
    if got != expected:  # a run of another repository may have the same name and version
        raise RunError(
            f"{path}: expected the run that led to the graph {expected[:12]}…; got that of "
            f"{str(got)[:12]}…; name the right folder of runs with --runs"
        )
    return run


def copy_run(runs: Path, dense: Bundle, compressed: Bundle) -> Path:
    """Copy the run of a version for a version that was made from it and has the same graph.

    Args:
        runs: Folder of all runs.
        dense: Bundle that the run exported.
        compressed: Bundle that was made from `dense`.

    Returns:
        The new run's folder.

    Raises:
        RunError: If there is no such run, or it cannot be copied.
    """
    source = find_run(runs, dense.manifest).path
    path = runs / compressed.manifest.name / str(compressed.manifest.version)
    try:
        with create_folder(path.parent), _replace_folder(path) as building:
            shutil.copytree(source, building, dirs_exist_ok=True)
    except OSError as error:
        raise RunError(f"expected to record the run in {path}; {error}") from error
    return path


def read_run(path: Path) -> RunFolder:
    """Read the run that `write_run` recorded in the folder `path`, runs/NAME/VERSION.

    Raises:
        RunError: If there is no such folder, or one of its files is missing or damaged.
    """
    if not path.is_dir():
        raise RunError(
            f"expected the folder of a run; got {path}, which does not exist; name the folder of "
            f"runs with --runs, or train the model again"
        )
    try:
        config, metrics, environment, health = (
            json.loads((path / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("config", "metrics", "environment", "health")
        )
        records, truth = rows_from_arrow(pa.parquet.ParquetFile(path / "test.parquet").read())
        return RunFolder(
            path,
            config,
            metrics,
            environment,
            _history_from_csv((path / "history.csv").read_text(encoding="utf-8")),
            [_measurement_from_json(entry) for entry in health],
            records,
            truth,
        )
    except (
        AttributeError,
        IndexError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
        pa.ArrowException,
    ) as error:
        raise RunError(
            f"{path}: expected the complete folder of a run; {error}; train the model again"
        ) from error


def _describe_environment(bundle: Bundle) -> dict[str, Any]:
    libraries = dict(bundle.manifest.libraries)
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS
    return {
        "python": libraries.pop("python", platform.python_version()),
        "libraries": libraries,
        "platform": platform.platform(),
        "cpu": _get_processor_name(),
        "cores": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count(),
        "seconds": bundle.manifest.training.seconds,
        "graph": bundle.manifest.variants["fp32"].sha256,
    }


def _get_processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _measure_health(config: Config, model: Model, table: Table, split: Split) -> list[Measurement]:
    """Return the diagnostics of the trained network on some training rows of equal weight."""
    rows = model.encode_rows(table, np.sort(subsample(split.train, HEALTH_ROWS)))
    with np.errstate(all="ignore"):  # a value that is not finite is recorded as a fault
        return measure_layer_health(
            model.network, rows, model.loss, config.build_update_rule().penalty
        )


def _measurement_to_json(m: Measurement) -> dict[str, Any]:
    value = m.value if math.isfinite(m.value) else None  # JSON has no NaN and no infinity
    return {"name": m.fault, "where": m.where, "value": value, "healthy": m.is_healthy}


def _measurement_from_json(entry: dict[str, Any]) -> Measurement:
    if entry["name"] not in FAULTS:
        raise ValueError(f"expected a measure out of {', '.join(FAULTS)}; got {entry['name']}")
    value = entry["value"]
    return Measurement(entry["name"], math.nan if value is None else float(value), entry["where"])


def _history_to_csv(history: Sequence[Epoch]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    # Only some runs measure the error; other metrics are those of callbacks.
    metrics = [m for m in (VALIDATION_ERROR,) if history and all(m in e.metrics for e in history)]
    writer.writerow([*HISTORY_COLUMNS, *metrics])
    writer.writerows(
        [e.number, e.learning_rate, e.train_loss, e.validation_loss, *map(e.metrics.get, metrics)]
        for e in history
    )
    return text.getvalue()


def _history_from_csv(text: str) -> list[Epoch]:
    lines = csv.DictReader(io.StringIO(text))
    columns = tuple(lines.fieldnames or ())
    if columns not in (HISTORY_COLUMNS, (*HISTORY_COLUMNS, VALIDATION_ERROR)):
        raise ValueError(f"history.csv: expected the columns {', '.join(HISTORY_COLUMNS)}")
    return [
        Epoch(
            int(line["epoch"]),
            float(line["train_loss"]),
            float(line["validation_loss"]) if line["validation_loss"] else None,
            float(line["learning_rate"]) if line["learning_rate"] else None,
            {VALIDATION_ERROR: float(line[VALIDATION_ERROR])}
            if VALIDATION_ERROR in columns
            else {},
        )
        for line in lines
    ]
