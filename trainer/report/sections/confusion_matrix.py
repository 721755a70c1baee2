"""Confusion: which classes are taken for which."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from trainer.report.blocks import Block, Cell, Paragraph, Section, TableBlock
from trainer.report.formatting import format_count, format_decimal, join_words, shorten_all
from trainer.report.inputs import EvaluatedRows

MOST_CLASSES = 20  # that a matrix is drawn of
MOST_PAIRS = 20
MOST_NAMED = 10  # classes in one sentence


def build_confusion_section(judged: EvaluatedRows) -> Section:
    """The matrix, or of many classes its worst entries; and each class by itself."""
    classes = judged.class_labels
    matrix = metrics.confusion_matrix(judged.truth, judged.answers["label"], labels=classes)
    names = shorten_all([str(c) for c in classes.tolist()], 24)
    wrong = int(matrix.sum() - np.trace(matrix))
    if len(names) <= MOST_CLASSES:
        blocks: list[Block] = [_matrix(matrix, names, wrong)]
    elif wrong:
        blocks = [_pairs(matrix, names, wrong)]
    else:
        said = f"None of {format_count(int(matrix.sum()), 'test row')} is taken for another class."
        blocks = [Paragraph(said, "good")]
    return Section("confusion", [*blocks, *_lacks(matrix, names), _classes(judged, classes, names)])


def _lacks(matrix: NDArray[np.int64], names: list[str]) -> list[Paragraph]:
    """What is said of classes that no row is answered as, and of those that no row is of."""
    true, answered = matrix.sum(axis=1), matrix.sum(axis=0)
    blocks = []
    if lost := [names[i] for i in np.flatnonzero((true > 0) & (answered == 0))]:
        blocks.append(
            Paragraph(
                f"Never answered, though some test rows are so: {_some(lost)}. Their recall is 0.",
                "bad",
            )
        )
    if absent := [names[i] for i in np.flatnonzero(true == 0)]:
        blocks.append(
            Paragraph(f"Without test rows: {_some(absent)}. Nothing here speaks of them.", "quiet")
        )
    return blocks


def _some(names: list[str]) -> str:
    quoted = [f"“{name}”" for name in names[:MOST_NAMED]]
    more = len(names) - len(quoted)
    return join_words([*quoted, f"{more:,} more"] if more else quoted)


def _matrix(matrix: NDArray[np.int64], names: list[str], wrong: int) -> TableBlock:
    """Rows are tinted by their share of the row's truth."""
    totals = np.maximum(matrix.sum(axis=1), 1)
    rows: list[list[str | Cell]] = []
    for i, name in enumerate(names):
        cells: list[str | Cell] = [
            Cell(f"{n:,}", float(n / totals[i]), "good" if i == j else "bad") if n else Cell("0")
            for j, n in enumerate(matrix[i].tolist())
        ]
        rows.append([name, *cells, f"{matrix[i].sum():,}"])
    return TableBlock(
        ["truth ↓ answer →", *names, "rows"],
        rows,
        f"Test rows by truth and answer, tinted by their share of the line; "
        f"{format_count(wrong)} of {format_count(int(matrix.sum()), 'row')} lie off the diagonal.",
        narrow=True,
    )


def _pairs(matrix: NDArray[np.int64], names: list[str], wrong: int) -> TableBlock:
    off = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-off, axis=None, kind="stable")[:MOST_PAIRS]
    rows = []
    for i, j in zip(*np.unravel_index(order, off.shape), strict=True):
        if off[i, j]:
            rows.append([names[i], names[j], f"{off[i, j]:,}", f"{matrix[i].sum():,}"])
    return TableBlock(
        ["truth", "answer", "rows", "of the class"],
        rows,
        f"The {format_count(len(rows), 'commonest mistake')}; {format_count(wrong)} of "
        f"{format_count(int(matrix.sum()), 'row')} are wrong in all. With {format_count(len(names))} classes a "
        f"matrix would not be readable.",
        words=range(2),
    )


def _classes(judged: EvaluatedRows, classes: NDArray[np.generic], names: list[str]) -> TableBlock:
    found = metrics.precision_recall_fscore_support(
        judged.truth, judged.answers["label"], labels=classes, zero_division=np.nan
    )
    rows = [
        [name, format_decimal(precision), format_decimal(recall), format_decimal(f1), f"{support:,}"]
        for name, precision, recall, f1, support in zip(names, *found, strict=True)
    ]
    return TableBlock(
        ["class", "precision", "recall", "F1", "test rows"],
        rows,
        "Precision: of the rows answered so, the share that is. Recall: of the rows that are, the "
        "share answered so. –: there are no such rows.",
        folded=f"All {format_count(len(rows))} classes" if len(rows) > MOST_CLASSES else "",
    )
