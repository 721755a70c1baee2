"""Measure training steps per second against PyTorch (eager and fused Adam) and scikit-learn.

All libraries train the same networks on the same rows, in the same batches, with Adam, in float32
and on the same number of threads. This project's loop runs with and without its compiled kernel.
The matrix products of a step alone, by NumPy's BLAS, are measured as well: their share of a step,
and how far a step that did nothing else would be ahead of a rival, which is the limit of any loop
over NumPy.

    python -m benchmarks.training.steps_per_second --torch PYTHON [--rounds N] [--seconds S]

Each library runs in a process of its own, which waits while another one is measured. They are
measured in turn, round after round, so that whatever slows the machine down for a while slows all
of them. Reported are the medians and quartiles of the ratios within a round; an absolute number of
steps means little.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.machine import (
    RESULTS,
    ROOT,
    compute_quartiles,
    describe_commit,
    describe_machine,
    read_versions,
    write_report,
)


@dataclass(frozen=True)
class TrainingCase:
    """A network and its training rows.

    Attributes:
        widths: Number of inputs, of units of each hidden layer, and of classes.
        batch: Rows of a batch.
        rows: Number of training rows.
    """

    widths: tuple[int, ...]
    batch: int
    rows: int

    @property
    def name(self) -> str:
        """Name in the results, such as `784-128-64-10`."""
        return "-".join(map(str, self.widths))


CASES = (
    TrainingCase((30, 16, 8, 2), 32, 3200),
    TrainingCase((2, 16, 8, 2), 400, 8000),
    TrainingCase((784, 128, 64, 10), 128, 3840),
    TrainingCase((784, 512, 512, 10), 128, 2560),
    TrainingCase((784, 1024, 1024, 10), 256, 2560),
)
OURS, PRODUCTS = ("ours", "ours-numpy"), "products"
RIVALS = ("torch-eager", "torch-fused", "sklearn")
LIBRARIES = (*OURS, PRODUCTS, *RIVALS)
PACKAGES = ("numpy", "scikit-learn", "numba")


class TrainingProcess:
    """A library that trains one network, in a process of its own.

    Args:
        library: Name of the library, one of `LIBRARIES`.
        python: Python interpreter of its environment.
        case: The network and its rows.
    """

    def __init__(self, library: str, python: str, case: TrainingCase) -> None:
        # As a module: a script's folder would come first on the path of imports, and its modules
        # would hide those of the standard library.
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.training.library_process", library],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        self._request(json.dumps({"widths": case.widths, "batch": case.batch, "rows": case.rows}))

    def train(self, seconds: float) -> dict[str, float]:
        """Train for about so many seconds; return `steps`, `seconds` and `peak_mb` of memory."""
        measured: dict[str, float] = self._request(str(seconds))
        return measured

    def stop(self) -> None:
        """End the process."""
        self._process.communicate("\n", timeout=60)

    def _request(self, line: str) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("expected pipes to the process; got none")
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(
                f"expected an answer of {self._process.args!r}; got none: it has ended; see "
                "its output above"
            )
        return json.loads(answer)


def measure_case(
    case: TrainingCase, pythons: Mapping[str, str], rounds: int, seconds: float
) -> dict[str, Any]:
    """Measure all libraries on one case, in turn, and return its entry in the results.

    Args:
        case: The network and its rows.
        pythons: Python interpreter of each library.
        rounds: Number of rounds.
        seconds: Seconds of training per library and round.
    """
    processes = {name: TrainingProcess(name, pythons[name], case) for name in LIBRARIES}
    rates: dict[str, list[float]] = {name: [] for name in LIBRARIES}
    peak_mb: dict[str, float] = {}
    title = f"{case.name}, batch {case.batch}"
    try:
        for _ in track(range(rounds), title, console=Console(stderr=True)):
            for name, process in processes.items():
                measured = process.train(seconds)
                rates[name].append(measured["steps"] / measured["seconds"])
                peak_mb[name] = round(measured["peak_mb"])
    finally:
        for process in processes.values():
            process.stop()
    pairs = [(ours, other) for ours in OURS for other in (PRODUCTS, *RIVALS)]
    pairs += [(PRODUCTS, rival) for rival in RIVALS]
    return {
        "name": case.name,
        "batch": case.batch,
        "steps_per_second": {name: round(float(np.median(r))) for name, r in rates.items()},
        "ratios": {
            f"{one} / {other}": compute_quartiles(np.array(rates[one]) / np.array(rates[other]))
            for one, other in pairs
        },
        "peak_mb": peak_mb,
    }


@click.command(help=__doc__)
@click.option(
    "--torch",
    "torch_python",
    required=True,
    help="Python interpreter of an environment with PyTorch.",
)
@click.option("--rounds", default=15, show_default=True, help="Number of rounds per network.")
@click.option(
    "--seconds", default=0.5, show_default=True, help="Seconds of training per library and round."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS / "train.json",
    help="File to write the results to  [default: benchmarks/results/train.json]",
)
def main(torch_python: str, rounds: int, seconds: float, out: Path) -> None:
    """Measure all cases, print and write the results."""
    started, commit = datetime.now(UTC), describe_commit()
    pythons = {name: torch_python if "torch" in name else sys.executable for name in LIBRARIES}
    command = [torch_python, "-c", "import torch; print(torch.__version__)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    results = [measure_case(case, pythons, rounds, seconds) for case in CASES]
    report = {
        "benchmark": "train",
        "when": started.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
        "commit": commit,
        "machine": describe_machine(),
        "libraries": read_versions(PACKAGES) | {"torch": done.stdout.strip()},
        "rounds": rounds,
        "seconds_a_turn": seconds,
        "results": results,
    }
    write_report(report, out)
    print_tables(results)


def print_tables(results: Sequence[Mapping[str, Any]]) -> None:
    """Print steps per second with ratios, the matrix products alone, and memory."""
    for ours in OURS:
        _print_table(
            f"{ours}: steps per second, and as a multiple of each rival's (quartiles)",
            ("network", "batch", "steps/s", *RIVALS),
            [
                [
                    r["name"],
                    str(r["batch"]),
                    str(r["steps_per_second"][ours]),
                    *(_format_ratio(r["ratios"][f"{ours} / {rival}"]) for rival in RIVALS),
                ]
                for r in results
            ],
        )
    _print_table(
        "the matrix products alone: share of our step, and multiple of each rival's speed",
        ("network", *(f"share of {ours}" for ours in OURS), *RIVALS),
        [
            [
                r["name"],
                *(f"{r['ratios'][f'{ours} / {PRODUCTS}']['median']:.0%}" for ours in OURS),
                *(f"{r['ratios'][f'{PRODUCTS} / {rival}']['median']:.2f}" for rival in RIVALS),
            ]
            for r in results
        ],
    )
    _print_table(
        "peak memory of the process, MB",
        ("network", *LIBRARIES),
        [[r["name"], *(str(r["peak_mb"][name]) for name in LIBRARIES)] for r in results],
    )


def _format_ratio(ratio: Mapping[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"


def _print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
