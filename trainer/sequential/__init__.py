"""A network with the interface of Keras' `Sequential`: compile, fit, evaluate, predict.

>>> import numpy as np
>>> from trainer.nn import Dense
>>> from trainer import Sequential
>>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
>>> y = np.array([0, 1, 1, 0])
>>> network = Sequential([Dense(8, "tanh"), Dense(1)], seed=0)
>>> network.compile(optimizer="adam", learning_rate=0.05, loss="binary_cross_entropy")
>>> history = network.fit(x, y, epochs=300, batch_size=4)
>>> network.evaluate(x, y)["accuracy"]
1.0
"""

import trainer.train_extra  # noqa: F401 - says which extra to install

from trainer.sequential.history import History
from trainer.sequential.sequential import Sequential

__all__ = ["History", "Sequential"]
