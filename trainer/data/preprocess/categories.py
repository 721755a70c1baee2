"""Categories: texts to places, rare and unseen ones to a bucket of their own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trainer.data.records import Column


@dataclass(frozen=True)
class Categories:
    """One column's texts. Place 0 is the bucket of all that are not told apart.

    Attributes:
        name: the column.
        words: told apart, at places 1, 2 …
        gap: the place of a gap: one of its own after the words if training rows had gaps, else 0.
        trained_bucket: whether training rows fell into place 0; if none did, it counts for nothing.
        embedded: whether a place becomes a learned vector, or one of its own that is not learned.
    """

    name: str
    words: tuple[str, ...]
    gap: int
    trained_bucket: bool
    embedded: bool

    @classmethod
    def fit(
        cls, column: Column, codes: NDArray[np.int32], *, rare: int, one_hot: int
    ) -> Categories:
        """Which texts to tell apart.

        Args:
            column: whose words the codes stand for.
            codes: of the training rows, `(n,)`.
            rare: texts in fewer rows than this, and than one in a hundred, are merged into the
                bucket; one of them stays where all are rare.
            one_hot: with more places than this, they become learned vectors.
        """
        counts = np.bincount(codes[codes >= 0], minlength=len(column.words))
        frequent = counts >= min(rare, max(2, len(codes) // 100))
        if not frequent.any():
            frequent[counts.argmax()] = True
        merged = bool((counts[~frequent] > 0).any())
        words = tuple(sorted(column.words[place] for place in np.flatnonzero(frequent)))
        gap = len(words) + 1 if (codes < 0).any() else 0
        size = 1 + len(words) + (gap > 0)
        return cls(column.name, words, gap, merged, size > one_hot)

    @property
    def size(self) -> int:
        """Number of places."""
        return 1 + len(self.words) + (self.gap > 0)

    @cached_property
    def table(self) -> NDArray[np.float32]:
        """What each place becomes where it is not embedded: one-hot, float32 `(size, width)`."""
        if self.trained_bucket:
            return np.eye(self.size, dtype=np.float32)
        return np.eye(self.size, self.size - 1, k=-1, dtype=np.float32)  # place 0 is all zeros

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of each word."""
        return {word: place for place, word in enumerate(self.words, start=1)}

    @property
    def width(self) -> int:
        """Numbers that a text becomes."""
        return 1 if self.embedded else self.table.shape[1]

    def place(self, column: Column, codes: NDArray[np.int32]) -> NDArray[np.int64]:
        """The place of each code, `(n,)` of either; the column's words may be others than ours."""
        at = [self.places.get(word, 0) for word in column.words]
        return np.array([*at, self.gap], np.int64)[codes]  # a gap's code is −1, the last

    def transform(self, column: Column, codes: NDArray[np.int32]) -> NDArray[np.float32]:
        """Codes `(n,)` to `(n, width)`: one-hot, or the place for an embedding."""
        places = self.place(column, codes)
        return places[:, None].astype(np.float32) if self.embedded else self.table[places]
