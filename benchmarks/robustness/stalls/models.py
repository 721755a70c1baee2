"""The two small models that the hostile bodies are sent to: one of numbers, one of mixed types."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np

from benchmarks.machine import ROOT
from benchmarks.robustness.stalls.hostile_bodies import TABLE_COLUMNS
from trainer.config import Config
from trainer.pipeline import fit

# Served name of each model, by its name in `hostile_bodies`.
MODEL_NAMES = {"numbers": "digits", "table": "people"}
PEOPLE_COUNT = 600


def write_models(folder: Path) -> None:
    """Write both models: the shipped `digits`, and one with mixed columns, of random people.

    Every column of the people has missing values, so that a row without any value is accepted.

    Args:
        folder: Model repository.
    """
    shutil.copytree(ROOT / "models" / "digits" / "1", folder / "digits" / "1")
    people, rng = folder.parent / "people.csv", np.random.default_rng(0)
    with people.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow([*TABLE_COLUMNS, "income"])
        for number in range(PEOPLE_COUNT):
            age = rng.uniform(17, 90)
            row = [
                f"{age:.1f}",
                ("true", "false")[number % 2],
                ("private", "state", "self")[number % 3],
                f"20{10 + number % 14}-0{1 + number % 9}-1{number % 10}",
                "yes" if age > 50 else "no",
            ]
            if number % 10 < len(TABLE_COLUMNS):
                row[number % 10] = ""
            lines.writerow(row)
    fit(
        Config(
            data=str(people),
            name=MODEL_NAMES["table"],
            models=folder,
            runs=folder.parent / "runs",
            hidden=(8,),
            epochs=3,
            skip_baselines=True,
        )
    )
