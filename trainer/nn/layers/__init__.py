"""Layers of a network, one module for each kind."""

from trainer.nn.layers.batch_norm import BatchNorm
from trainer.nn.layers.branches import Branches
from trainer.nn.layers.chain import Chain
from trainer.nn.layers.dense import Dense
from trainer.nn.layers.dropout import Dropout
from trainer.nn.layers.embedding import Embedding, embedding_width
from trainer.nn.layers.integer_dense import (
    IntegerDense,
    Quantization,
    largest_weight,
)
from trainer.nn.layers.layer import Activity, Layer, Parameter
from trainer.nn.layers.members import Members
from trainer.nn.layers.periodic_embedding import PeriodicEmbedding
from trainer.nn.layers.select import FeatureSelect

__all__ = [
    "Activity",
    "BatchNorm",
    "Branches",
    "Chain",
    "Dense",
    "Dropout",
    "Embedding",
    "FeatureSelect",
    "IntegerDense",
    "Layer",
    "Members",
    "Parameter",
    "PeriodicEmbedding",
    "Quantization",
    "embedding_width",
    "largest_weight",
]
