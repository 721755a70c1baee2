"""Trained bundles of every kind, to load and to compress. Tests must not write to them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import config_context

from serving.bundle import Bundle
from tests.trainer.compress.networks import TrainedDigits
from trainer.compress.load_trained import TrainedModel, load_trained
from trainer.compress.to_dense import to_dense
from trainer.config import Config
from trainer.data.sources import load_table
from trainer.model import Model
from trainer.pipeline import TrainingResult, fit
from trainer.training.batches import TrainingRows
from trainer.training.loop import TrainingRun

MAX_TIMED_RUNS = "serving.runtime.latency_profile.MAX_TIMED_RUNS"
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
    "members": {"data": "breast_cancer", "hidden": (12, 8), "members": 2, "batch_norm": True},
    "wages-members": {
        "data": "mixed",
        "hidden": (12, 8),
        "one_hot": 4,
        "learning_rate": 0.01,
        "members": 3,
    },
    "wages": {"data": "mixed", "hidden": (16, 8), "one_hot": 4, "learning_rate": 0.01},
}


@dataclass
class TrainedBundle:
    """A bundle with the result of the training that wrote it."""

    bundle: Bundle
    training: TrainingResult


@pytest.fixture(scope="module", autouse=True)
def _fast_evaluation():
    """Time graphs with one run and skip the parameter checks of scikit-learn.

    No test here depends on the latencies. For hundreds of metrics, scikit-learn's checks take
    longer than the rest.
    """
    with pytest.MonkeyPatch.context() as patch, config_context(skip_parameter_validation=True):
        patch.setattr(MAX_TIMED_RUNS, 1)
        yield


def write_mixed(path: Path, n: int = 400) -> Path:
    """Write a table with numbers, a small category, an embedded category and a date."""
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
def train_bundle(tmp_path_factory) -> Callable[[str], TrainedBundle]:
    """Return a function that trains a bundle of a kind, once per session."""
    folder, bundles = tmp_path_factory.mktemp("compressed"), dict[str, TrainedBundle]()

    def train(kind: str) -> TrainedBundle:
        if kind not in bundles:
            options = dict(KINDS[kind])
            if options["data"] == "mixed":
                options["data"] = str(write_mixed(folder / "wages.csv"))
            config = Config(
                preset="fast",
                name=kind,
                models=folder / kind,
                epochs=15,
                skip_baselines=True,
                **options,
            )
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(MAX_TIMED_RUNS, 1)
                bundles[kind] = TrainedBundle(*fit(config))
        return bundles[kind]

    return train


@pytest.fixture(scope="session")
def load_model(train_bundle) -> Callable[[str], TrainedModel]:
    """Return a function that loads the model of a kind, once per session."""
    models: dict[str, TrainedModel] = {}

    def load(kind: str) -> TrainedModel:
        if kind not in models:
            models[kind] = load_trained(train_bundle(kind).bundle)
        return models[kind]

    return load


@pytest.fixture
def copy_bundle(train_bundle, tmp_path) -> Callable[[str], Bundle]:
    """Return a function that copies a bundle of a kind into a repository that can be written to."""

    def copy(kind: str) -> Bundle:
        folder = tmp_path / "models" / kind / "1"
        shutil.copytree(train_bundle(kind).bundle.path, folder)
        return Bundle.open(folder)

    return copy


@pytest.fixture(scope="session")
def trained_digits() -> TrainedDigits:
    """A network that was trained on 1,200 of the digits."""
    rng = np.random.default_rng(0)
    table = load_table("digits")
    config = Config(data="digits", preset="fast", hidden=(64, 32), dropout=0.1, learning_rate=0.005)
    all_rows = np.arange(len(table))
    model = Model.build(
        table,
        all_rows,
        layers=config.build_layers,
        loss=config.build_loss(table.task),
        rng=rng,
        encoding=config.get_encoding(),
    )
    rows = model.encode_rows(table, all_rows)
    training_rows = TrainingRows(rows.features[:1200], rows.targets[:1200])
    TrainingRun(
        model.network,
        model.loss,
        config.build_update_rule(),
        training_rows,
        epochs=15,
        batch_size=64,
        rng=rng,
    ).run()
    return TrainedDigits(table, replace(model, network=to_dense(model.network)), rows)
