"""Reopening: of a bundle and its data, the model as it was trained.

The graph holds every number that was learned, and the manifest every choice. What was fitted to the
data, the encoder, is fitted again. That all of it came back right is not assumed: the model's graph
must be the bundle's, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
from trainer.compress.to_dense import dense_layers, to_dense
from trainer.config import Config
from trainer.data.files.source import CSV
from trainer.data.splits import Split
from trainer.data.tables import DataError, Table
from trainer.export.graph import build_graph
from trainer.export.preprocessing import create_graph_inputs
from trainer.model import Model
from trainer.nn import Embedding
from trainer.option_errors import list_option_errors
from trainer.pipeline import load_and_split, prepare_training

DENSE = "fp32"  # the variant that was trained
BEFORE = ", as is needed where it has texts that earlier versions read in another spelling"


@dataclass(frozen=True)
class TrainedModel:
    """A trained model with what it was trained on.

    Attributes:
        bundle: it comes from.
        config: every choice of its training.
        table: the data.
        parts: which rows served for what.
        model: the reference of its graph; its network is plain.
    """

    bundle: Bundle
    config: Config
    table: Table
    parts: Split
    model: Model


def load_trained(bundle: Bundle, data: str | None = None) -> TrainedModel:
    """The model of a bundle, ready to be changed.

    Args:
        bundle: of any version.
        data: where its data are now; None where they were.

    Raises:
        BundleError: the data are others, or there is no graph of it that this code makes of the
            model.
        DataError: the data cannot be read.
        ValueError: the network cannot be compressed.
    """
    manifest = bundle.manifest
    if DENSE not in manifest.variants:
        raise BundleError(
            f"{bundle.path}: expected a variant {DENSE}, as it was trained; got "
            f"{', '.join(manifest.variants)}; train the model again"
        )
    chosen = {**manifest.training.config, "models": bundle.path.parent.parent}
    if data is not None:
        chosen["data"] = data
    if manifest.schema_version == 1 and str(chosen.get("data")).lower().endswith(CSV):
        # Then no option said so, and nothing else was possible.
        chosen.setdefault("missing", list(filter(None, DEFAULT_GAP_TEXTS)))
    if manifest.positive_class is not None:  # bundles of version 1 do not say it in their choices
        chosen["positive"] = str(manifest.positive_class)
    try:
        config = Config.model_validate(chosen)
    except ValidationError as error:
        raise BundleError(
            f"{bundle.path}: expected the choices of a training run; "
            f"{list_option_errors(error, Config, str)}"
        ) from error
    try:
        table, parts = _read(config, manifest)
    except DataError as error:
        raise DataError(
            f"{bundle.path}: expected the data it was trained on, {manifest.data.source}; {error}; "
            f"name the file with --data"
        ) from error
    if table.fingerprint() != manifest.data.fingerprint:
        raise BundleError(
            f"{bundle.path}: expected the data it was trained on, {manifest.data.source}; got "
            f"others from {config.data}; name the file with --data, or train again"
            f"{BEFORE if manifest.schema_version == 1 else ''}"
        )
    untrained = prepare_training(table, parts, config, np.random.default_rng(0)).model
    model = replace(
        untrained,
        network=to_dense(untrained.network),
        threshold=0.5 if manifest.threshold is None else manifest.threshold,
        temperature=manifest.temperature,
        logit_bias=(
            None if manifest.logit_bias is None else np.array(manifest.logit_bias, np.float32)
        ),
    )
    content = bundle.read_graph(DENSE)
    _restore(model, _constants(content))
    if build_graph(model) != content:
        raise BundleError(
            f"{bundle.path}: expected the graph that this version of forwardpass makes of the "
            f"model; got another; train the model again"
        )
    return TrainedModel(bundle, config, table, parts, model)


def _read(config: Config, manifest: Manifest) -> tuple[Table, Split]:
    """Load and split the data, their columns of the kinds that the model takes.

    What was a category stays one, also where later versions take its texts for something else, and
    numbers that were all in float32 before schema version 2 stay so.
    """
    unread = tuple(c.name for c in manifest.inputs if isinstance(c, CategoryColumn))
    reading = replace(config.get_read_options(), unread=unread)
    table, parts = load_and_split(config, reading)
    single = {
        c.name for c in manifest.inputs if isinstance(c, NumberColumn) and c.dtype == "float32"
    }
    coarser = [column.name for column in table.records.of_kind("precise") if column.name in single]
    if not coarser:
        return table, parts
    return load_and_split(config, replace(reading, number=(*reading.number, *coarser)))


def _constants(content: bytes) -> dict[str, NDArray[np.float32]]:
    try:
        graph = onnx.load_from_string(content).graph
    except DecodeError as error:
        raise BundleError(
            f"expected an ONNX graph in {DENSE}; {error}; train the model again"
        ) from error
    return {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}


def _restore(model: Model, constants: dict[str, NDArray[np.float32]]) -> None:
    """Put the numbers of a graph into the network; what does not fit, its graph will tell."""
    taken = {value.name for value in create_graph_inputs(model.encoder.columns)}

    def put(name: str, into: NDArray[np.float32]) -> None:
        while name in taken:  # as `Nodes` names what an input has the name of
            name += "_"
        found = constants.get(name)
        if found is not None and found.shape == into.shape:
            into[...] = found

    lookups = [layer for layer in model.network.layers if isinstance(layer, Embedding)]
    for layer in lookups:
        for place, table in enumerate(layer.tables):
            put(f"E1_{place}", table)
    for place, dense in enumerate(dense_layers(model.network), start=1 + len(lookups)):
        put(f"W{place}", dense.W)
        put(f"b{place}", dense.b)
