"""Confusion: which classes are taken for which."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from trainer.report.blocks import Block, Cell, Section, Table
from trainer.report.evidence import Judged
from trainer.report.wording import count, decimal, short

MOST_CLASSES = 20  # that a matrix is drawn of
MOST_PAIRS = 20


def confusion(judged: Judged) -> Section:
    """The matrix, or of many classes its worst entries; and each class by itself."""
    classes = judged.known
    matrix = metrics.confusion_matrix(judged.truth, judged.answers["label"], labels=classes)
    names = [short(str(c), 24) for c in classes.tolist()]
    wrong = int(matrix.sum() - np.trace(matrix))
    blocks: list[Block] = [
        _matrix(matrix, names, wrong) if len(names) <= MOST_CLASSES else _pairs(matrix, names),
        _classes(judged, classes, names),
    ]
    return Section("confusion", blocks)


def _matrix(matrix: NDArray[np.int64], names: list[str], wrong: int) -> Table:
    """Rows are tinted by their share of the row's truth."""
    totals = np.maximum(matrix.sum(axis=1), 1)
    rows: list[list[str | Cell]] = []
    for i, name in enumerate(names):
        cells: list[str | Cell] = [
            Cell(f"{n:,}", float(n / totals[i]), "good" if i == j else "bad") if n else Cell("0")
            for j, n in enumerate(matrix[i].tolist())
        ]
        rows.append([name, *cells, f"{matrix[i].sum():,}"])
    return Table(
        ["truth ↓ answer →", *names, "rows"],
        rows,
        f"Test rows by truth and answer, tinted by their share of the line; "
        f"{count(wrong)} of {count(int(matrix.sum()), 'row')} lie off the diagonal.",
        narrow=True,
    )


def _pairs(matrix: NDArray[np.int64], names: list[str]) -> Table:
    off = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-off, axis=None, kind="stable")[:MOST_PAIRS]
    rows = []
    for i, j in zip(*np.unravel_index(order, off.shape), strict=True):
        if off[i, j]:
            rows.append([names[i], names[j], f"{off[i, j]:,}", f"{matrix[i].sum():,}"])
    return Table(
        ["truth", "answer", "rows", "of the class"],
        rows,
        f"The commonest mistakes; with {len(names)} classes a matrix would not be readable.",
        words=range(2),
    )


def _classes(judged: Judged, classes: NDArray[np.generic], names: list[str]) -> Table:
    found = metrics.precision_recall_fscore_support(
        judged.truth, judged.answers["label"], labels=classes, zero_division=0
    )
    rows = [
        [name, decimal(precision), decimal(recall), decimal(f1), f"{support:,}"]
        for name, precision, recall, f1, support in zip(names, *found, strict=True)
    ]
    return Table(
        ["class", "precision", "recall", "F1", "test rows"],
        rows,
        "Precision: of the rows answered so, the share that is. Recall: of the rows that are, the "
        "share answered so.",
        folded=f"All {len(rows)} classes" if len(rows) > MOST_CLASSES else "",
    )
