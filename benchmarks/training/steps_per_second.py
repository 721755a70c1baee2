"""Training steps a second, against PyTorch (eager and fused Adam) and scikit-learn.

This project's loop, with and without its compiled kernel, and theirs, on the same networks, rows,
batches, optimizer (Adam), float32 and threads. Beside them the matrix products of a step alone, by
the BLAS in NumPy: the share of a step they take, and how far ahead of a rival a step of nothing
else would be, which no NumPy loop can pass.

    python benchmarks/training/steps_per_second.py --torch PYTHON [--rounds N] [--seconds S]

Each side is a process of its own that waits while another is timed. They take turns, round after
round, so that what slows the machine down for a while slows all of them. Reported are medians of
the rounds' ratios with their quartiles; an absolute number of steps means little.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
CASES = [
    {"widths": [30, 16, 8, 2], "batch": 32, "rows": 3200},
    {"widths": [2, 16, 8, 2], "batch": 400, "rows": 8000},
    {"widths": [784, 128, 64, 10], "batch": 128, "rows": 3840},
    {"widths": [784, 512, 512, 10], "batch": 128, "rows": 2560},
    {"widths": [784, 1024, 1024, 10], "batch": 256, "rows": 2560},
]
SIDES = ("ours", "ours-numpy", "products", "torch-eager", "torch-fused", "sklearn")
OURS, RIVALS = SIDES[:2], SIDES[3:]
WRITTEN = ("benchmarks/results", "docs/benchmarks", "docs/benchmarks.md", "README.md")


class Side:
    """One library at work on one case, in a process of its own."""

    def __init__(self, name: str, python: str, case: dict[str, object]) -> None:
        self.process = subprocess.Popen(
            [python, str(HERE / "library_process.py"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        self._ask(json.dumps(case))

    def train(self, seconds: float) -> dict[str, float]:
        """Train for about so long: steps, seconds they took, peak memory in MB."""
        answer: dict[str, float] = self._ask(str(seconds))
        return answer

    def end(self) -> None:
        """Let it go."""
        self.process.communicate("\n", timeout=60)

    def _ask(self, line: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("expected pipes to the side")
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"expected an answer of {self.process.args}; it ended")
        return json.loads(answer)


def measure(
    case: dict[str, object], pythons: dict[str, str], rounds: int, seconds: float
) -> dict[str, object]:
    """All sides on one case, in turns."""
    name = "-".join(map(str, case["widths"]))  # type: ignore[call-overload]
    sides = {side: Side(side, pythons[side], case) for side in SIDES}
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    peaks: dict[str, float] = {}
    try:
        for _ in track(
            range(rounds), f"{name}, batch {case['batch']}", console=Console(stderr=True)
        ):
            for side, process in sides.items():
                found = process.train(seconds)
                rates[side].append(found["steps"] / found["seconds"])
                peaks[side] = round(found["peak_mb"])
    finally:
        for process in sides.values():
            process.end()
    pairs = [(mine, rival) for mine in OURS for rival in ("products", *RIVALS)]
    pairs += [("products", rival) for rival in RIVALS]
    ratios = {
        f"{one} / {other}": quartiles(np.array(rates[one]) / np.array(rates[other]))
        for one, other in pairs
    }
    steps = {side: round(float(np.median(found))) for side, found in rates.items()}
    return {
        "name": name,
        "batch": case["batch"],
        "steps_per_second": steps,
        "ratios": ratios,
        "peak_mb": peaks,
    }


def quartiles(values: np.ndarray) -> dict[str, float]:
    """Median and quartiles, to three digits."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median": round(middle, 3), "low": round(low, 3), "high": round(high, 3)}


def machine() -> dict[str, object]:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def commit() -> str:
    """The commit that was measured, with a mark if files had been changed since.

    But for those that the benchmarks write: one after the other, all measure the same sources.
    """
    sources = [".", *(f":(exclude){path}" for path in WRITTEN)]
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *sources)
    return _git("describe", "--always") + ("-dirty" if changed else "")


def _git(*arguments: str) -> str:
    git = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


@click.command(help=__doc__)
@click.option("--torch", "torch_python", required=True, help="a Python that has PyTorch")
@click.option("--rounds", default=15, show_default=True, help="turns of each side, per case")
@click.option("--seconds", default=0.5, show_default=True, help="length of a turn")
@click.option(
    "--out", type=click.Path(path_type=Path), default=ROOT / "benchmarks" / "results" / "train.json"
)
def main(torch_python: str, rounds: int, seconds: float, out: Path) -> None:
    """Measure, print, write."""
    started, sources = datetime.now(UTC), commit()
    pythons = {side: torch_python if "torch" in side else sys.executable for side in SIDES}
    asked = [torch_python, "-c", "import torch; print(torch.__version__)"]
    torch_version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    results = [measure(case, pythons, rounds, seconds) for case in CASES]
    libraries = {name: version(name) for name in ("numpy", "scikit-learn", "numba")}
    report = {
        "benchmark": "train",
        "when": started.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
        "commit": sources,
        "machine": machine(),
        "libraries": libraries | {"torch": torch_version},
        "rounds": rounds,
        "seconds_a_turn": seconds,
        "results": results,
    }
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for mine in OURS:
        table = Table(title=f"{mine}: steps a second, as a multiple of each rival's (quartiles)")
        for heading in ("network", "batch", "steps/s", *RIVALS):
            table.add_column(heading, justify="right")
        for r in results:
            cells = [r["ratios"][f"{mine} / {rival}"] for rival in RIVALS]  # type: ignore[index]
            table.add_row(
                str(r["name"]),
                str(r["batch"]),
                str(r["steps_per_second"][mine]),  # type: ignore[index]
                *(f"{c['median']:.2f} ({c['low']:.2f}-{c['high']:.2f})" for c in cells),
            )
        Console().print(table)
    floor = Table(title="the matrix products alone: their share of our step, and beside each rival")
    for heading in ("network", *(f"share of {mine}" for mine in OURS), *RIVALS):
        floor.add_column(heading, justify="right")
    for r in results:
        ratios = r["ratios"]
        floor.add_row(
            str(r["name"]),
            *(f"{ratios[f'{mine} / products']['median']:.0%}" for mine in OURS),  # type: ignore[index]
            *(f"{ratios[f'products / {rival}']['median']:.2f}" for rival in RIVALS),  # type: ignore[index]
        )
    Console().print(floor)
    memory = Table(title="peak memory of the process, MB")
    for heading in ("network", *SIDES):
        memory.add_column(heading, justify="right")
    for r in results:
        memory.add_row(str(r["name"]), *(str(r["peak_mb"][side]) for side in SIDES))  # type: ignore[index]
    Console().print(memory)


if __name__ == "__main__":
    main()
