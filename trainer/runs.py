"""Runs: what a training run leaves beside its bundle, to look at and never to serve.

    runs/<name>/<version>/
      config.json        every choice
      metrics.json       held-out metrics, their intervals, the baselines
      environment.json   Python, libraries, platform, processor, cores, seconds, the graph's sum
      history.csv        what each epoch led to
      health.json        what the finished network makes of some training rows, layer by layer
      weights.npz        parameters and running statistics of the layers
      test.parquet       rows the model was judged on, as they came, and their truth

A bundle travels and holds no row of the data; this folder stays where the data are.
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

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from serving.bundle import Bundle, Manifest, add_path_to_errors, create_folder, list_versions
from trainer.config import Config
from trainer.data.records import MISSING, Column, Kind, Records
from trainer.data.splits import Split, subsample
from trainer.data.tables import Table
from trainer.model import Model
from trainer.training.array_file import Arrays, DamagedFileError, read_arrays, write_arrays
from trainer.training.diagnostics import FAULTS, Measurement, measure_layer_health
from trainer.training.loop import Epoch

MAX_TEST_ROWS = 20_000
HEALTH_ROWS = 512  # as many as diagnostics look at while it trains
TARGET = "__target__"
MICROSECONDS = 1_000_000  # in a second: the unit dates are kept in
COLUMNS = ("epoch", "learning_rate", "train_loss", "validation_loss")


class RunError(Exception):
    """The folder of a run is missing, damaged or cannot be written; the message says which."""


@dataclass(frozen=True)
class RunFolder:
    """What a run left.

    Attributes:
        path: the folder.
        config: every choice.
        metrics: `metrics`, `intervals` and `baselines`, as in the manifest.
        environment: where it ran, and `graph`, the sha256 of the graph it led to.
        history: one entry per epoch.
        health: of the finished network, layer by layer.
        records: the rows it was judged on, at most `MOST_TEST_ROWS` of them.
        truth: their targets, `(n,)` for classes, float64 `(n, n_targets)` for regression.
    """

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    environment: dict[str, Any]
    history: list[Epoch]
    health: list[Measurement]
    records: Records
    truth: NDArray[Any]

    def weights(self) -> Arrays:
        """The network's parameters and running statistics, as `Network.restore` takes them.

        Raises:
            RunError: the file is missing or damaged.
        """
        try:
            return read_arrays(self.path / "weights.npz")
        except (DamagedFileError, OSError) as error:
            raise RunError(f"{self.path}: expected whole weights; {error}") from error


def write_run(
    runs: Path,
    bundle: Bundle,
    *,
    config: Config,
    model: Model,
    table: Table,
    parts: Split,
    history: Sequence[Epoch],
) -> Path:
    """Keep a run beside its bundle; one of the same name and version is replaced.

    Args:
        runs: where runs are kept; made if it does not exist.
        bundle: what the run led to, already written.
        config: every choice.
        model: trained.
        table: what it was trained on.
        parts: which rows of it served for what.
        history: one entry per epoch.

    Returns:
        The run's folder.

    Raises:
        RunError: it cannot be written; the bundle is whole all the same.
    """
    manifest = bundle.manifest
    place = runs / manifest.name / str(manifest.version)
    try:
        with create_folder(place.parent), _replacing(place) as building:
            for name, content in {
                "config": config.model_dump(mode="json"),
                "metrics": manifest.model_dump(include={"metrics", "intervals", "baselines"}),
                "environment": _environment(bundle),
                "health": [_described(m) for m in _health(config, model, table, parts)],
            }.items():
                text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
                _write_text(building / f"{name}.json", f"{text}\n")
            _write_text(building / "history.csv", _lines(history))
            write_arrays(building / "weights.npz", model.network.snapshot())
            judged = subsample(parts.test, MAX_TEST_ROWS)
            rows = _frame(table.records.take(judged), table.target[judged])
            with add_path_to_errors(building / "test.parquet"):
                pa.parquet.write_table(rows, building / "test.parquet")
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"expected to keep the run in {place}; {error}; the bundle is whole, and its report "
            f"will say less"
        ) from error
    return place


@contextmanager
def _replacing(place: Path) -> Iterator[Path]:
    """Give a folder to write to, which takes the place of the one there is if all goes well."""
    building = place.with_name(f".{place.name}.building")
    try:
        shutil.rmtree(building, ignore_errors=True)  # of a writer that was killed
        building.mkdir()
        yield building
        shutil.rmtree(place, ignore_errors=True)  # of another repository's bundle of that name
        building.rename(place)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _write_text(path: Path, text: str) -> None:
    with add_path_to_errors(path):
        path.write_text(text, encoding="utf-8")


def find_run(runs: Path, manifest: Manifest) -> RunFolder:
    """The run that led to a graph: its own or, of a compressed version, an earlier one's.

    Raises:
        RunError: If there is none.
    """
    kept = runs / manifest.name
    try:
        return _read(kept / str(manifest.version), manifest)
    except RunError:
        for version in reversed(list_versions(kept)):
            if version < manifest.version:
                with suppress(RunError):
                    return _read(kept / str(version), manifest)
        raise


def _read(path: Path, manifest: Manifest) -> RunFolder:
    run = read_run(path)
    expected, got = manifest.variants["fp32"].sha256, run.environment.get("graph")
    if got != expected:  # a run of another repository may have the same name and number
        raise RunError(
            f"{path}: expected the run that led to the graph {expected[:12]}…; got that of "
            f"{str(got)[:12]}…; name its folder with --runs"
        )
    return run


def copy_run(runs: Path, dense: Bundle, made: Bundle) -> Path:
    """Keep the run of a version for another with the same graph, that was made of it.

    Returns:
        The new run's folder.

    Raises:
        RunError: If there is no such run, or it cannot be copied.
    """
    found = find_run(runs, dense.manifest).path
    place = runs / made.manifest.name / str(made.manifest.version)
    try:
        with create_folder(place.parent), _replacing(place) as building:
            shutil.copytree(found, building, dirs_exist_ok=True)
    except OSError as error:
        raise RunError(f"expected to keep the run in {place}; {error}") from error
    return place


def read_run(path: Path) -> RunFolder:
    """Read what `write_run` left in `path`, runs/NAME/VERSION.

    Raises:
        RunError: there is no such folder, or a file of it is missing or damaged.
    """
    if not path.is_dir():
        raise RunError(
            f"expected the folder of a run; got {path}, which is none; name it with --runs, or "
            f"train the model again"
        )
    try:
        config, metrics, environment, health = (
            json.loads((path / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("config", "metrics", "environment", "health")
        )
        rows = pa.parquet.ParquetFile(path / "test.parquet").read()
        records, truth = _unframe(rows)
        return RunFolder(
            path,
            config,
            metrics,
            environment,
            _epochs((path / "history.csv").read_text(encoding="utf-8")),
            [_measurement(entry) for entry in health],
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
            f"{path}: expected the whole folder of a run; {error}; train the model again"
        ) from error


def _environment(bundle: Bundle) -> dict[str, Any]:
    libraries = dict(bundle.manifest.libraries)
    return {
        "python": libraries.pop("python", platform.python_version()),
        "libraries": libraries,
        "platform": platform.platform(),
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "seconds": bundle.manifest.training.seconds,
        "graph": bundle.manifest.variants["fp32"].sha256,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _health(config: Config, model: Model, table: Table, parts: Split) -> list[Measurement]:
    """Of the network as it is now, on training rows; all rows count alike."""
    rows = model.rows(table, np.sort(subsample(parts.train, HEALTH_ROWS)))
    with np.errstate(all="ignore"):  # what is not finite is told as such
        return measure_layer_health(model.network, rows, model.loss, config.update().penalty)


def _described(m: Measurement) -> dict[str, Any]:
    value = m.value if math.isfinite(m.value) else None  # JSON has no word for infinity
    return {"name": m.fault, "where": m.where, "value": value, "healthy": m.is_healthy}


def _measurement(entry: dict[str, Any]) -> Measurement:
    if entry["name"] not in FAULTS:
        raise ValueError(f"expected a measure out of {', '.join(FAULTS)}; got {entry['name']}")
    value = entry["value"]
    return Measurement(entry["name"], math.nan if value is None else float(value), entry["where"])


def _lines(history: Sequence[Epoch]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((e.number, e.learning_rate, e.train_loss, e.validation_loss) for e in history)
    return text.getvalue()


def _epochs(text: str) -> list[Epoch]:
    lines = csv.DictReader(io.StringIO(text))
    if tuple(lines.fieldnames or ()) != COLUMNS:
        raise ValueError(f"history.csv: expected the columns {', '.join(COLUMNS)}")
    return [
        Epoch(
            int(line["epoch"]),
            float(line["train_loss"]),
            float(line["validation_loss"]) if line["validation_loss"] else None,
            float(line["learning_rate"]) if line["learning_rate"] else None,
        )
        for line in lines
    ]


def _frame(records: Records, truth: NDArray[Any]) -> pa.Table:
    """Records and their truth as a table: gaps are nulls, the truth is its last columns."""
    columns = [
        (column.name, _arrow(column, records.column(column.name))) for column in records.columns
    ]
    if truth.ndim == 1:
        columns.append((TARGET, pa.array(truth)))
    elif truth.shape[1] == 1:
        columns.append((TARGET, pa.array(truth[:, 0])))
    else:
        columns += [(f"__target_{i}__", pa.array(values)) for i, values in enumerate(truth.T)]
    # By place and not by name: a column may be called as the truth is.
    schema = pa.schema(
        [pa.field(name, array.type) for name, array in columns],
        metadata={"features": str(len(records.columns))},
    )
    return pa.Table.from_arrays([array for _, array in columns], schema=schema)


def _arrow(column: Column, values: NDArray[Any]) -> pa.Array:
    if column.kind == "category":
        words = np.array([*column.words, None], dtype=object)  # MISSING, −1, is the last
        return pa.array(words[values], pa.string())
    gaps = np.isnan(values)
    if column.kind == "boolean":
        return pa.array(values == 1, mask=gaps)
    if column.kind == "date":
        moments = np.round(np.where(gaps, 0, values) * MICROSECONDS).astype(np.int64)
        return pa.array(moments, pa.timestamp("us", tz="UTC"), mask=gaps)
    return pa.array(values, mask=gaps)


def _unframe(rows: pa.Table) -> tuple[Records, NDArray[Any]]:
    n = int((rows.schema.metadata or {})[b"features"])
    columns: list[Column] = []
    kinds = ("number", "date", "category", "precise")
    arrays: dict[str, list[NDArray[Any]]] = {kind: [] for kind in kinds}
    for field, values in zip(list(rows.schema)[:n], rows.columns[:n], strict=True):
        column, array = _column(field, values.combine_chunks())
        columns.append(column)
        arrays["number" if column.kind == "boolean" else column.kind].append(array)
    truth = [values.combine_chunks().to_numpy(zero_copy_only=False) for values in rows.columns[n:]]
    if truth[0].dtype.kind in "iO":
        target = truth[0].astype(np.str_) if truth[0].dtype == object else truth[0]
    else:
        target = np.column_stack(truth)
    return Records(
        tuple(columns),
        _beside(arrays["number"], rows.num_rows, np.float32),
        _beside(arrays["date"], rows.num_rows, np.float64),
        _beside(arrays["category"], rows.num_rows, np.int32),
        _beside(arrays["precise"], rows.num_rows, np.float64),
    ), target


def _column(field: pa.Field, values: pa.Array) -> tuple[Column, NDArray[Any]]:
    if pa.types.is_string(field.type):
        coded = values.dictionary_encode()
        words = tuple(coded.dictionary.to_pylist())
        codes = coded.indices.fill_null(MISSING).to_numpy(zero_copy_only=False)
        return Column(field.name, "category", words), codes
    gaps = values.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_timestamp(field.type):
        moments = values.cast(pa.int64()).fill_null(0).to_numpy() / MICROSECONDS
        return Column(field.name, "date"), np.where(gaps, np.nan, moments)
    if pa.types.is_boolean(field.type):
        truths = values.fill_null(False).to_numpy(zero_copy_only=False)
        return Column(field.name, "boolean"), np.where(gaps, np.nan, truths)
    kind: Kind = "precise" if pa.types.is_float64(field.type) else "number"
    return Column(field.name, kind), np.where(gaps, np.nan, values.fill_null(0).to_numpy())


def _beside(arrays: list[NDArray[Any]], rows: int, dtype: type) -> NDArray[Any]:
    return np.column_stack(arrays).astype(dtype) if arrays else np.empty((rows, 0), dtype)
