"""Trained models of every kind, and the graphs made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from serving.runtime import Session
from trainer.choices import Config
from trainer.data.sources import load
from trainer.data.tables import Table
from trainer.export.graph import build_graph
from trainer.fit.loop import Run
from trainer.model import Model

KINDS = {  # data, choices
    "multiclass": ("digits", {"hidden": (32,)}),
    "binary": ("tumours", {"hidden": (16, 8), "activation": "tanh"}),
    "text classes": ("flowers", {"hidden": (8,), "activation": "sigmoid"}),
    "regression": ("diabetes", {"hidden": (16,)}),
    "several targets": ("linnerud", {"hidden": (8,), "activation": "tanh"}),
    "no hidden layer": ("wine", {"hidden": ()}),
    "counts": ("linnerud", {"hidden": (8,), "loss": "poisson", "clip_norm": 1.0}),
    "batch norm": ("wine", {"hidden": (12, 8), "batch_norm": True, "dropout": 0.2}),
    "range": ("digits", {"hidden": (16,), "scaling": "range"}),
    "gelu batch norm": ("diabetes", {"hidden": (12,), "batch_norm": True, "activation": "gelu"}),
}


@dataclass
class Exported:
    table: Table
    model: Model
    graph: bytes
    session: Session


@pytest.fixture(scope="session")
def export(tmp_path_factory):
    made: dict[str, Exported] = {}

    def get(kind: str) -> Exported:
        if kind not in made:
            data, choices = KINDS[kind]
            if data == "flowers":
                iris = load("iris")
                path = tmp_path_factory.mktemp("data") / "flowers.npz"
                names = {"setosa": "a", "versicolor": "ü", "virginica": "é è"}
                np.savez(path, X=iris.records.numbers, y=np.array([names[c] for c in iris.target]))
                data = str(path)
            if data == "tumours":
                tumours = load("breast_cancer")
                path = tmp_path_factory.mktemp("data") / "tumours.npz"
                np.savez(
                    path, X=tumours.records.numbers, y=(tumours.target == "malignant").astype(int)
                )
                data = str(path)
            table = load(data)
            rows, rng = np.arange(len(table)), np.random.default_rng(0)
            config = Config(data=data, learning_rate=0.01, **choices)
            model = Model.untrained(
                table, rows, layers=config.layers, loss=config.loss_for(table.task), rng=rng,
                encoding=config.encoding(),
            )  # fmt: skip
            Run(model.network, model.loss, config.update(), model.rows(table, rows),
                epochs=10, batch_size=32, rng=rng).go()  # fmt: skip
            graph = build_graph(model)
            made[kind] = Exported(table, model, graph, Session(graph))
        return made[kind]

    return get
