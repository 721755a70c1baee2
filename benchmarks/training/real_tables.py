"""Run the README's fits of real tables as they are written there, and print a table of the results.

python -m benchmarks.training.real_tables [NAME …]
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT

HEADING = "## On real tables"
MAIN_METRICS = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "r2"}


def read_commands(heading: str) -> list[list[str]]:
    """Return the arguments of each `trainer` command in the first block of a README section.

    Raises:
        SystemExit: If the section has no block of commands.
    """
    section = (ROOT / "README.md").read_text().split(heading)[1]
    block = re.search(r"```bash\n(.*?)```", section, re.DOTALL)
    if block is None:
        raise SystemExit(f"expected commands in the README's section {heading}; got none")
    lines = block[1].replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("trainer ")]


def read_fit_commands() -> list[list[str]]:
    """Return the arguments of each `trainer fit` in the README's section on real tables."""
    return [arguments for arguments in read_commands(HEADING) if arguments[0] == "fit"]


def format_row(name: str, result: dict[str, Any]) -> str:
    """Return the row of a fit: its metrics with their intervals, the baselines, and the time."""
    metric, test = MAIN_METRICS[result["task"]], result["metrics"]["test"]
    names = [metric] if metric == "accuracy" else [metric, *({"accuracy"} & set(test))]
    if result["threshold"] not in (None, 0.5):
        names[1:] = ["balanced_accuracy"]
    cells = []
    for one in names:
        low, high = result["intervals"][one]
        cells.append(f"{one} {test[one]:.4f} ({low:.3f}–{high:.3f})")
    baselines = [f"{b['metrics'][metric]:.4f}" for b in result["baselines"].values()]
    seconds = result["training"]["seconds"]
    return f"| {name} | {', '.join(cells)} | {' | '.join(baselines)} | {seconds:.0f} s |"


def main() -> None:
    """Run the fits one after the other, or those whose names are given as arguments."""
    commands = {Path(arguments[1]).stem: arguments for arguments in read_fit_commands()}
    if unknown := set(sys.argv[1:]) - set(commands):
        raise SystemExit(
            f"expected names out of {', '.join(commands)}; got {', '.join(sorted(unknown))}"
        )
    sys.stdout.write(
        "| data | test rows | constant | linear | trees | training |\n|---|---|---|---|---|---|\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in commands.items():
            if sys.argv[1:] and name not in sys.argv[1:]:
                continue
            options = ["--models", f"{folder}/models", "--runs", f"{folder}/runs", "--json"]
            done = subprocess.run(
                [sys.executable, "-m", "trainer", *arguments, *options],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                check=True,
            )
            sys.stdout.write(format_row(name, json.loads(done.stdout)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
