"""Batches: the rows of a run, a few at a time, in an order that is new in each epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trainer.nn import Loss
from trainer.nn.buffers import Buffers

Batch = tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]


@dataclass(frozen=True)
class TrainingRows:
    """Rows in the form the network takes; arrays in memory or mapped from a file.

    Attributes:
        features: of the network's dtype, `(n, n_inputs)`, n ≥ 1.
        targets: one per row, in the form the loss asks for.
        weights: of the rows, `(n,)`, none below 0; all alike if left out.
    """

    features: NDArray[Any]
    targets: NDArray[Any]
    weights: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, part: slice) -> TrainingRows:
        """Neighbouring rows, as views."""
        weights = None if self.weights is None else self.weights[part]
        return TrainingRows(self.features[part], self.targets[part], weights)

    def check(self, loss: Loss, n_inputs: int, n_outputs: int, dtype: DTypeLike) -> None:
        """Refuse what the network cannot learn from, by name.

        Raises:
            ValueError: rows are missing, of another shape or dtype, not finite, or their targets
                or weights do not fit.
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
            if self.weights.shape != (len(self),):
                raise ValueError(
                    f"expected one weight per row, of shape ({len(self)},); got "
                    f"{self.weights.shape}"
                )
            require_finite("weights", self.weights)
            if (self.weights < 0).any() or not (self.weights > 0).any():
                raise ValueError(
                    "expected weights of at least 0, not all of them 0; "
                    f"got {self.weights.min()} to {self.weights.max()}"
                )


# A source that is read anew in each epoch, in an order of its own.
BatchIterable = Callable[[], Iterable[Batch]]


def require_finite(name: str, array: NDArray[Any]) -> None:
    """Refuse NaN and infinity, in slices, so that a mapped file need not fit into memory.

    Raises:
        ValueError: naming the first row that has one.
    """
    step = max(1, 2**20 // max(1, int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), step):
        finite = np.isfinite(array[start : start + step])
        if not finite.all():
            row = start + int(np.flatnonzero(~finite.reshape(len(finite), -1).all(axis=1))[0])
            raise ValueError(f"expected finite {name}; got NaN or infinity in row {row}")


class BatchSource(ABC):
    """Batches that can be asked for epoch after epoch, always as many.

    Attributes:
        n_rows: rows of an epoch.
        size: rows per batch; some may be smaller.
    """

    n_rows: int
    size: int

    @abstractmethod
    def __len__(self) -> int:
        """Batches of an epoch."""

    @abstractmethod
    def epoch(self, rng: np.random.Generator, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from number `skip` on, valid until the next is asked for."""


class ShuffledBatches(BatchSource):
    """Batches of rows, gathered into the same buffers again and again.

    Args:
        rows: where they come from.
        size: rows per batch; the last may be smaller, and is joined to the one before it if it
            were a single row.
        shuffle: draw a new order for each epoch.
    """

    def __init__(self, rows: TrainingRows, size: int, *, shuffle: bool = True) -> None:
        self.rows, self.size, self.shuffle = rows, size, shuffle
        self.n_rows = n = len(rows)
        starts = list(range(0, n, size))
        if len(starts) > 1 and n - starts[-1] == 1:
            starts.pop()  # a batch of one row has no variance, which batch normalisation divides by
        self.bounds = list(zip(starts, [*starts[1:], n], strict=True))
        self._buffers = Buffers()

    def __len__(self) -> int:
        return len(self.bounds)

    def epoch(self, rng: np.random.Generator, *, skip: int = 0) -> Iterator[Batch]:
        """As `Source` says."""
        order = rng.permutation(len(self.rows)) if self.shuffle else None
        features, targets, weights = self.rows.features, self.rows.targets, self.rows.weights
        for start, stop in self.bounds[skip:]:
            if order is None:
                w = None if weights is None else weights[start:stop]
                yield features[start:stop], targets[start:stop], w
                continue
            chosen = order[start:stop]
            yield (
                self._take("features", features, chosen),
                self._take("targets", targets, chosen),
                None if weights is None else self._take("weights", weights, chosen),
            )

    def _take(self, name: str, source: NDArray[Any], chosen: NDArray[np.int64]) -> NDArray[Any]:
        out = self._buffers.get(name, (len(chosen), *source.shape[1:]), source.dtype)
        # The order holds valid numbers only; the mode `raise` would gather into a new array first.
        source.take(chosen, axis=0, out=out, mode="clip")
        return out
