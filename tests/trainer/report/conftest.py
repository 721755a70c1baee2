"""Small trained models with their bundles, runs and reports."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from serving.bundle import Bundle
from trainer.compress.compression_config import CompressionConfig
from trainer.compress.run import compress
from trainer.config import Config
from trainer.pipeline import TrainingResult, fit
from trainer.report import ReportInputs, render
from trainer.runs import write_run

EVIL = "<script>alert('no')</script>"
KINDS = {
    "tumours": ("breast_cancer", {"hidden": (8,), "epochs": 12}),
    "diabetes": ("diabetes", {"hidden": (8,), "epochs": 12, "learning_rate": 0.01}),
    "digits": (
        "digits",
        {"hidden": (16,), "epochs": 4, "schedule": "cosine", "skip_baselines": True},
    ),
    "physique": ("linnerud", {"hidden": (4,), "epochs": 5, "skip_baselines": True}),
    "mixed": (
        "mixed.csv",
        {
            "hidden": (8,),
            "epochs": 8,
            "aim": "f1",
            "positive": f"<b>yes</b>{EVIL}",
            "learning_rate": 0.01,
        },
    ),
}


def write_mixed(path: Path, rows: int = 1200) -> str:
    """Write a CSV file with columns of all types, gaps, and names that contain HTML."""
    rng = np.random.default_rng(0)
    age, income = rng.normal(size=(2, rows))
    colour = rng.choice(["red", "green", EVIL, "$\\frac$"], rows)
    member = rng.random(rows) < 0.4
    day = rng.integers(0, 2000, rows)
    score = 1.5 * age + income + (colour == EVIL) + member + rng.normal(size=rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "a & <b>b</b>", "colour", "member", "joined", "bought"])
        for i in range(rows):
            date = str(np.datetime64("2019-01-01") + day[i])
            writer.writerow(
                [
                    f"{age[i]:.4f}",
                    "" if i % 9 == 0 else f"{income[i]:.4f}",
                    colour[i],
                    "" if i % 11 == 0 else str(bool(member[i])).lower(),
                    date,
                    f"<b>yes</b>{EVIL}" if score[i] > 0.8 else "no",
                ]
            )
    return str(path)


@pytest.fixture(scope="session")
def evil() -> str:
    """Return HTML that is the name of a category and part of the name of a class."""
    return EVIL


@dataclass
class Example:
    """A trained model with everything that a report needs."""

    bundle: Bundle
    trained: TrainingResult
    config: Config
    run: Path
    inputs: ReportInputs

    @cached_property
    def page(self) -> str:
        return render(self.inputs)


@pytest.fixture(scope="session")
def train_example(tmp_path_factory):
    """Return a function that trains the example of a kind, once per session."""
    examples: dict[str, Example] = {}

    def train(kind: str) -> Example:
        if kind not in examples:
            data, options = KINDS[kind]
            folder = tmp_path_factory.mktemp(kind)
            if data.endswith(".csv"):
                data = write_mixed(folder / data)
            config = Config(
                data=data,
                preset="fast",
                name=kind,
                models=folder / "models",
                runs=folder / "runs",
                **options,
            )
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("serving.runtime.latency_profile.MAX_TIMED_RUNS", 3)
                bundle, trained = fit(config)
            run = write_run(
                config.runs,
                bundle,
                config=trained.config,
                model=trained.model,
                table=trained.table,
                split=trained.split,
                history=trained.history,
            )
            inputs = ReportInputs.gather(bundle, config.runs)
            examples[kind] = Example(bundle, trained, config, run, inputs)
        return examples[kind]

    return train


@pytest.fixture(scope="session")
def compressed_example(train_example, tmp_path_factory):
    """Return the compressed second version of a model; only the first version has a run."""
    dense = train_example("digits")
    models = tmp_path_factory.mktemp("compressed") / "models"
    shutil.copytree(dense.bundle.path.parent, models / "digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.runtime.latency_profile.MAX_TIMED_RUNS", 3)
        result = compress(
            Bundle.open(models / "digits" / "1"),
            CompressionConfig(epochs=2, max_drop=0.042, sparse=0.5),
            on_trial=lambda _: None,
        )
    assert result.bundle is not None
    inputs = ReportInputs.gather(result.bundle, dense.config.runs)
    return Example(result.bundle, dense.trained, dense.config, dense.run, inputs)
