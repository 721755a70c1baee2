"""Merged columns: categories whose texts are nearly all too rare to be told apart, or unseen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.data.preprocess import Categories, Encoding
from trainer.data.records import Records
from trainer.data.splits import Split

MERGED = 0.9  # share of training rows, from which on a column says next to nothing
FEWEST = 10  # rows with a text, below which a share may be chance
UNSEEN = 0.5  # the same of validation and test rows, whose texts no training row has


def find_merged(records: Records, parts: Split, encoding: Encoding) -> dict[str, str]:
    """Return the categories that reach the network as next to nothing, and how many rows of each.

    Args:
        records: All rows.
        parts: Rows for training, validation and testing.
        encoding: Encoding of the columns, with the limit of rare texts.
    """
    judged = np.concatenate([parts.validation, parts.test])
    found = {}
    for place, column in enumerate(records.of_kind("category")):
        codes = np.asarray(records.codes[:, place])
        known, asked = codes[parts.train], codes[judged]
        known, asked = known[known >= 0], asked[asked >= 0]
        if len(known) < FEWEST or len(np.unique(known)) < 2:
            continue  # a constant column is found elsewhere
        fitted = Categories.fit(column, known, rare=encoding.rare, one_hot=encoding.one_hot)
        merged = fitted.place(column, known) == 0
        unseen = ~np.isin(asked, np.unique(known))
        if merged.mean() >= MERGED:
            found[column.name] = f"{column.name} ({_counted(merged)} training rows)"
        elif len(asked) >= FEWEST and unseen.mean() > UNSEEN:
            found[column.name] = (
                f"{column.name} ({_counted(unseen)} validation and test rows, whose texts no "
                f"training row has)"
            )
    return found


def _counted(rows: NDArray[np.bool_]) -> str:
    return f"{np.count_nonzero(rows):,} of {len(rows):,}"
