"""Loading of a trained model from its bundle and its training data.

The graph of a bundle holds every learned number, and its manifest the options of the training. The
encoder, which was fitted to the training data, is fitted again. To prove that the loaded model is
the trained one, its graph is built and must equal the bundle's byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper
from pydantic import ValidationError

from serving.bundle import (
    DEFAULT_GAP_TEXTS,
    Bundle,
    BundleError,
    CategoryColumn,
    Manifest,
    NumberColumn,
)
from trainer.compress.to_dense import (
    list_dense_layers,
    list_embeddings,
    list_members,
    simplify_members,
)
from trainer.config import Config
from trainer.data.files.file_sources import CSV_SUFFIXES
from trainer.data.splits import Split
from trainer.data.tables import DataError, Table
from trainer.export.onnx_graph import build_graph
from trainer.export.preprocessing import create_graph_inputs
from trainer.model import Model
from trainer.nn import Embedding, PeriodicEmbedding
from trainer.option_errors import list_option_errors
from trainer.pipeline import load_and_split, prepare_training

FP32 = "fp32"  # name of the variant that was trained; the others are made from it
SPELLING_HINT = (
    ", which is necessary if the data have texts that earlier versions of forwardpass spelled "
    "differently"
)


@dataclass(frozen=True)
class TrainedModel:
    """A trained model with the data that it was trained on.

    Attributes:
        bundle: The bundle that the model was loaded from.
        config: The options of the training.
        table: The training data.
        split: Row numbers of the training, validation and test rows.
        model: The NumPy reference of the bundle's graph, with a network as `simplify_members`
            returns it.
    """

    bundle: Bundle
    config: Config
    table: Table
    split: Split
    model: Model


def load_trained(bundle: Bundle, data: str | None = None) -> TrainedModel:
    """Return the model of a bundle, so that it can be changed.

    Args:
        bundle: A bundle of any schema version.
        data: Path or name of the training data; None if it is the same as in the training.

    Raises:
        BundleError: If the data are not those of the training, or the bundle has no graph that this
            version of the trainer builds of the model.
        DataError: If the data cannot be read.
        ValueError: If the network cannot be converted to dense layers.
    """
    manifest = bundle.manifest
    if FP32 not in manifest.variants:
        raise BundleError(
            f"{bundle.path}: expected a variant {FP32}, as it was trained; got "
            f"{', '.join(manifest.variants)}; train the model again"
        )
    config = _restore_config(bundle, data)
    table, split = _read_training_data(bundle, config)
    untrained = prepare_training(table, split, config, np.random.default_rng(0)).model
    model = replace(
        untrained,
        network=simplify_members(untrained.network),
        threshold=0.5 if manifest.threshold is None else manifest.threshold,
        temperature=manifest.temperature,
        logit_bias=(
            None if manifest.logit_bias is None else np.array(manifest.logit_bias, np.float32)
        ),
    )
    content = bundle.read_graph(FP32)
    _restore_parameters(model, _read_constants(content))
    if build_graph(model) != content:
        raise BundleError(
            f"{bundle.path}: expected the graph that this version of forwardpass builds of the "
            f"model; got another; train the model again"
        )
    return TrainedModel(bundle, config, table, split, model)


def _restore_config(bundle: Bundle, data: str | None) -> Config:
    """Return the options of a bundle's training.

    Raises:
        BundleError: If the manifest has other options than a training run.
    """
    manifest = bundle.manifest
    options: dict[str, Any] = {
        **manifest.training.config,
        "models": bundle.path.parent.parent,
    }
    if data is not None:
        options["data"] = data
    if manifest.schema_version == 1 and str(options.get("data")).lower().endswith(CSV_SUFFIXES):
        # Version 1 had no such option and always read these texts as missing.
        options.setdefault("missing", list(filter(None, DEFAULT_GAP_TEXTS)))
    options.setdefault("preset", "fast")  # which bundles from before there were presets followed
    if manifest.positive_class is not None:  # The options of version 1 do not contain it.
        options["positive"] = str(manifest.positive_class)
    try:
        return Config.model_validate(options)
    except ValidationError as error:
        raise BundleError(
            f"{bundle.path}: expected the options of a training run; "
            f"{list_option_errors(error, Config, str)}; train the model again"
        ) from error


def _read_training_data(bundle: Bundle, config: Config) -> tuple[Table, Split]:
    """Return the data that a bundle was trained on, and their split.

    Raises:
        BundleError: If the data are not those of the training.
        DataError: If the data cannot be read.
    """
    manifest = bundle.manifest
    try:
        table, split = _load_as_trained(config, manifest)
    except DataError as error:
        raise DataError(
            f"{bundle.path}: expected the data it was trained on, {manifest.data.source}; {error}; "
            f"name the file with --data"
        ) from error
    if table.fingerprint() != manifest.data.fingerprint:
        raise BundleError(
            f"{bundle.path}: expected the data it was trained on, {manifest.data.source}; got "
            f"other data from {config.data}; name the file with --data, or train the model again"
            f"{SPELLING_HINT if manifest.schema_version == 1 else ''}"
        )
    return table, split


def _load_as_trained(config: Config, manifest: Manifest) -> tuple[Table, Split]:
    """Return the data, with the column types that the model takes, and their split.

    Later versions infer other types for some columns. A column that was a category is read as one,
    and numbers that the model takes in float32 are read in float32.
    """
    categories = tuple(c.name for c in manifest.inputs if isinstance(c, CategoryColumn))
    options = replace(config.get_read_options(), text_categories=categories)
    table, split = load_and_split(config, options)
    float32_columns = {
        c.name for c in manifest.inputs if isinstance(c, NumberColumn) and c.dtype == "float32"
    }
    inferred_float64 = [column.name for column in table.records.of_kind("precise")]
    rounded = [name for name in inferred_float64 if name in float32_columns]
    if not rounded:
        return table, split
    return load_and_split(config, replace(options, number=(*options.number, *rounded)))


def _read_constants(content: bytes) -> dict[str, NDArray[np.float32]]:
    """Return the constants of a serialized ONNX graph by name.

    Raises:
        BundleError: If the content is not an ONNX graph.
    """
    try:
        graph = onnx.load_from_string(content).graph
    except DecodeError as error:
        raise BundleError(
            f"expected an ONNX graph in {FP32}; {error}; train the model again"
        ) from error
    return {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}


def _restore_parameters(model: Model, constants: dict[str, NDArray[np.float32]]) -> None:
    """Copy the constants of a graph into the network.

    A constant that is missing or has another shape is skipped: `load_trained` then refuses the
    model, since its graph differs from the bundle's.
    """
    input_names = {value.name for value in create_graph_inputs(model.encoder.columns)}

    def restore(name: str, parameters: NDArray[np.float32]) -> None:
        # `NodeBuilder` appends underscores to a name that an input already has.
        while name in input_names:
            name += "_"
        constant = constants.get(name)
        if constant is not None and constant.shape == parameters.shape:
            parameters[...] = constant

    embeddings = list_embeddings(model.network)
    for position, embedding in enumerate(embeddings, start=1):
        if isinstance(embedding, Embedding):
            for index, vectors in enumerate(embedding.tables):
                restore(f"E{position}_{index}", vectors)
        if isinstance(embedding, PeriodicEmbedding):
            restore(f"F{position}", embedding.frequencies[:, :, None])
            restore(f"P{position}", embedding.phases[:, :, None])
            restore(f"W{position}", embedding.W)
            restore(f"b{position}", embedding.b[:, :, None])
    first_index = 1 + len(embeddings)
    members = list_members(model.network)
    dense_layers = [] if members else list_dense_layers(model.network)
    layers_by_suffix = {f"{i}": layer for i, layer in enumerate(dense_layers, start=first_index)}
    for k, member in enumerate(members):
        layers_by_suffix |= {f"{first_index}_{k}_{i}": x for i, x in enumerate(member, start=1)}
    for suffix, dense in layers_by_suffix.items():
        restore(f"W{suffix}", dense.W)
        restore(f"b{suffix}", dense.b)
