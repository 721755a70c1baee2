"""The README's fits of real tables, run as they stand there, and the table of what they came to.

python benchmarks/training/real_tables.py [NAME …]
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEADING = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "r2"}


def commands(heading: str) -> list[list[str]]:
    """The arguments of each `trainer` command in the first block of a section of the README."""
    section = (ROOT / "README.md").read_text().split(heading)[1]
    block = re.search(r"```bash\n(.*?)```", section, re.DOTALL)
    if block is None:
        raise SystemExit(f"expected commands in the README's section {heading}; got none")
    lines = block[1].replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("trainer ")]


def fits() -> list[list[str]]:
    """Those of each `trainer fit` in the section on real tables."""
    return [found for found in commands("## On real tables") if found[0] == "fit"]


def shown(name: str, result: dict) -> str:
    """One row of the table."""
    metric, test = LEADING[result["task"]], result["metrics"]["test"]
    metrics = [metric] if metric == "accuracy" else [metric, *({"accuracy"} & set(test))]
    if result["threshold"] not in (None, 0.5):
        metrics[1:] = ["balanced_accuracy"]
    own = []
    for wanted in metrics:
        low, high = result["intervals"][wanted]
        own.append(f"{wanted} {test[wanted]:.4f} ({low:.3f}–{high:.3f})")
    others = [
        f"{b['metrics'][metric]:.4f}" for b in result["baselines"].values()
    ]  # a constant, a line, trees
    seconds = result["training"]["seconds"]
    return f"| {name} | {', '.join(own)} | {' | '.join(others)} | {seconds:.0f} s |"


def main() -> None:
    """Run them one after the other."""
    sys.stdout.write(
        "| data | test rows | constant | linear | trees | training |\n|---|---|---|---|---|---|\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        for arguments in fits():
            name = Path(arguments[1]).stem
            if sys.argv[1:] and name not in sys.argv[1:]:
                continue
            places = ["--models", f"{folder}/models", "--runs", f"{folder}/runs", "--json"]
            done = subprocess.run(
                [sys.executable, "-m", "trainer", *arguments, *places],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                check=True,
            )
            sys.stdout.write(shown(name, json.loads(done.stdout)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
