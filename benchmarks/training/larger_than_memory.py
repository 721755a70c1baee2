"""Train on a file more than twice the size of a memory limit, and score it under the same limit.

Writes a CSV file of the given size, of numbers, categories, a date and gaps, then runs `trainer
fit` and `trainer score` on it, each in a control group of its own that may have no more memory than
the limit. Needs root, for the control groups, and disk for the file three times over.

    python benchmarks/training/larger_than_memory.py --size 1000 --limit 400
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

MB = 2**20
ROWS = 50_000  # written at a time
NUMBERS, WORDS = 36, ("Aachen", "Berlin", "Cuxhaven", "Dresden", "Essen", "Fulda", "Gotha")
GROUPS = Path("/sys/fs/cgroup")


def write(path: Path, size: int) -> int:
    """Rows that can be learned from, until the file has `size` bytes; returns how many."""
    rng = np.random.default_rng(0)
    slope = rng.normal(size=NUMBERS)
    rows, writer = 0, None
    with path.open("wb") as file:
        while file.tell() < size:
            numbers = rng.normal(size=(ROWS, NUMBERS)).round(5)
            town = rng.integers(0, len(WORDS), ROWS)
            days = rng.integers(14_000, 20_000, ROWS)
            logit = numbers @ slope / 2 + (town == 2) * 3 + (days > 19_000) * 2
            target = np.where(logit + rng.logistic(size=ROWS) > 0, "yes", "no")
            table = pa.table(
                {f"n{i:02}": _with_gaps(numbers[:, i], rng) for i in range(NUMBERS)}
                | {
                    "town": pa.array(np.array(WORDS)[town]),
                    "code": pa.array([f"c{n}" for n in rng.zipf(1.5, ROWS) % 500]),
                    "day": pa.array(days, pa.int32()).cast(pa.date32()),
                    "answer": pa.array(target),
                }
            )
            writer = writer or pa.csv.CSVWriter(file, table.schema)
            writer.write_table(table)
            rows += ROWS
        writer.close()
    return rows


def _with_gaps(values: np.ndarray, rng: np.random.Generator) -> pa.Array:
    return pa.array(values, mask=rng.random(len(values)) < 0.02)


def group(limit: int) -> Path:
    """A new control group that may have `limit` bytes, whichever version the kernel has."""
    version_1 = (GROUPS / "memory").is_dir()
    path = (GROUPS / "memory" if version_1 else GROUPS) / f"forwardpass-{os.getpid()}"
    path.mkdir()
    (path / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(limit))
    return path


def _peak(place: Path) -> int:
    """The most bytes that the group ever had, pages of files among them."""
    files = (place / "memory.max_usage_in_bytes", place / "memory.peak")
    return next((int(file.read_text()) for file in files if file.is_file()), 0)


def run(arguments: list[str], limit: int) -> None:
    """Run a command of the trainer within the limit, and say what it took."""
    place = group(limit)
    start = time.perf_counter()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "trainer", *arguments],
            preexec_fn=lambda: (place / "cgroup.procs").write_text(str(os.getpid())),  # noqa: PLW1509
        )
        code = process.wait()
        seconds = time.perf_counter() - start
        sys.stdout.write(
            f"trainer {arguments[0]}: exit status {code}, {seconds:.0f} s, at most "
            f"{_peak(place) / MB:.0f} MiB of {limit // MB}, what it keeps of the file included\n"
        )
        if code:
            raise SystemExit(1)
    finally:
        for _ in range(50):  # the kernel lets go of a group a moment after its last process
            try:
                place.rmdir()
                break
            except OSError:
                time.sleep(0.1)


def main() -> None:
    """Write, train, score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="of the file, MiB")
    parser.add_argument("--limit", type=int, default=400, help="of memory, MiB")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, limit = folder / "large.csv", asked.limit * MB
        rows = write(file, asked.size * MB)
        sys.stdout.write(f"{file.name}: {rows:,} rows, {file.stat().st_size / MB:.0f} MiB\n")
        sys.stdout.flush()
        places = ["--models", str(folder / "models"), "--runs", str(folder / "runs")]
        run(
            ["fit", str(file), *places, "--epochs", "2", "--hidden", "32", "--batch-size", "256"],
            limit,
        )
        scored_file = str(folder / "out.csv")
        run(["score", str(folder / "models/large"), str(file), "-o", scored_file], limit)
        with (folder / "out.csv").open("rb") as scored:
            lines = sum(block.count(b"\n") for block in iter(lambda: scored.read(MB), b""))
        sys.stdout.write(f"out.csv: {lines - 1:,} rows\n")


if __name__ == "__main__":
    main()
