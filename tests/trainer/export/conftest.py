"""Trained models of every kind and their exported graphs."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime
import pytest

from serving.runtime import GraphSession
from trainer.compress.int8_overflow import has_int8_overflow
from trainer.compress.to_dense import list_embeddings
from trainer.config import Config
from trainer.data.sources import load_table
from trainer.data.tables import Table
from trainer.export.onnx_graph import build_graph
from trainer.model import Model
from trainer.nn import (
    ACTIVATIONS,
    Dense,
    FeatureSelect,
    IntegerDense,
    Layer,
    Network,
    Quantization,
    largest_weight,
)
from trainer.training.loop import TrainingRun

# Data and options of the training, by kind of model.
KINDS = {
    "multiclass": ("digits", {"hidden": (32,)}),
    "binary": ("tumours", {"hidden": (16, 8), "activation": "tanh"}),
    "text classes": ("flowers", {"hidden": (8,), "activation": "sigmoid"}),
    "regression": ("diabetes", {"hidden": (16,)}),
    "several targets": ("linnerud", {"hidden": (8,), "activation": "tanh"}),
    "no hidden layer": ("wine", {"hidden": ()}),
    "counts": ("linnerud", {"hidden": (8,), "loss": "poisson", "clip_norm": 1.0}),
    "batch norm": ("wine", {"hidden": (12, 8), "batch_norm": True, "dropout": 0.2}),
    "range": ("digits", {"hidden": (16,), "scaling": "range"}),
    "members": ("wine", {"hidden": (12, 8), "members": 3, "dropout": 0.2}),
    "members, regression": ("diabetes", {"hidden": (16,), "members": 2, "batch_norm": True}),
    "members, no hidden layer": ("breast_cancer", {"hidden": (), "members": 2}),
    "embedded numbers": ("wine", {"hidden": (12,), "numbers": "pbld"}),
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
    exported_models: dict[str, Exported] = {}

    def export_kind(kind: str) -> Exported:
        if kind not in exported_models:
            data, options = KINDS[kind]
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
            config = Config(data=data, preset="fast", learning_rate=0.01, **options)
            model = Model.build(
                table,
                rows,
                layers=config.build_layers,
                loss=config.build_loss(table.task),
                rng=rng,
                encoding=config.get_encoding(),
                embeds_numbers=config.numbers == "pbld",
            )
            TrainingRun(
                model.network,
                model.loss,
                config.build_update_rule(),
                model.encode_rows(table, rows),
                epochs=10,
                batch_size=32,
                rng=rng,
            ).run()
            graph = build_graph(model)
            exported_models[kind] = Exported(table, model, graph, GraphSession(graph))
        return exported_models[kind]

    return export_kind


def _create_integer_model(
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
    """Return a model with random integer layers instead of its dense layers.

    Args:
        model: The model; its preprocessing and embedding are kept.
        records: Records that the ranges of the quantizations are taken from.
        rng: Random generator of the weights.
        hidden: Units of each hidden layer.
        activation: Activation of the hidden layers.
        bits: Number of bits of a weight.
        last: Kind of the last layer: `integer`; `float`, a float32 layer after a quantized output;
            or `unrounded`, a float32 layer after a float32 output.
        columns: Inputs that the first layer has weights for; None for all.
        runs_here: Whether ONNX Runtime runs the model on this processor. If that overflows with
            weights of 8 bits, they have 7 bits instead.
    """
    if runs_here and bits == 8 and has_int8_overflow():
        bits = 7
    x, layers = model.encoder.transform(records), list[Layer]()
    embeddings = list_embeddings(model.network)
    for embedding in embeddings:
        layers.append(copy.deepcopy(embedding))
        x = embedding.forward(x, training=False)
    if columns is not None:
        layers.append(FeatureSelect(columns))
        x = x[:, columns]
    source = Quantization.from_range(x.min(), x.max())
    integer_layers = [(units, activation) for units in hidden]
    integer_layers += [(model.network.n_outputs, "identity")] * (last == "integer")
    for index, (units, name) in enumerate(integer_layers, start=1):
        W = rng.normal(0, np.sqrt(2 / x.shape[1]), (x.shape[1], units)).astype(np.float32)
        scales = np.abs(W).max(axis=0) / np.float32(largest_weight(bits))
        W = np.rint(W / scales).astype(np.int8)
        b = np.rint(rng.normal(0, 0.1, units) / (source.scale * scales)).astype(np.int32)
        x = (x @ W + b * source.scale) * scales
        ACTIVATIONS[name]().value(x.copy(), out=x)
        has_target = index < len(integer_layers) or last == "float"
        target = Quantization.from_range(x.min(), x.max()) if has_target else None
        layers.append(
            IntegerDense(W, b, scales, source=source, target=target, activation=name, bits=bits)
        )
        source = target
    if last != "integer":
        layers.append(Dense(model.network.n_outputs))
    network = Network(model.network.n_inputs, layers, rng=rng)
    for source, target in zip(embeddings, network.layers, strict=False):
        for origin, to in zip(source.parameters(), target.parameters(), strict=True):
            to.value[...] = origin.value
    return replace(model, network=network)


@pytest.fixture(scope="session")
def create_integer_model():
    """Function that returns a model with integer layers; see `_create_integer_model`."""
    return _create_integer_model


@pytest.fixture
def optimize(tmp_path):
    """Function that returns the graph that ONNX Runtime optimizes a graph to when loading it."""

    def optimize_graph(graph: bytes) -> onnx.ModelProto:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # hide the warning that the file is for this machine only
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return onnx.load(tmp_path / "optimized.onnx")

    return optimize_graph
