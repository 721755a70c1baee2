"""Train on a file more than twice as large as a memory limit, and score it under the same limit.

Writes a CSV file of the given size with numbers, categories, a date and missing values. Then runs
`trainer fit` and `trainer score` on it, each in a control group of its own with the memory limit.
Needs root, for the control groups, and disk space for three times the file.

    python -m benchmarks.training.larger_than_memory --size 1000 --limit 400
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

MIB = 2**20
BLOCK_ROWS = 50_000  # rows that are written at a time
NUMBER_COLUMNS = 36
TOWNS = ("Aachen", "Berlin", "Cuxhaven", "Dresden", "Essen", "Fulda", "Gotha")
MISSING_SHARE = 0.02
CONTROL_GROUPS = Path("/sys/fs/cgroup")


def write_table(path: Path, size: int) -> int:
    """Write a table with a target that can be learned, and return its number of rows.

    Args:
        path: CSV file to write.
        size: Least size of the file, in bytes.
    """
    rng = np.random.default_rng(0)
    slope = rng.normal(size=NUMBER_COLUMNS)
    rows, writer = 0, None
    with path.open("wb") as file:
        while file.tell() < size:
            table = _draw_block(slope, rng)
            writer = writer or pa.csv.CSVWriter(file, table.schema)
            writer.write_table(table)
            rows += BLOCK_ROWS
        writer.close()
    return rows


def _draw_block(slope: np.ndarray, rng: np.random.Generator) -> pa.Table:
    numbers = rng.normal(size=(BLOCK_ROWS, NUMBER_COLUMNS)).round(5)
    town = rng.integers(0, len(TOWNS), BLOCK_ROWS)
    days = rng.integers(14_000, 20_000, BLOCK_ROWS)
    logit = numbers @ slope / 2 + (town == 2) * 3 + (days > 19_000) * 2
    target = np.where(logit + rng.logistic(size=BLOCK_ROWS) > 0, "yes", "no")
    return pa.table(
        {f"n{i:02}": _remove_values(numbers[:, i], rng) for i in range(NUMBER_COLUMNS)}
        | {
            "town": pa.array(np.array(TOWNS)[town]),
            "code": pa.array([f"c{n}" for n in rng.zipf(1.5, BLOCK_ROWS) % 500]),
            "day": pa.array(days, pa.int32()).cast(pa.date32()),
            "answer": pa.array(target),
        }
    )


def _remove_values(values: np.ndarray, rng: np.random.Generator) -> pa.Array:
    return pa.array(values, mask=rng.random(len(values)) < MISSING_SHARE)


def create_control_group(limit: int) -> Path:
    """Create a control group, of version 1 or 2, with a memory limit in bytes."""
    is_version_1 = (CONTROL_GROUPS / "memory").is_dir()
    parent = CONTROL_GROUPS / "memory" if is_version_1 else CONTROL_GROUPS
    path = parent / f"forwardpass-{os.getpid()}"
    path.mkdir()
    (path / ("memory.limit_in_bytes" if is_version_1 else "memory.max")).write_text(str(limit))
    return path


def _read_peak_bytes(group: Path) -> int:
    """Return the peak memory of a control group in bytes, cached pages of files included."""
    files = (group / "memory.max_usage_in_bytes", group / "memory.peak")
    return next((int(file.read_text()) for file in files if file.is_file()), 0)


def run_limited(arguments: list[str], limit: int) -> None:
    """Run a command of the trainer with a memory limit in bytes, and print its time and memory.

    Raises:
        SystemExit: If the command fails.
    """
    group = create_control_group(limit)
    start = time.perf_counter()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "trainer", *arguments],
            preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),  # noqa: PLW1509
        )
        status = process.wait()
        seconds = time.perf_counter() - start
        sys.stdout.write(
            f"trainer {arguments[0]}: exit status {status}, {seconds:.0f} s, at most "
            f"{_read_peak_bytes(group) / MIB:.0f} MiB of {limit // MIB}, cached pages of files "
            "included\n"
        )
        if status:
            raise SystemExit(1)
    finally:
        for _ in range(50):  # The kernel frees a group a moment after its last process.
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.1)


def main() -> None:
    """Write the file, train on it, and score it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--size", type=int, default=1000, help="size of the file, in MiB [default: 1000]"
    )
    parser.add_argument(
        "--limit", type=int, default=400, help="memory limit, in MiB [default: 400]"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, output, limit = folder / "large.csv", folder / "out.csv", options.limit * MIB
        rows = write_table(file, options.size * MIB)
        sys.stdout.write(f"{file.name}: {rows:,} rows, {file.stat().st_size / MIB:.0f} MiB\n")
        sys.stdout.flush()
        folders = ["--models", str(folder / "models"), "--runs", str(folder / "runs")]
        sizes = ["--epochs", "2", "--hidden", "32", "--batch-size", "256"]
        run_limited(["fit", str(file), *folders, *sizes], limit)
        run_limited(["score", str(folder / "models/large"), str(file), "-o", str(output)], limit)
        with output.open("rb") as scored:
            lines = sum(block.count(b"\n") for block in iter(lambda: scored.read(MIB), b""))
        sys.stdout.write(f"out.csv: {lines - 1:,} rows\n")


if __name__ == "__main__":
    main()
