"""Small networks and rows, and the findings of runs that train them."""

import numpy as np
import pytest
from sklearn.datasets import make_classification, make_regression

from trainer.nn import (
    Adam,
    CategoricalCrossEntropy,
    Dense,
    Network,
)
from trainer.training.batches import TrainingRows
from trainer.training.diagnostics import (
    Diagnostics,
)
from trainer.training.loop import TrainingDivergedError, TrainingRun
from trainer.training.update import UpdateRule

INPUTS, CLASSES = 10, 3


def make_class_rows(n=200):
    x, y = make_classification(
        n, INPUTS, n_informative=6, n_classes=CLASSES, class_sep=2, random_state=0
    )
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return TrainingRows(x.astype(np.float32), y.astype(np.int64))


def make_value_rows(n=200):
    x, y = make_regression(n, INPUTS, noise=1, random_state=0)
    return TrainingRows(x.astype(np.float32), (y / y.std()).astype(np.float32)[:, None])


def make_network(*layers, n_outputs=CLASSES):
    layers = layers or (Dense(32, "relu"), Dense(n_outputs))
    return Network(INPUTS, layers, rng=np.random.default_rng(3))


def find_faults(net=None, rows=None, loss=None, optimizer=None, epochs=8, diverges=False):
    """Return the findings of a run that is examined."""
    monitor = Diagnostics()
    run = TrainingRun(
        net or make_network(),
        loss or CategoricalCrossEntropy(),
        UpdateRule(optimizer or Adam(0.005)),
        rows or make_class_rows(),
        epochs=epochs,
        batch_size=20,
        rng=np.random.default_rng(0),
        callbacks=[monitor],
    )
    if diverges:
        with pytest.raises(TrainingDivergedError):
            run.run()
    else:
        run.run()
    return monitor.findings
