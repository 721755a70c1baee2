"""A neural network written from scratch in NumPy: layers, losses, optimizers and their helpers.

A `Network` is a list of layers whose parameters lie in one vector, and so do their gradients. A
loss compares its outputs, the logits, with the targets; an optimizer changes the parameters by the
gradients. Activations, initializers, losses, optimizers and schedules also have names, which are
the keys of `ACTIVATIONS`, `INITIALIZERS` and so on: `Dense(8, "relu")`.

>>> import numpy as np
>>> from trainer.nn import Adam, CategoricalCrossEntropy, Dense, Network
>>> rng = np.random.default_rng(0)
>>> network = Network(2, [Dense(8, "relu"), Dense(2)], rng=rng)
>>> x = rng.normal(size=(64, 2)).astype(np.float32)
>>> y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)  # exclusive or, in the plane
>>> loss, optimizer = CategoricalCrossEntropy(), Adam(0.05)
>>> for _ in range(200):
...     value = network.loss_and_gradients(x, y, loss)
...     optimizer.step(network.parameters, network.gradients)
>>> float(np.mean(network.logits(x).argmax(axis=1) == y)) > 0.95
True
"""

from trainer.nn.activations import (
    ACTIVATIONS,
    ELU,
    GELU,
    SELU,
    Activation,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    Softplus,
    Swish,
    Tanh,
)
from trainer.nn.data_initialization import initialize_from_rows
from trainer.nn.gradient_check import GradientError, check_gradients
from trainer.nn.initializers import INITIALIZERS, Initializer
from trainer.nn.layers import (
    BatchNorm,
    Branches,
    Chain,
    Dense,
    Dropout,
    Embedding,
    FeatureSelect,
    IntegerDense,
    Layer,
    Members,
    Parameter,
    PeriodicEmbedding,
    Quantization,
    embedding_width,
    largest_weight,
)
from trainer.nn.losses import (
    LOSSES,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    check_pairing,
)
from trainer.nn.network import Network
from trainer.nn.optimizers import (
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    Momentum,
    Nadam,
    Nesterov,
    Optimizer,
    RMSprop,
)
from trainer.nn.parameter_rates import compute_parameter_rates
from trainer.nn.regularizers import MaxNorm, Penalty, WeightAverage, clip_norm, clip_value
from trainer.nn.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    FlatCosine,
    InverseScaling,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    Step,
)

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "INITIALIZERS",
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULES",
    "SELU",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Branches",
    "CategoricalCrossEntropy",
    "Chain",
    "Constant",
    "Cosine",
    "Dense",
    "Dropout",
    "Embedding",
    "Exponential",
    "FeatureSelect",
    "FlatCosine",
    "GradientError",
    "Huber",
    "Identity",
    "Initializer",
    "IntegerDense",
    "InverseScaling",
    "Layer",
    "LeakyReLU",
    "Loss",
    "MaxNorm",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Members",
    "Momentum",
    "Nadam",
    "Nesterov",
    "Network",
    "OneCycle",
    "Optimizer",
    "Parameter",
    "Penalty",
    "PeriodicEmbedding",
    "Poisson",
    "Quantization",
    "RMSprop",
    "ReLU",
    "ReduceOnPlateau",
    "Schedule",
    "Sigmoid",
    "Softplus",
    "Step",
    "Swish",
    "Tanh",
    "WeightAverage",
    "check_gradients",
    "check_pairing",
    "clip_norm",
    "clip_value",
    "compute_parameter_rates",
    "embedding_width",
    "initialize_from_rows",
    "largest_weight",
]
