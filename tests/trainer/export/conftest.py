"""Trained models of every kind, and the graphs made of them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime
import pytest

from serving.runtime import GraphSession
from trainer.compress.int8_overflow import has_int8_overflow
from trainer.config import Config
from trainer.data.sources import load_table
from trainer.data.tables import Table
from trainer.export.graph import build_graph
from trainer.model import Model
from trainer.nn import (
    ACTIVATIONS,
    Dense,
    Embedding,
    FeatureSelect,
    IntegerDense,
    Layer,
    Network,
    Quantization,
    largest_weight,
)
from trainer.training.loop import TrainingRun

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
    session: GraphSession


@pytest.fixture(scope="session")
def export(tmp_path_factory):
    made: dict[str, Exported] = {}

    def get(kind: str) -> Exported:
        if kind not in made:
            data, choices = KINDS[kind]
            if data == "flowers":
                iris = load_table("iris")
                path = tmp_path_factory.mktemp("data") / "flowers.npz"
                names = {"setosa": "a", "versicolor": "ü", "virginica": "é è"}
                np.savez(path, X=iris.records.numbers, y=np.array([names[c] for c in iris.target]))
                data = str(path)
            if data == "tumours":
                tumours = load_table("breast_cancer")
                path = tmp_path_factory.mktemp("data") / "tumours.npz"
                np.savez(
                    path, X=tumours.records.numbers, y=(tumours.target == "malignant").astype(int)
                )
                data = str(path)
            table = load_table(data)
            rows, rng = np.arange(len(table)), np.random.default_rng(0)
            config = Config(data=data, learning_rate=0.01, **choices)
            model = Model.untrained(
                table,
                rows,
                layers=config.build_layers,
                loss=config.build_loss(table.task),
                rng=rng,
                encoding=config.get_encoding(),
            )
            TrainingRun(
                model.network,
                model.loss,
                config.build_update_rule(),
                model.rows(table, rows),
                epochs=10,
                batch_size=32,
                rng=rng,
            ).run()
            graph = build_graph(model)
            made[kind] = Exported(table, model, graph, GraphSession(graph))
        return made[kind]

    return get


def _in_bytes(
    model,
    records,
    rng,
    *,
    hidden=(24, 13),
    activation="relu",
    bits=8,
    last="integer",
    columns=None,
    runs_here=True,
) -> Model:
    """The model with other dense layers, in whole numbers.

    Args:
        model: gives all but the layers after any embedding.
        records: which the ranges of the bytes are taken from.
        rng: where the weights are drawn from.
        hidden: units of the hidden layers.
        activation: of the hidden layers.
        bits: of a weight.
        last: `integer`, or `float` for a last layer in float32, or `unrounded` for one that is fed
            what is no bytes.
        columns: those of the first layer's inputs that it looks at; all if left out.
        runs_here: Whether ONNX Runtime runs the model on this processor. Where that answers weights
            of 8 bits wrongly, they then have 7.
    """
    if runs_here and bits == 8 and has_int8_overflow():
        bits = 7
    x, layers = model.encoder.transform(records), list[Layer]()
    if isinstance(model.network.layers[0], Embedding):
        layers.append(copy.deepcopy(model.network.layers[0]))
        x = model.network.layers[0].forward(x, training=False)
    if columns is not None:
        layers.append(FeatureSelect(columns))
        x = x[:, columns]
    source = Quantization.over(x.min(), x.max())
    whole = [(units, activation) for units in hidden]
    whole += [(model.network.n_outputs, "identity")] * (last == "integer")
    for place, (units, name) in enumerate(whole, start=1):
        W = rng.normal(0, np.sqrt(2 / x.shape[1]), (x.shape[1], units)).astype(np.float32)
        scales = np.abs(W).max(axis=0) / np.float32(largest_weight(bits))
        W = np.rint(W / scales).astype(np.int8)
        b = np.rint(rng.normal(0, 0.1, units) / (source.scale * scales)).astype(np.int32)
        x = (x @ W + b * source.scale) * scales
        ACTIVATIONS[name]().value(x.copy(), out=x)
        rounds = place < len(whole) or last == "float"
        target = Quantization.over(x.min(), x.max()) if rounds else None
        layers.append(
            IntegerDense(W, b, scales, source=source, target=target, activation=name, bits=bits)
        )
        source = target
    if last != "integer":
        layers.append(Dense(model.network.n_outputs))
    return replace(model, network=Network(model.network.n_inputs, layers, rng=rng))


@pytest.fixture(scope="session")
def in_bytes():
    """Makes models in whole numbers of others; see `_in_bytes`."""
    return _in_bytes


@pytest.fixture
def optimized(tmp_path):
    """Gives the graph that ONNX Runtime makes of a graph when it loads it."""

    def get(graph: bytes) -> onnx.ModelProto:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # it warns that the file suits this machine only
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return onnx.load(tmp_path / "optimized.onnx")

    return get
