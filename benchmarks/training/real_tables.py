"""Run the fits of real tables as docs/results.md has them, and write their results.

python -m benchmarks.training.real_tables [NAME …]

The first block of commands has no options but the data and the target; the second one has options
that were chosen by hand. With names, only these tables are run, and the results of the others stay.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, ROOT, describe_commit, describe_machine
from serving.bundle import MANIFEST_FILE

PAGE, HEADING = "docs/results.md", "## Real tables"
KINDS = ("default", "tuned")  # of the blocks of commands, in the order of the page
RESULT_FILE = RESULTS / "tables.json"
MAIN_METRICS = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "r2"}


def read_blocks(page: str, heading: str) -> list[list[list[str]]]:
    """Return the arguments of each `trainer` command in each block of a section of a page.

    Args:
        page: Path of the page below the root.
        heading: Text that begins the section.

    Raises:
        SystemExit: If the section has no block of commands.
    """
    section = (ROOT / page).read_text().split(heading)[1].split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    if not blocks:
        raise SystemExit(f"expected commands in {page} after {heading!r}; got none")
    return [
        [
            shlex.split(line, comments=True)[1:]
            for line in block.replace("\\\n", " ").splitlines()
            if line.startswith("trainer ")
        ]
        for block in blocks
    ]


def read_commands(page: str, heading: str) -> list[list[str]]:
    """Return the arguments of each `trainer` command in the first block of a section of a page."""
    return read_blocks(page, heading)[0]


def read_fit_commands() -> list[list[str]]:
    """Return the arguments of each `trainer fit` without options in the section on real tables."""
    return [arguments for arguments in read_commands(PAGE, HEADING) if arguments[0] == "fit"]


def run_fit(arguments: list[str]) -> dict[str, Any]:
    """Run one command and return its main metrics with their intervals, and the baselines'."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--models", f"{folder}/models", "--runs", f"{folder}/runs", "--json"]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "trainer", *arguments, *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
        )
        seconds = time.perf_counter() - started
        result = json.loads(done.stdout)
        # The path of the bundle is relative to the folder that the command ran in.
        manifest = json.loads((ROOT / result["bundle"] / MANIFEST_FILE).read_text())
    metric, test = MAIN_METRICS[result["task"]], result["metrics"]["test"]
    has_threshold = result["threshold"] not in (None, 0.5)
    second = "balanced_accuracy" if has_threshold else "accuracy"
    names = [metric, *({second} & set(test) - {metric})]
    return {
        "command": shlex.join(["trainer", *arguments]),
        "metrics": {
            name: {"value": test[name], "interval": result["intervals"][name]} for name in names
        },
        "baselines": {
            name: baseline["metrics"][metric] for name, baseline in result["baselines"].items()
        },
        "parameters": result["parameters"],
        "rows": manifest["data"]["rows"],
        "training_seconds": result["training"]["seconds"],
        "command_seconds": round(seconds, 1),
    }


def main() -> None:
    """Run the fits one after the other, or those whose names are given as arguments.

    Raises:
        SystemExit: If there is no table of a name.
    """
    commands = [
        (kind, Path(arguments[1]).stem, arguments)
        for kind, block in zip(KINDS, read_blocks(PAGE, HEADING), strict=False)
        for arguments in block
    ]
    tables = list(dict.fromkeys(name for _, name, _ in commands))
    if unknown := set(sys.argv[1:]) - set(tables):
        raise SystemExit(
            f"expected names out of {', '.join(tables)}; got {', '.join(sorted(unknown))}"
        )
    saved = json.loads(RESULT_FILE.read_text()) if sys.argv[1:] and RESULT_FILE.exists() else {}
    results: dict[str, dict[str, Any]] = {name: {} for name in tables} | saved.get("results", {})
    for kind, name, arguments in commands:
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        fit = run_fit(arguments)
        results[name] = {**results[name], kind: fit}
        sys.stdout.write(f"{name}, {kind}: {json.dumps(fit['metrics'])}\n")
        sys.stdout.flush()
    document = {
        "machine": describe_machine(),
        "commit": describe_commit(),
        "results": {name: results[name] for name in tables},
    }
    RESULT_FILE.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
