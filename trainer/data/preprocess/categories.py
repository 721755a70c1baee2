"""Preprocessing of a column of categories: texts to indices, one-hot or for an embedding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trainer.data.records import Column


@dataclass(frozen=True)
class Categories:
    """The texts of one column that the network distinguishes, each by its index.

    Index 0 is the bucket of all other texts: rare ones, and those that training rows do not have.

    Attributes:
        name: Name of the column.
        words: Distinguished texts, in sorted order; their indices are 1, 2, …
        gap_index: Index of a gap: one after the words if training rows have gaps, else 0.
        is_bucket_trained: Whether training rows are in the bucket. If none is, its one-hot code is
            all zeros.
        is_embedded: Whether an index becomes a learned vector; otherwise it is one-hot.
    """

    name: str
    words: tuple[str, ...]
    gap_index: int
    is_bucket_trained: bool
    is_embedded: bool

    @classmethod
    def fit(
        cls, column: Column, codes: NDArray[np.int32], *, rare: int, one_hot: int
    ) -> Categories:
        """Choose the texts to distinguish.

        Args:
            column: Column with the texts that the codes stand for.
            codes: Codes of the training rows, int32 `(n,)`.
            rare: Number of rows. Texts in fewer rows than this, and in less than 1 % of the rows,
                are merged into the bucket; if all are, the most frequent one is kept.
            one_hot: Largest number of indices that are one-hot; with more, they are embedded.
        """
        counts = np.bincount(codes[codes >= 0], minlength=len(column.words))
        is_frequent = counts >= min(rare, max(2, len(codes) // 100))
        if not is_frequent.any():
            is_frequent[counts.argmax()] = True
        is_bucket_trained = bool((counts[~is_frequent] > 0).any())
        words = tuple(sorted(column.words[code] for code in np.flatnonzero(is_frequent)))
        gap_index = len(words) + 1 if (codes < 0).any() else 0
        size = 1 + len(words) + (gap_index > 0)
        return cls(column.name, words, gap_index, is_bucket_trained, size > one_hot)

    @property
    def size(self) -> int:
        """Number of indices."""
        return 1 + len(self.words) + (self.gap_index > 0)

    @cached_property
    def table(self) -> NDArray[np.float32]:
        """One-hot code of each index, float32 `(size, width)`."""
        if self.is_bucket_trained:
            return np.eye(self.size, dtype=np.float32)
        # The bucket is all zeros: a weight of its own would never have been trained.
        return np.eye(self.size, self.size - 1, k=-1, dtype=np.float32)

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Index of each distinguished text."""
        return {word: index for index, word in enumerate(self.words, start=1)}

    @property
    def width(self) -> int:
        """Number of network inputs that a text becomes."""
        return 1 if self.is_embedded else self.table.shape[1]

    def to_indices(self, column: Column, codes: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the index of each code, int64 `(n,)`.

        Args:
            column: Column with the texts that the codes stand for; they may be others than the
                fitted ones.
            codes: Codes of the rows, int32 `(n,)`.
        """
        indices = [self.index_of.get(word, 0) for word in column.words]
        # The code of a gap is −1, and so stands for the last.
        return np.array([*indices, self.gap_index], np.int64)[codes]

    def transform(self, column: Column, codes: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return network inputs, float32 `(n, width)`: one-hot codes, or indices to be embedded.

        Args:
            column: Column with the texts that the codes stand for.
            codes: Codes of the rows, int32 `(n,)`.
        """
        indices = self.to_indices(column, codes)
        if self.is_embedded:
            return indices[:, None].astype(np.float32)
        return self.table[indices]
