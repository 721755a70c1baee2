"""The experiments of `trainer study`: XOR with and without a hidden layer, and learning rates.

Each setting is run with several seeds, which determine the rows, the split and the initial weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.preprocess import Scaler
from trainer.data.toys import circles, moons, xor
from trainer.evaluate.metrics import compute_positive_metrics
from trainer.nn import SGD, BinaryCrossEntropy, Dense, Network
from trainer.training.batches import TrainingRows
from trainer.training.loop import TrainingRun
from trainer.training.update import UpdateRule

LEARNING_RATES = (0.001, 0.01, 0.1, 0.5, 1.0)
HIDDEN_UNITS = (16, 8)
TEST_SHARE = 0.2
EPOCHS = 2000  # Each epoch is one step on all rows.
XOR_LEARNING_RATE = 1.0
XOR_UNITS = 4

Points = NDArray[np.float64]  # features, (n, 2)


@dataclass
class ExperimentResult:
    """The result of one setting with every seed.

    Attributes:
        setting: Name of the setting in tables and plots.
        accuracies: Accuracy on the test rows for each seed; for XOR, on its four rows.
        positive_metrics: Precision, recall and F1 of class 1 on the same rows for each seed, by the
            metric's name.
        losses: Training loss of every epoch, with the first seed.
        rows: Features, float64 `(n, 2)`, and classes, int64 `(n,)`, of the first seed, unscaled.
        scaler: Scaling of the features, fitted with the first seed.
        network: Network that was trained with the first seed.
    """

    setting: str
    accuracies: list[float]
    positive_metrics: dict[str, list[float]]
    losses: list[float]
    rows: tuple[Points, NDArray[np.int64]]
    scaler: Scaler
    network: Network = field(repr=False)

    @property
    def median(self) -> float:
        """Median accuracy over the seeds."""
        return float(np.median(self.accuracies))

    @property
    def median_positive_metrics(self) -> dict[str, float]:
        """Medians of precision, recall and F1 of class 1, by the metric's name."""
        return {name: float(np.median(values)) for name, values in self.positive_metrics.items()}

    def predict_probability(self, points: Points) -> NDArray[np.float32]:
        """Return the probability of class 1, by the network of the first seed.

        Args:
            points: Unscaled features, float64 `(n, 2)`.

        Returns:
            Float32 `(n,)`.
        """
        logits = self.network.logits(self.scaler.transform(points))
        probabilities: NDArray[np.float32] = BinaryCrossEntropy().answers(logits)[:, 0]
        return probabilities


def run_learning_rates(toy: str, seeds: int) -> Iterator[ExperimentResult]:
    """Yield the result of each of `LEARNING_RATES` on moons or circles.

    The network is `[2, 16, 8, 1]` with ReLU and a sigmoid. It is trained on 80 % of 500 rows, with
    standardized features, for 2000 steps of plain gradient descent on all training rows.

    Args:
        toy: Name of the data set: moons or circles.
        seeds: Number of seeds.
    """
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - slow to import

    generate = {"moons": moons, "circles": circles}[toy]
    for learning_rate in LEARNING_RATES:
        runs = []
        for seed in range(seeds):
            X, y = generate(seed=seed)
            X_train, X_test, y_train, y_test = train_test_split(
                X, y, test_size=TEST_SHARE, stratify=y, random_state=seed
            )
            hidden = [Dense(units, "relu") for units in HIDDEN_UNITS]
            runs.append(
                _train_once(hidden, learning_rate, (X_train, y_train), (X_test, y_test), seed)
            )
        yield _combine_runs(f"learning rate {learning_rate:g}", runs, generate(seed=0))


def run_exclusive_or(seeds: int) -> Iterator[ExperimentResult]:
    """Yield the results on the four rows of XOR, without a hidden layer and with `[2, 4, 1]`.

    The hidden units have the activation tanh. The networks are trained for 2000 steps of plain
    gradient descent on all rows, with a learning rate of 1.

    Args:
        seeds: Number of seeds.
    """
    rows = xor(4, noise=0)
    for name, hidden_units in (("no hidden layer", []), ("[2, 4, 1]", [XOR_UNITS])):
        runs = []
        for seed in range(seeds):
            hidden = [Dense(units, "tanh") for units in hidden_units]
            runs.append(_train_once(hidden, XOR_LEARNING_RATE, rows, rows, seed))
        yield _combine_runs(name, runs, rows)


@dataclass
class _SeedResult:
    """The result of a setting with one seed; see `ExperimentResult`."""

    accuracy: float
    positive_metrics: dict[str, float]
    losses: list[float]
    scaler: Scaler
    network: Network


def _train_once(
    hidden: Sequence[Dense],
    learning_rate: float,
    training: tuple[Points, NDArray[Any]],
    test: tuple[Points, NDArray[Any]],
    seed: int,
) -> _SeedResult:
    """Train a network by plain gradient descent and evaluate it.

    Args:
        hidden: The hidden layers.
        learning_rate: Constant learning rate.
        training: Features, float64 `(n, 2)`, and classes, `(n,)`, of the training rows.
        test: The same of the test rows.
        seed: Random seed of the initial weights.
    """
    rng, (X, y) = np.random.default_rng(seed), training
    scaler = Scaler.fit(X)
    network = Network(2, [*hidden, Dense(1)], rng=rng)
    loss = BinaryCrossEntropy()
    rows = TrainingRows(scaler.transform(X), y.astype(np.float32)[:, None])
    history = TrainingRun(
        network,
        loss,
        UpdateRule(SGD(learning_rate)),
        rows,
        epochs=EPOCHS,
        batch_size=len(X),
        rng=rng,
        shuffle=False,
    ).run()
    X_test, y_test = test
    is_positive = loss.answers(network.logits(scaler.transform(X_test)))[:, 0] >= 0.5
    return _SeedResult(
        float(np.mean(is_positive == y_test)),
        compute_positive_metrics(y_test == 1, is_positive),
        [epoch.train_loss for epoch in history],
        scaler,
        network,
    )


def _combine_runs(
    setting: str, runs: Sequence[_SeedResult], rows: tuple[Points, NDArray[np.int64]]
) -> ExperimentResult:
    first = runs[0]
    accuracies = [run.accuracy for run in runs]
    positive_metrics = {
        name: [run.positive_metrics[name] for run in runs] for name in first.positive_metrics
    }
    return ExperimentResult(
        setting, accuracies, positive_metrics, first.losses, rows, first.scaler, first.network
    )
