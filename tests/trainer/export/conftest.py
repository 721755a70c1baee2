"""Trained models of every kind, and the graphs made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from serving.runtime import Session
from trainer.data.sources import load
from trainer.data.tables import Table
from trainer.export.graph import build_graph
from trainer.fit.loop import train
from trainer.model import Model
from trainer.nn import Adam

KINDS = {  # data, hidden layers, activation
    "multiclass": ("digits", (32,), "relu"),
    "binary": ("tumours", (16, 8), "tanh"),
    "text classes": ("flowers", (8,), "sigmoid"),
    "regression": ("diabetes", (16,), "relu"),
    "several targets": ("linnerud", (8,), "tanh"),
    "no hidden layer": ("wine", (), "relu"),
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
            data, hidden, activation = KINDS[kind]
            if data == "flowers":
                iris = load("iris")
                path = tmp_path_factory.mktemp("data") / "flowers.npz"
                names = {"setosa": "a", "versicolor": "ü", "virginica": "é è"}
                np.savez(path, X=iris.features, y=np.array([names[c] for c in iris.target]))
                data = str(path)
            if data == "tumours":
                tumours = load("breast_cancer")
                path = tmp_path_factory.mktemp("data") / "tumours.npz"
                np.savez(path, X=tumours.features, y=(tumours.target == "malignant").astype(int))
                data = str(path)
            table = load(data)
            rows, rng = np.arange(len(table)), np.random.default_rng(0)
            model = Model.untrained(table, rows, hidden=hidden, activation=activation, rng=rng)
            train(model.network, model.loss, Adam(0.01), model.rows(table, rows),
                  epochs=10, batch_size=32, rng=rng)  # fmt: skip
            graph = build_graph(model)
            made[kind] = Exported(table, model, graph, Session(graph))
        return made[kind]

    return get
