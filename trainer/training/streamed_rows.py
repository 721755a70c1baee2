"""Batches of more rows than fit into memory, from blocks of a file that are mixed in a buffer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from trainer.training.batches import Batch, BatchSource, ShuffledBatches, TrainingRows

BLOCK_ROWS = 1024  # neighbouring rows that are read together
BUFFER_BYTES = 2**24  # bytes of features in a buffer


class StreamedRows(BatchSource):
    """A source of batches whose rows are fetched when they are needed.

    In each epoch the blocks of neighbouring rows get a new order. As many blocks as fit into a
    buffer are fetched together, and their rows are shuffled. Rows of one block are therefore always
    in the same buffer, but together with blocks from anywhere in the file. Where neighbours are
    similar this mixes nearly as well as a full shuffle, and files are read in long runs.

    Args:
        n_rows: Number of rows per epoch.
        fetch: Function that returns the rows at ascending indices, int64 `(k,)`, each from 0 to
            n_rows - 1.
        batch_size: Number of rows per batch; the last batch of a buffer may be smaller.
        row_bytes: Size of a row's features in bytes, from which the rows of a buffer are computed.
    """

    def __init__(
        self,
        n_rows: int,
        fetch: Callable[[NDArray[np.int64]], TrainingRows],
        batch_size: int,
        *,
        row_bytes: int,
    ) -> None:
        self.n_rows, self.batch_size, self._fetch = n_rows, batch_size, fetch
        # At least four batches, however large their rows are, so that a buffer mixes the rows.
        min_blocks = -(-4 * batch_size // BLOCK_ROWS)
        blocks = max(1, BUFFER_BYTES // (row_bytes * BLOCK_ROWS), min_blocks)
        self._buffer_rows = blocks * BLOCK_ROWS

    def __len__(self) -> int:
        n_full, rest = divmod(self.n_rows, self._buffer_rows)
        per_buffer = _count_batches(self._buffer_rows, self.batch_size)
        return n_full * per_buffer + _count_batches(rest, self.batch_size)

    def sample(self) -> TrainingRows:
        """Return as many rows as a buffer holds, evenly spaced over all rows."""
        count = min(self.n_rows, self._buffer_rows)
        return self._fetch(np.linspace(0, self.n_rows - 1, count).astype(np.int64))

    def iterate_epoch(self, rng: np.random.Generator, *, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch; see `BatchSource.iterate_epoch`."""
        order = np.arange(-(-self.n_rows // BLOCK_ROWS))
        # The last block may be short. It stays last, so that each epoch has as many batches.
        rng.shuffle(order[:-1])
        step = self._buffer_rows // BLOCK_ROWS
        for start in range(0, len(order), step):
            blocks = np.sort(order[start : start + step])
            indices = (blocks[:, None] * BLOCK_ROWS + np.arange(BLOCK_ROWS)).ravel()
            indices = indices[indices < self.n_rows]
            seed = rng.integers(2**63)
            n_batches = _count_batches(len(indices), self.batch_size)
            if skip >= n_batches:
                skip -= n_batches
                continue
            buffer = ShuffledBatches(self._fetch(indices), self.batch_size)
            yield from buffer.iterate_epoch(np.random.default_rng(seed), skip=skip)
            skip = 0


def _count_batches(n_rows: int, batch_size: int) -> int:
    """Return the number of batches that `ShuffledBatches` makes of so many rows.

    A last batch of one row is joined to the one before it.
    """
    count = -(-n_rows // batch_size)
    return count - (count > 1 and n_rows - (count - 1) * batch_size == 1)
