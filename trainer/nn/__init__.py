"""The network, from scratch, on NumPy and nothing else.

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

from trainer.nn.activations import ACTIVATIONS, Activation, Identity, ReLU, Sigmoid, Tanh
from trainer.nn.gradient_check import GradientError, check_gradients
from trainer.nn.initializers import INITIALIZERS, GlorotUniform, HeNormal, Initializer
from trainer.nn.layers import Dense
from trainer.nn.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Loss,
    MeanSquaredError,
)
from trainer.nn.network import Network
from trainer.nn.optimizers import OPTIMIZERS, SGD, Adam, Optimizer

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "OPTIMIZERS",
    "SGD",
    "Activation",
    "Adam",
    "BinaryCrossEntropy",
    "CategoricalCrossEntropy",
    "Dense",
    "GlorotUniform",
    "GradientError",
    "HeNormal",
    "Identity",
    "Initializer",
    "Loss",
    "MeanSquaredError",
    "Network",
    "Optimizer",
    "ReLU",
    "Sigmoid",
    "Tanh",
    "check_gradients",
]
