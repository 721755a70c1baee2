"""Streamed rows: batches of more rows than memory holds, read from all over a file and mixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from trainer.training.batches import Batch, BatchSource, ShuffledBatches, TrainingRows

BLOCK = 1024  # neighbouring rows that are read together
BUFFER = 2**24  # bytes of features held at a time


class StreamedRows(BatchSource):
    """Rows made when they are needed: blocks of neighbours, in a new order, mixed some at a time.

    Rows of one block always meet in one buffer, but blocks from everywhere meet there with them:
    nearly as good as a full shuffle where neighbours are alike, and files are read in runs.

    Args:
        n_rows: rows of an epoch.
        fetch: given ascending places in 0 … n_rows, the rows there.
        size: rows per batch; the last of a buffer may be smaller.
        row_bytes: of a row's features, to bound the buffer by.
    """

    def __init__(
        self,
        n_rows: int,
        fetch: Callable[[NDArray[np.int64]], TrainingRows],
        size: int,
        *,
        row_bytes: int,
    ) -> None:
        self.n_rows, self.size, self._fetch = n_rows, size, fetch
        blocks = max(1, BUFFER // (row_bytes * BLOCK), -(-4 * size // BLOCK))
        self._buffer = blocks * BLOCK  # rows

    def __len__(self) -> int:
        full, rest = divmod(self.n_rows, self._buffer)
        return full * _batches(self._buffer, self.size) + _batches(rest, self.size)

    def sample(self) -> TrainingRows:
        """As many rows as a buffer holds, from all over."""
        count = min(self.n_rows, self._buffer)
        return self._fetch(np.linspace(0, self.n_rows - 1, count).astype(np.int64))

    def epoch(self, rng: np.random.Generator, *, skip: int = 0) -> Iterator[Batch]:
        """As `Source` says."""
        order = np.arange(-(-self.n_rows // BLOCK))
        rng.shuffle(order[:-1])  # a last block that is short stays last: always as many batches
        step = self._buffer // BLOCK
        for start in range(0, len(order), step):
            blocks = np.sort(order[start : start + step])
            places = (blocks[:, None] * BLOCK + np.arange(BLOCK)).ravel()
            places = places[places < self.n_rows]
            seed = rng.integers(2**63)
            batches = _batches(len(places), self.size)
            if skip >= batches:
                skip -= batches
                continue
            mixed = ShuffledBatches(self._fetch(places), self.size)
            yield from mixed.epoch(np.random.default_rng(seed), skip=skip)
            skip = 0


def _batches(rows: int, size: int) -> int:
    """As many as `Shuffled` makes of them: a last one of a single row joins the one before."""
    count = -(-rows // size)
    return count - (count > 1 and rows - (count - 1) * size == 1)
