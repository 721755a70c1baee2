"""Training rows, and sources that yield them in batches, epoch after epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trainer.nn import Loss
from trainer.nn.buffers import Buffers

# Features, targets, and the weights of the rows or None; see `TrainingRows`.
Batch = tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]

# A callable that returns the batches of one epoch in an order of its own. It is called once for
# each epoch.
BatchIterable = Callable[[], Iterable[Batch]]

# Number of values that `require_finite` tests at once, which bounds the memory of its mask.
VALUES_PER_SLICE = 2**20


@dataclass(frozen=True)
class TrainingRows:
    """Rows as the network takes them. The arrays are in memory, or mapped from a file.

    Attributes:
        features: Features, `(n, n_inputs)` with n ≥ 1, of the network's dtype.
        targets: Targets as the loss requires them, `(n,)` or `(n, k)`.
        weights: Weight of each row, `(n,)`, at least 0; None if all rows have weight 1.
    """

    features: NDArray[Any]
    targets: NDArray[Any]
    weights: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, part: slice) -> TrainingRows:
        """Return a slice of the rows, as views."""
        weights = None if self.weights is None else self.weights[part]
        return TrainingRows(self.features[part], self.targets[part], weights)

    def check(self, loss: Loss, n_inputs: int, n_outputs: int, dtype: DTypeLike) -> None:
        """Check that a network can be trained on the rows.

        Args:
            loss: Loss that is minimised.
            n_inputs: Number of inputs of the network.
            n_outputs: Number of outputs of the network.
            dtype: Dtype of the network.

        Raises:
            ValueError: If there are no rows, an array has the wrong shape or dtype or holds NaN or
                infinity, the loss does not accept the targets, or a weight is negative or all are
                0.
        """
        if self.features.ndim != 2 or self.features.shape[1] != n_inputs or not len(self):
            raise ValueError(
                f"expected features of shape (n, {n_inputs}), n ≥ 1; got {self.features.shape}"
            )
        if self.features.dtype != dtype:
            raise ValueError(f"expected features of {np.dtype(dtype)}; got {self.features.dtype}")
        if len(self.targets) != len(self):
            raise ValueError(
                f"expected one target per row; got {len(self)} rows and {len(self.targets)} targets"
            )
        require_finite("features", self.features)
        loss.check_targets(self.targets, n_outputs)
        if self.weights is not None:
            self._check_weights(self.weights)

    def _check_weights(self, weights: NDArray[Any]) -> None:
        if weights.shape != (len(self),):
            raise ValueError(
                f"expected one weight per row, of shape ({len(self)},); got {weights.shape}"
            )
        require_finite("weights", weights)
        if (weights < 0).any() or not (weights > 0).any():
            raise ValueError(
                "expected weights of at least 0, not all of them 0; "
                f"got {weights.min()} to {weights.max()}"
            )


def require_finite(name: str, array: NDArray[Any]) -> None:
    """Raise an error if an array holds NaN or infinity.

    The array is tested slice by slice, so that a mapped file does not have to fit into memory.

    Args:
        name: Name of the array for the error message.
        array: Array of numbers, `(n, …)`.

    Raises:
        ValueError: If a value is NaN or infinite; the message gives the first such row.
    """
    step = max(1, VALUES_PER_SLICE // max(1, int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), step):
        finite = np.isfinite(array[start : start + step])
        if not finite.all():
            row = start + int(np.flatnonzero(~finite.reshape(len(finite), -1).all(axis=1))[0])
            raise ValueError(f"expected finite {name}; got NaN or infinity in row {row}")


class BatchSource(ABC):
    """A source of the batches of any number of epochs, with the same number in each.

    Attributes:
        n_rows: Number of rows per epoch.
        batch_size: Number of rows per batch; a few batches may be smaller, or larger by one row.
    """

    n_rows: int
    batch_size: int

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of batches per epoch."""

    @abstractmethod
    def iterate_epoch(self, rng: np.random.Generator, *, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        The arrays of a batch are valid until the next batch is requested, which may reuse them.

        Args:
            rng: Generator that decides the order of the rows.
            skip: Number of batches to leave out at the start [default: 0]. The others are the same
                as without it, so that an interrupted epoch can be resumed.
        """


class ShuffledBatches(BatchSource):
    """Batches of rows that are in memory or mapped from a file.

    Each batch is gathered into the same buffers, so that an epoch allocates no memory.

    Args:
        rows: Rows to train on.
        batch_size: Number of rows per batch. The last batch may be smaller; if it had only one row,
            that row is added to the batch before it.
        shuffle: Whether each epoch has a new order; if not, all have that of `rows`
            [default: True].
    """

    def __init__(self, rows: TrainingRows, batch_size: int, *, shuffle: bool = True) -> None:
        self.rows, self.batch_size, self.shuffle = rows, batch_size, shuffle
        self.n_rows = n = len(rows)
        starts = list(range(0, n, batch_size))
        if len(starts) > 1 and n - starts[-1] == 1:
            starts.pop()  # batch normalisation divides by the variance, which is 0 for one row
        self.bounds = list(zip(starts, [*starts[1:], n], strict=True))
        self._buffers = Buffers()

    def __len__(self) -> int:
        return len(self.bounds)

    def iterate_epoch(self, rng: np.random.Generator, *, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch; see `BatchSource.iterate_epoch`."""
        order = rng.permutation(len(self.rows)) if self.shuffle else None
        features, targets, weights = self.rows.features, self.rows.targets, self.rows.weights
        for start, stop in self.bounds[skip:]:
            if order is None:
                w = None if weights is None else weights[start:stop]
                yield features[start:stop], targets[start:stop], w
                continue
            indices = order[start:stop]
            yield (
                self._gather("features", features, indices),
                self._gather("targets", targets, indices),
                None if weights is None else self._gather("weights", weights, indices),
            )

    def _gather(self, name: str, source: NDArray[Any], indices: NDArray[np.int64]) -> NDArray[Any]:
        out = self._buffers.get(name, (len(indices), *source.shape[1:]), source.dtype)
        # All indices are valid. The default mode, "raise", would gather into a new array first.
        source.take(indices, axis=0, out=out, mode="clip")
        return out
