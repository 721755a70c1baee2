"""Knowledge distillation: a smaller network learns to give the answers of the original one.

Hinton et al. 2015, https://arxiv.org/abs/1503.02531: the student learns the teacher's whole
distribution, softened by a temperature, instead of the labels. Since the teacher can answer any
input, half of the rows are mixtures of two training rows, so that each epoch has new inputs (mixup:
Zhang et al. 2018, https://arxiv.org/abs/1710.09412; in distillation: Beyer et al. 2022,
https://arxiv.org/abs/2106.05237). If the original network was trained with dropout of its inputs,
so is the student, while the teacher gets the whole row (as in Xie et al. 2020,
https://arxiv.org/abs/1911.04252).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn import Adam, Cosine, Loss, Network
from trainer.nn.losses.loss import Array, require_floats
from trainer.training.batches import Batch, BatchSource, ShuffledBatches, TrainingRows
from trainer.training.loop import Callback, TrainingRun
from trainer.training.update import UpdateRule

TEMPERATURE = 2.0  # divisor of the logits of student and teacher
MIXED_SHARE = 0.5  # share of the rows of a batch that are mixtures


class DistillationLoss(Loss):
    """The difference of a student's logits from its teacher's, which are the targets.

    With T the temperature and z the logits: for the link softmax, T² times the Kullback-Leibler
    divergence of softmax(z/T) from the teacher's; for the link sigmoid, the same of σ(z/T), as a
    mean over the logits. The factor T² keeps the size of the gradient independent of T (Hinton et
    al. 2015, section 2.1). For other links, the mean squared error.

    Args:
        link: Link of the loss that the teacher was trained with, such as "softmax".
    """

    name = "imitation"

    def __init__(self, link: str) -> None:
        super().__init__()
        self.link = link

    def value_and_gradient(
        self,
        logits: Array,
        targets: NDArray[Any],
        out: Array,
        weights: NDArray[Any] | None = None,
    ) -> float:
        if weights is not None:
            raise ValueError(
                "expected rows of equal weight for a distillation; got row weights; leave them out"
            )
        n, k = logits.shape
        if self.link == "softmax":
            log_q = _log_softmax(logits / TEMPERATURE)
            log_p = _log_softmax(targets / TEMPERATURE)
            p = np.exp(log_p)
            np.multiply(np.exp(log_q) - p, TEMPERATURE / n, out=out)
            return float((p * (log_p - log_q)).sum() * TEMPERATURE**2 / n)
        if self.link == "sigmoid":
            # Both outcomes of each logit, stacked: (2, n, k).
            log_q, log_p = (
                np.stack([_log_sigmoid(-z), _log_sigmoid(z)])
                for z in (logits / TEMPERATURE, targets / TEMPERATURE)
            )
            p = np.exp(log_p)
            np.multiply(np.exp(log_q[1]) - p[1], TEMPERATURE / (n * k), out=out)
            return float((p * (log_p - log_q)).sum() * TEMPERATURE**2 / (n * k))
        difference = logits - targets
        np.multiply(difference, 2 / (n * k), out=out)
        return float(np.vdot(difference, difference) / (n * k))

    def ideal_logits(self, targets: NDArray[Any], n_outputs: int) -> Array:
        return targets.astype(np.float64)

    def check_targets(self, targets: NDArray[Any], n_outputs: int) -> None:
        require_floats(self.name, targets, n_outputs)


def _log_softmax(z: Array) -> Array:
    z = z - z.max(axis=1, keepdims=True)
    log_p: Array = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return log_p


def _log_sigmoid(z: Array) -> Array:
    log_p: Array = -np.logaddexp(0, -z)
    return log_p


class DistillationRows(BatchSource):
    """Batches of rows, half of them mixtures, with the teacher's logits as targets.

    Args:
        teacher: The network whose logits are computed for each batch.
        x: Rows as the networks take them, float32 `(n, n_inputs)`.
        batch_size: Rows per batch.
        n_categories: Number of the last columns that hold the codes of embedded categories, which
            are neither mixed nor dropped. Default 0.
        input_dropout: Share of the other columns' values that the student gets as 0, in [0, 1).
            Default 0.
    """

    def __init__(
        self,
        teacher: Network,
        x: NDArray[np.float32],
        batch_size: int,
        *,
        n_categories: int = 0,
        input_dropout: float = 0.0,
    ) -> None:
        self.teacher, self.batch_size, self.n_rows = teacher, batch_size, len(x)
        self.input_dropout = input_dropout
        self._batches = ShuffledBatches(
            TrainingRows(x, np.zeros((len(x), 0), np.float32)), batch_size
        )
        self._number_columns = slice(0, x.shape[1] - n_categories)

    def __len__(self) -> int:
        return len(self._batches)

    def iterate_epoch(self, rng: np.random.Generator, *, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, as declared by `BatchSource`."""
        columns = self._number_columns
        # The skipped batches are drawn as well, so that the others are the same with and without
        # a skip.
        for number, (x, _, _) in enumerate(self._batches.iterate_epoch(rng)):
            n_mixed = int(len(x) * MIXED_SHARE)
            mixed = x[:n_mixed, columns]
            partners = x[rng.permutation(len(x))[:n_mixed], columns]
            mixed += rng.random((n_mixed, 1), dtype=np.float32) * (partners - mixed)
            logits = self.teacher.logits(x)
            if self.input_dropout:
                values = x[:, columns]
                values *= rng.random(values.shape, dtype=np.float32) >= self.input_dropout
            if number >= skip:
                yield x, logits, None


def distill(
    network: Network,
    teacher: Network,
    link: str,
    x: NDArray[np.float32],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    n_categories: int = 0,
    input_dropout: float = 0.0,
    rng: np.random.Generator,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train a network, in place, to give its teacher's answers.

    Args:
        network: The student, with the teacher's number of inputs and outputs.
        teacher: The network that is imitated; it is not changed.
        link: Link of the loss that the teacher was trained with, such as "softmax".
        x: Training rows, float32 `(n, n_inputs)`.
        epochs: Passes over the training rows.
        batch_size: Rows per training step.
        learning_rate: Highest learning rate of Adam; it follows a cosine schedule.
        n_categories: Number of the last columns that hold the codes of embedded categories; see
            `DistillationRows`. Default 0.
        input_dropout: Share of the inputs that are dropped for the student, in [0, 1). Default 0.
        rng: Generator of the order of the rows, their mixtures and the dropout.
        callbacks: Callbacks of the training run.

    Raises:
        TrainingDivergedError: If the loss becomes infinite or NaN.
    """
    TrainingRun(
        network,
        DistillationLoss(link),
        UpdateRule(Adam(learning_rate), schedule=Cosine()),
        DistillationRows(
            teacher, x, batch_size, n_categories=n_categories, input_dropout=input_dropout
        ),
        epochs=epochs,
        batch_size=batch_size,
        rng=rng,
        callbacks=callbacks,
    ).run()
