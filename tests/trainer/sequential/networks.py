"""Networks and rows that the tests of `Sequential` share."""

import numpy as np

from trainer.nn import Dense
from trainer.sequential import Sequential


def load_standardised(data):
    X, y = data(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return X[order], y[order]


def make_iris_network():
    network = Sequential([Dense(8, "relu"), Dense(3)], seed=2)
    network.compile(learning_rate=0.01)
    return network


def make_compiled(seed=0, **options):
    network = Sequential([Dense(6, "relu"), Dense(3)], seed=seed)
    network.compile(**{"learning_rate": 0.01} | options)
    return network
