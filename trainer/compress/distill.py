"""Distillation: a smaller network learns what the dense one answers.

Hinton et al. 2015, https://arxiv.org/abs/1503.02531: what is imitated are the answers' whole
distribution, softened, and not the labels alone. As the teacher answers anything, half of the rows
it is asked are blends of two (mixup: Zhang et al. 2018, https://arxiv.org/abs/1710.09412; for
distillation: Beyer et al. 2022, https://arxiv.org/abs/2106.05237), so that there is always
something new to learn. Where the dense network was trained with some of its inputs silenced, so is
the smaller one; its teacher sees them all (as in Xie et al. 2020, https://arxiv.org/abs/1911.04252).
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

SOFTENING = 2.0  # the temperature both sides' logits are divided by
BLENDED = 0.5  # share of the rows


class DistillationLoss(Loss):
    """How far logits are from a teacher's, which are the targets, float `(n, k)`.

    Of classes, T² times the divergence of softmax(z/T) from the teacher's (of σ for each logit of
    its own); the T² keeps the gradient's size whatever T is. Of values, the mean square.

    Args:
        link: of the loss that the teacher learned by.
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
            raise ValueError("expected rows that count alike; got weights")
        n, k = logits.shape
        if self.link == "softmax":
            mine, theirs = _log_softmax(logits / SOFTENING), _log_softmax(targets / SOFTENING)
            p = np.exp(theirs)
            np.multiply(np.exp(mine) - p, SOFTENING / n, out=out)
            return _number((p * (theirs - mine)).sum() * SOFTENING**2 / n)
        if self.link == "sigmoid":
            mine, theirs = (
                np.stack([_log_sigmoid(-z), _log_sigmoid(z)])
                for z in (logits / SOFTENING, targets / SOFTENING)
            )
            p = np.exp(theirs)
            np.multiply(np.exp(mine[1]) - p[1], SOFTENING / (n * k), out=out)
            return _number((p * (theirs - mine)).sum() * SOFTENING**2 / (n * k))
        difference = logits - targets
        np.multiply(difference, 2 / (n * k), out=out)
        return _number(np.vdot(difference, difference) / (n * k))

    def ideal_logits(self, targets: NDArray[Any], n_outputs: int) -> Array:
        return targets.astype(np.float64)

    def check_targets(self, targets: NDArray[Any], n_outputs: int) -> None:
        require_floats(self.name, targets, n_outputs)


def _number(value: Any) -> float:
    return float(value)


def _log_softmax(z: Array) -> Array:
    z = z - z.max(axis=1, keepdims=True)
    found: Array = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return found


def _log_sigmoid(z: Array) -> Array:
    found: Array = -np.logaddexp(0, -z)
    return found


class DistillationRows(BatchSource):
    """Batches of rows, some of them blended, with what a teacher answers to them.

    Args:
        teacher: asked anew for each batch.
        x: rows as the networks take them, float32 `(n, n_inputs)`.
        size: rows per batch.
        whole: how many of the last inputs are numbers of categories, which are neither blended nor
            silenced.
        silenced: share of the inputs that the teacher sees and the network does not, in [0, 1).
    """

    def __init__(
        self,
        teacher: Network,
        x: NDArray[np.float32],
        size: int,
        *,
        whole: int = 0,
        silenced: float = 0.0,
    ) -> None:
        self.teacher, self.batch_size, self.n_rows, self.silenced = teacher, size, len(x), silenced
        self._rows = ShuffledBatches(TrainingRows(x, np.zeros((len(x), 0), np.float32)), size)
        self._numbers = slice(0, x.shape[1] - whole)

    def __len__(self) -> int:
        return len(self._rows)

    def iterate_epoch(self, rng: np.random.Generator, *, skip: int = 0) -> Iterator[Batch]:
        """As `Source` says."""
        # Blends are drawn of those that are skipped, too, lest the rest be others.
        for number, (x, _, _) in enumerate(self._rows.iterate_epoch(rng)):
            blended = int(len(x) * BLENDED)
            part = x[:blended, self._numbers]
            other = x[rng.permutation(len(x))[:blended], self._numbers]
            part += rng.random((blended, 1), dtype=np.float32) * (other - part)
            answers = self.teacher.logits(x)
            if self.silenced:
                numbers = x[:, self._numbers]
                numbers *= rng.random(numbers.shape, dtype=np.float32) >= self.silenced
            if number >= skip:
                yield x, answers, None


def distill(
    network: Network,
    teacher: Network,
    link: str,
    x: NDArray[np.float32],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    whole: int = 0,
    silenced: float = 0.0,
    rng: np.random.Generator,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Let a network, in place, learn to answer as its teacher does.

    Args:
        network: of as many inputs and outputs as the teacher.
        teacher: whose answers are right.
        link: of the loss that the teacher learned by.
        x: training rows, float32 `(n, n_inputs)`.
        epochs: passes over them.
        batch_size: rows per step.
        learning_rate: of Adam, at its largest; it rises and falls as a cosine.
        whole: as of `Questions`.
        silenced: as of `Questions`.
        rng: decides the order of the rows and their blends.
        callbacks: they watch.

    Raises:
        TrainingDivergedError: the loss became infinite or NaN.
    """
    TrainingRun(
        network,
        DistillationLoss(link),
        UpdateRule(Adam(learning_rate), schedule=Cosine()),
        DistillationRows(teacher, x, batch_size, whole=whole, silenced=silenced),
        epochs=epochs,
        batch_size=batch_size,
        rng=rng,
        callbacks=callbacks,
    ).run()
