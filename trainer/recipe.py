"""The recipe: the road from data to a proved bundle."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from serving.bundle import Bundle, Manifest, Name, Training
from trainer.data.sources import default_name, load
from trainer.data.splits import Split, split
from trainer.data.tables import Table
from trainer.export.package import export_bundle
from trainer.export.write import require_writable
from trainer.fit.callbacks import EarlyStopping
from trainer.fit.loop import Callback, Epoch, train
from trainer.model import Model
from trainer.nn import OPTIMIZERS


def _units(value: object) -> object:
    """Hidden layers as people write them: `64,32`, `64`, or a list."""
    if isinstance(value, str):
        return [units for units in value.split(",") if units.strip()]
    return [value] if isinstance(value, int) else value


class Config(BaseModel):
    """Every choice of a training run. A TOML file of these keys is what `--config` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = Field(min_length=1)
    target: str | None = Field(None, description="column to predict, in a CSV file [the last]")
    task: Literal["classification", "regression"] | None = Field(
        None, description="classification or regression [inferred from the target]"
    )
    name: Name | None = Field(None, description="the model's name [that of the data]")
    models: Path = Field(Path("models"), description="the repository to write to")
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_units)] = Field(
        (256,), description="units of the hidden layers, in order: 64,32"
    )
    activation: Literal["identity", "relu", "sigmoid", "tanh"] = Field(
        "relu", description="of the hidden layers"
    )
    optimizer: Literal["sgd", "adam"] = Field("adam", description="how weights are updated")
    learning_rate: float = Field(0.001, gt=0, description="size of a step")
    batch_size: int = Field(32, ge=1, description="rows per step")
    epochs: int = Field(200, ge=1, description="the most passes over the training rows")
    patience: int = Field(20, ge=1, description="epochs without a better validation loss")
    validation: float = Field(0.1, gt=0, lt=0.5, description="share of rows to stop early by")
    test: float = Field(0.2, gt=0, lt=0.5, description="share of rows to judge the model on")
    seed: int = Field(
        0, ge=0, lt=2**32, description="of the split, the weights and the order of rows"
    )


@dataclass(frozen=True)
class Trained:
    """What learning led to.

    Attributes:
        table: the data.
        parts: which rows served for what.
        model: the reference of all that follows.
        history: one entry per epoch.
        summary: of the run, for the manifest.
    """

    table: Table
    parts: Split
    model: Model
    history: list[Epoch]
    summary: Training


def learn(
    config: Config, rng: np.random.Generator, *, callbacks: Sequence[Callback] = ()
) -> Trained:
    """Load, split and train.

    Args:
        config: every choice.
        rng: where weights and the order of rows are drawn from.
        callbacks: they watch the training, say with a progress bar.

    Raises:
        DataError: the data cannot be trained on.
        TrainingDivergedError: the loss became infinite or NaN.
    """
    started = time.perf_counter()
    table = load(config.data, target=config.target, task=config.task)
    parts = split(table, validation=config.validation, test=config.test, seed=config.seed)
    # Independent streams, so that a change in one place does not shift the draws in another.
    weights, order = rng.spawn(2)
    model = Model.untrained(
        table, parts.train, hidden=config.hidden, activation=config.activation, rng=weights
    )
    stopping = EarlyStopping(config.patience)
    history = train(
        model.network,
        model.loss,
        OPTIMIZERS[config.optimizer](config.learning_rate),
        model.rows(table, parts.train),
        epochs=config.epochs,
        batch_size=config.batch_size,
        rng=order,
        validation=model.rows(table, parts.validation),
        callbacks=[stopping, *callbacks],
    )
    summary = Training(
        config=config.model_dump(mode="json", exclude={"models"}),
        epochs_run=len(history),
        best_epoch=stopping.best_epoch,
        seconds=round(time.perf_counter() - started, 3),
    )
    return Trained(table, parts, model, history, summary)


def fit(config: Config, *, callbacks: Sequence[Callback] = ()) -> tuple[Bundle, Trained]:
    """Learn, then export: a bundle, or an error and no bundle.

    Raises:
        OSError: the repository cannot be written to; said before training.
        ParityError: the graph does not answer as NumPy does.
        DataError, TrainingDivergedError: as `learn` does.
    """
    name = config.name or default_name(config.data)
    require_writable(config.models / name)
    learning, exporting = np.random.default_rng(config.seed).spawn(2)
    trained = learn(config, learning, callbacks=callbacks)
    bundle = export_bundle(
        trained.model,
        trained.table,
        trained.parts,
        trained.summary,
        models=config.models,
        name=name,
        rng=exporting,
    )
    return bundle, trained


def describe(bundle: Bundle) -> dict[str, Any]:
    """A fresh bundle as `trainer fit --json` prints it."""
    manifest: Manifest = bundle.manifest
    return {
        "bundle": str(bundle.path),
        "name": manifest.name,
        "version": manifest.version,
        "task": manifest.task,
        "parameters": manifest.parameters,
        "training": manifest.training.model_dump(exclude={"config"}),
        "metrics": manifest.metrics,
        "parity": manifest.variants["fp32"].parity.model_dump(),
        "variants": {name: v.model_dump() for name, v in manifest.variants.items()},
    }
