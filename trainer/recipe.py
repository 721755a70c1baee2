"""The recipe: the road from data to a proved bundle."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from serving import bundle
from serving.runtime import Session
from trainer.data.sources import default_name, load
from trainer.data.splits import Split, split
from trainer.data.tables import Table
from trainer.evaluate import evaluate
from trainer.export.golden import golden_selftest, synthetic_rows
from trainer.export.graph import build_graph
from trainer.export.parity import check_parity
from trainer.export.reference import drift_reference
from trainer.export.write import write_bundle
from trainer.fit.callbacks import EarlyStopping
from trainer.fit.loop import Callback, Epoch, train
from trainer.model import Model
from trainer.nn import OPTIMIZERS

LIBRARIES = ("forwardpass", "numpy", "onnx", "onnxruntime", "scikit-learn")
TIMED_BATCHES = (1, 8, 64, 256)
TIMED_RUNS = 200


class Config(BaseModel):
    """Every choice of a training run. A TOML file of these keys is what `--config` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = Field(min_length=1)
    target: str | None = Field(None, description="column to predict, in a CSV file [the last]")
    task: Literal["classification", "regression"] | None = Field(
        None, description="[inferred from the target]"
    )
    name: bundle.Name | None = Field(None, description="the model's name [that of the data]")
    models: Path = Field(Path("models"), description="the repository to write to")
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (256,), description="units of the hidden layers, in order"
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
    seed: int = Field(0, ge=0, description="of the split, the weights and the order of rows")


@dataclass(frozen=True)
class Outcome:
    """What a run led to.

    Attributes:
        path: the bundle's folder.
        manifest: the bundle's manifest.
        history: one entry per epoch.
        summary: the network, layer by layer.
    """

    path: Path
    manifest: bundle.Manifest
    history: list[Epoch]
    summary: str


def fit(config: Config, *, callbacks: Sequence[Callback] = ()) -> Outcome:
    """Load, split, train, evaluate, export, check parity, write.

    Args:
        config: every choice.
        callbacks: they watch the training, say with a progress bar.

    Raises:
        DataError: the data cannot be trained on.
        TrainingDivergedError: the loss became infinite or NaN.
        ParityError: the graph does not answer as NumPy does. Nothing is written in any such case.
    """
    started = time.perf_counter()
    table = load(config.data, target=config.target, task=config.task)
    parts = split(table, validation=config.validation, test=config.test, seed=config.seed)
    # Independent streams, so that a change in one place does not shift the draws in another.
    weights_rng, order_rng, golden_rng, parity_rng = np.random.default_rng(config.seed).spawn(4)

    model = Model.untrained(
        table, parts.train, hidden=config.hidden, activation=config.activation, rng=weights_rng
    )
    stopping = EarlyStopping(config.patience)
    history = train(
        model.network,
        model.loss,
        OPTIMIZERS[config.optimizer](config.learning_rate),
        model.rows(table, parts.train),
        epochs=config.epochs,
        batch_size=config.batch_size,
        rng=order_rng,
        validation=model.rows(table, parts.validation),
        callbacks=[stopping, *callbacks],
    )
    training = bundle.Training(
        config=config.model_dump(mode="json", exclude={"models"}),
        epochs_run=len(history),
        best_epoch=stopping.best_epoch,
        seconds=round(time.perf_counter() - started, 3),
    )
    path, manifest = _export(
        config, table, parts, model, training, golden_rng=golden_rng, parity_rng=parity_rng
    )
    return Outcome(path, manifest, history, model.network.summary())


def _export(
    config: Config,
    table: Table,
    parts: Split,
    model: Model,
    training: bundle.Training,
    *,
    golden_rng: np.random.Generator,
    parity_rng: np.random.Generator,
) -> tuple[Path, bundle.Manifest]:
    graph = build_graph(model)
    session = Session(graph)
    held_out = table.features[parts.test]
    parity = check_parity(model, session, held_out, synthetic_rows(model, parity_rng))
    metrics = {
        "validation": evaluate(model, table, parts.validation),
        "test": evaluate(model, table, parts.test),
    }
    known = table.features[parts.train]
    selftest = golden_selftest(model, "fp32", golden_rng).to_bytes()
    reference = json.dumps(drift_reference(model, table.feature_names, known)).encode()
    name = config.name or default_name(config.data)

    def manifest(number: int) -> bundle.Manifest:
        return bundle.Manifest(
            schema_version=bundle.SCHEMA_VERSION,
            name=name,
            version=number,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            task=model.task,
            inputs=_inputs(table.feature_names, known),
            classes=None if model.classes is None else model.classes.tolist(),
            threshold=model.threshold if model.task == "binary" else None,
            parameters=model.network.n_parameters,
            metrics=metrics,
            variants={
                "fp32": bundle.Variant(
                    file="model.onnx",
                    sha256=_sha256(graph),
                    size_bytes=len(graph),
                    metrics=metrics["test"],
                    parity=parity,
                    latency_us=_latency(session, held_out),
                )
            },
            files={bundle.SELFTEST: _sha256(selftest), bundle.REFERENCE: _sha256(reference)},
            data=bundle.Data(
                source=table.source,
                fingerprint=table.fingerprint(),
                target=list(table.target_names),
                rows={
                    "train": len(parts.train),
                    "validation": len(parts.validation),
                    "test": len(parts.test),
                },
            ),
            training=training,
            libraries={
                "python": platform.python_version(),
                **{library: version(library) for library in LIBRARIES},
            },
        )

    files = {"model.onnx": graph, bundle.SELFTEST: selftest, bundle.REFERENCE: reference}
    path = write_bundle(config.models, name, files, manifest)
    return path, bundle.Bundle.open(path).manifest


def _inputs(names: tuple[str, ...], known: NDArray[np.float32]) -> list[bundle.Input]:
    return [
        bundle.Input(name=name, type="number", minimum=low, maximum=high, missing="refuse")
        for name, low, high in zip(
            names, known.min(axis=0).tolist(), known.max(axis=0).tolist(), strict=True
        )
    ]


def _latency(session: Session, rows: NDArray[np.float32]) -> dict[str, float]:
    """Median µs of one run, by batch size."""
    found = {}
    for size in TIMED_BATCHES:
        inputs = {"features": np.resize(rows, (size, rows.shape[1]))}
        times = []
        for _ in range(TIMED_RUNS):
            start = time.perf_counter()
            session.run(inputs)
            times.append(time.perf_counter() - start)
        found[str(size)] = round(float(np.median(times)) * 1e6, 1)
    return found


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def describe(outcome: Outcome) -> dict[str, Any]:
    """The outcome as `--json` prints it."""
    manifest = outcome.manifest
    return {
        "bundle": str(outcome.path),
        "name": manifest.name,
        "version": manifest.version,
        "task": manifest.task,
        "parameters": manifest.parameters,
        "epochs_run": manifest.training.epochs_run,
        "best_epoch": manifest.training.best_epoch,
        "seconds": manifest.training.seconds,
        "metrics": manifest.metrics,
        "parity": manifest.variants["fp32"].parity.model_dump(),
        "variants": {name: v.model_dump(mode="json") for name, v in manifest.variants.items()},
    }
