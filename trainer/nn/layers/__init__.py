"""Layers, one a file."""

from trainer.nn.layers.batch_norm import BatchNorm
from trainer.nn.layers.branches import Branches
from trainer.nn.layers.chain import Chain
from trainer.nn.layers.dense import Dense
from trainer.nn.layers.dropout import Dropout
from trainer.nn.layers.embedding import Embedding, embedding_width
from trainer.nn.layers.layer import Activity, Layer, Parameter

__all__ = [
    "Activity",
    "BatchNorm",
    "Branches",
    "Chain",
    "Dense",
    "Dropout",
    "Embedding",
    "Layer",
    "Parameter",
    "embedding_width",
]
