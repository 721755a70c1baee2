"""The experiments: exclusive or with and without a hidden layer; learning rates on moons, circles.

Each is run from several seeds, which decide the rows, the split and the first weights.
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

RATES = (0.001, 0.01, 0.1, 0.5, 1.0)
HIDDEN = (16, 8)
TEST = 0.2
EPOCHS = 2000  # each of one step on all rows
XOR_RATE = 1.0

Rows2D = NDArray[np.float64]


@dataclass
class ExperimentResult:
    """One setting, from every seed.

    Attributes:
        setting: what it is called in tables and plots.
        accuracies: on the test rows, one per seed; of exclusive or, on its four rows.
        of_one: Precision, recall and F1 of class 1 on the same rows, one of each per seed, by the
            metrics' names.
        losses: the training loss of every epoch, of the first seed.
        rows: features float64 `(n, 2)` and classes `(n,)` of the first seed, before scaling.
        scaler: of the first seed's features.
        network: what the first seed led to.
    """

    setting: str
    accuracies: list[float]
    of_one: dict[str, list[float]]
    losses: list[float]
    rows: tuple[Rows2D, NDArray[np.int64]]
    scaler: Scaler
    network: Network = field(repr=False)

    @property
    def median(self) -> float:
        """The median accuracy."""
        return float(np.median(self.accuracies))

    @property
    def medians_of_one(self) -> dict[str, float]:
        """The medians of the figures of class 1."""
        return {name: float(np.median(values)) for name, values in self.of_one.items()}

    def probability(self, rows: Rows2D) -> NDArray[np.float32]:
        """Of class 1, for rows `(n, 2)`, by the first seed's network."""
        logits = self.network.logits(self.scaler.transform(rows))
        answers: NDArray[np.float32] = BinaryCrossEntropy().answers(logits)[:, 0]
        return answers


def run_learning_rates(toy: str, seeds: int) -> Iterator[ExperimentResult]:
    """`[2, 16, 8, 1]`, relu, sigmoid, on moons or circles: 500 rows, 80 % to learn from.

    Standardised, full batch, plain gradient descent, 2000 epochs, at each of `RATES`.
    """
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - slow to import

    generate = {"moons": moons, "circles": circles}[toy]
    for rate in RATES:
        runs = []
        for seed in range(seeds):
            X, y = generate(seed=seed)
            known, held_out, truth, unseen = train_test_split(
                X, y, test_size=TEST, stratify=y, random_state=seed
            )
            layers = [Dense(units, "relu") for units in HIDDEN]
            runs.append(_run(layers, rate, (known, truth), (held_out, unseen), seed))
        yield _joined(f"learning rate {rate:g}", runs, generate(seed=0))


def run_exclusive_or(seeds: int) -> Iterator[ExperimentResult]:
    """The four rows of exclusive or, without a hidden layer and with `[2, 4, 1]`.

    Four tanh units, full batch, plain gradient descent at a rate of 1, 2000 epochs.
    """
    rows = xor(4, noise=0)
    for name, hidden in (("no hidden layer", []), ("[2, 4, 1]", [4])):
        runs = [
            _run([Dense(units, "tanh") for units in hidden], XOR_RATE, rows, rows, seed)
            for seed in range(seeds)
        ]
        yield _joined(name, runs, rows)


@dataclass
class _Finished:
    accuracy: float
    of_one: dict[str, float]
    losses: list[float]
    scaler: Scaler
    network: Network


def _run(
    hidden: Sequence[Dense],
    rate: float,
    known: tuple[Rows2D, NDArray[Any]],
    held_out: tuple[Rows2D, NDArray[Any]],
    seed: int,
) -> _Finished:
    rng, (X, y) = np.random.default_rng(seed), known
    scaler = Scaler.fit(X)
    network = Network(2, [*hidden, Dense(1)], rng=rng)
    loss = BinaryCrossEntropy()
    rows = TrainingRows(scaler.transform(X), y.astype(np.float32)[:, None])
    history = TrainingRun(
        network,
        loss,
        UpdateRule(SGD(rate)),
        rows,
        epochs=EPOCHS,
        batch_size=len(X),
        rng=rng,
        shuffle=False,
    ).run()
    answers = loss.answers(network.logits(scaler.transform(held_out[0])))[:, 0] >= 0.5
    accuracy = float(np.mean(answers == held_out[1]))
    of_one = compute_positive_metrics(held_out[1] == 1, answers)
    return _Finished(accuracy, of_one, [epoch.train_loss for epoch in history], scaler, network)


def _joined(
    setting: str, runs: Sequence[_Finished], rows: tuple[Rows2D, NDArray[np.int64]]
) -> ExperimentResult:
    first = runs[0]
    accuracies = [run.accuracy for run in runs]
    of_one = {name: [run.of_one[name] for run in runs] for name in first.of_one}
    return ExperimentResult(
        setting, accuracies, of_one, first.losses, rows, first.scaler, first.network
    )
