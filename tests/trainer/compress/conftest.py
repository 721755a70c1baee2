"""Trained bundles of every kind, to be reopened and compressed: do not write to them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import config_context

from serving.bundle import Bundle
from trainer.compress.load_trained import TrainedModel, load_trained
from trainer.config import Config
from trainer.pipeline import TrainingResult, fit

RACES = "serving.runtime.latency_profile.MAX_TIMED_RUNS"  # how fast a graph is, no test here asks
KINDS: dict[str, dict[str, Any]] = {
    "digits": {"data": "digits", "hidden": (32, 16), "scaling": "range", "learning_rate": 0.005},
    "iris": {"data": "iris", "hidden": (16,), "learning_rate": 0.01},
    "tumours": {
        "data": "breast_cancer",
        "hidden": (16, 8),
        "positive": "malignant",
        "aim": "f1",
        "calibrate": True,
    },
    "progress": {"data": "diabetes", "hidden": (16,), "learning_rate": 0.01},
    "deep": {"data": "digits", "hidden": (16, 12, 12, 8), "learning_rate": 0.01},
    "wages": {"data": "mixed", "hidden": (16, 8), "one_hot": 4, "learning_rate": 0.01},
}


@dataclass
class Made:
    """A bundle with the model that it is of."""

    bundle: Bundle
    trained: TrainingResult


@pytest.fixture(scope="module", autouse=True)
def _no_time_is_lost():
    # Of hundreds of metrics scikit-learn takes longer to check the arguments than for the rest.
    with pytest.MonkeyPatch.context() as patch, config_context(skip_parameter_validation=True):
        patch.setattr(RACES, 1)
        yield


def write_mixed(path: Path, n: int = 400) -> Path:
    """A table of numbers, a category with few texts, one with many that is embedded, and a date."""
    rng = np.random.default_rng(3)
    effects = rng.normal(size=12)
    lines = ["age,trade,since,hours,town,rich"]
    for _ in range(n):
        age, hours, town = rng.uniform(20, 60), rng.uniform(10, 50), int(rng.integers(12))
        trade = rng.choice(["x", "y", "z"])
        worth = (age - 40) / 10 + effects[town] + (trade == "x") + (hours - 30) / 20
        day = f"20{rng.integers(10, 25)}-{rng.integers(1, 13):02}-{rng.integers(1, 28):02}"
        rich = "yes" if worth + 0.3 * rng.normal() > 0 else "no"
        lines.append(f"{age:.1f},{trade},{day},{hours:.1f},t{town},{rich}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Callable[..., Made]:
    """Trains a model of a kind, once."""
    folder, known = tmp_path_factory.mktemp("compressed"), dict[str, Made]()

    def get(kind: str) -> Made:
        if kind not in known:
            choices = dict(KINDS[kind])
            if choices["data"] == "mixed":
                choices["data"] = str(write_mixed(folder / "wages.csv"))
            config = Config(
                name=kind, models=folder / kind, epochs=15, skip_baselines=True, **choices
            )
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(RACES, 1)
                known[kind] = Made(*fit(config))
        return known[kind]

    return get


@pytest.fixture(scope="session")
def reopened(made) -> Callable[[str], TrainedModel]:
    """Reopens a bundle of a kind, once."""
    known: dict[str, TrainedModel] = {}

    def get(kind: str) -> TrainedModel:
        if kind not in known:
            known[kind] = load_trained(made(kind).bundle)
        return known[kind]

    return get


@pytest.fixture
def copied(made, tmp_path) -> Callable[[str], Bundle]:
    """Copies a bundle of a kind into a repository of its own, to write to."""

    def get(kind: str) -> Bundle:
        place = tmp_path / "models" / kind / "1"
        shutil.copytree(made(kind).bundle.path, place)
        return Bundle.open(place)

    return get
