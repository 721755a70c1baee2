"""The section on confused classes: the confusion matrix and the metrics of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from trainer.report.blocks import Block, Cell, Paragraph, Section, TableBlock
from trainer.report.formatting import format_count, format_decimal, join_words, shorten_all
from trainer.report.inputs import EvaluatedRows

MAX_MATRIX_CLASSES = 20  # more classes are shown as a list of the most frequent confusions
MAX_PAIRS = 20
MAX_NAMES = 10  # classes named in one sentence


def build_confusion_section(test_rows: EvaluatedRows) -> Section:
    """Return the confusion matrix, or its largest entries, and the metrics of each class."""
    classes = test_rows.class_labels
    matrix = metrics.confusion_matrix(test_rows.truth, test_rows.answers["label"], labels=classes)
    names = shorten_all([str(c) for c in classes.tolist()], 24)
    n_wrong = int(matrix.sum() - np.trace(matrix))
    blocks: list[Block]
    if len(names) <= MAX_MATRIX_CLASSES:
        blocks = [_tabulate_matrix(matrix, names, n_wrong)]
    elif n_wrong:
        blocks = [_tabulate_pairs(matrix, names, n_wrong)]
    else:
        blocks = [
            Paragraph(
                f"All {format_count(int(matrix.sum()), 'test row')} are classified correctly.",
                "good",
            )
        ]
    blocks += [*_describe_missing_classes(matrix, names), _tabulate_classes(test_rows, names)]
    return Section("confusion", blocks)


def _describe_missing_classes(matrix: NDArray[np.int64], names: list[str]) -> list[Paragraph]:
    """Return sentences on classes that are never predicted or that have no test rows."""
    true, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    paragraphs = []
    if never_predicted := [names[i] for i in np.flatnonzero((true > 0) & (predicted == 0))]:
        text = (
            f"Never predicted, although there are test rows of these classes: "
            f"{_enumerate(never_predicted)}. Their recall is 0."
        )
        paragraphs.append(Paragraph(text, "bad"))
    if without_rows := [names[i] for i in np.flatnonzero(true == 0)]:
        text = (
            f"Classes without test rows: {_enumerate(without_rows)}. No metric on this page covers "
            f"them."
        )
        paragraphs.append(Paragraph(text, "muted"))
    return paragraphs


def _enumerate(names: list[str]) -> str:
    """Return class names in quotes; at most `MAX_NAMES`, then the number of the others."""
    quoted = [f"“{name}”" for name in names[:MAX_NAMES]]
    n_more = len(names) - len(quoted)
    return join_words([*quoted, f"{n_more:,} more"] if n_more else quoted)


def _tabulate_matrix(matrix: NDArray[np.int64], names: list[str], n_wrong: int) -> TableBlock:
    """Return the matrix as a table, with cells coloured by their share of the row."""
    totals = np.maximum(matrix.sum(axis=1), 1)
    rows: list[list[str | Cell]] = []
    for i, name in enumerate(names):
        cells: list[str | Cell] = [
            Cell(f"{n:,}", float(n / totals[i]), "good" if i == j else "bad") if n else Cell("0")
            for j, n in enumerate(matrix[i].tolist())
        ]
        rows.append([name, *cells, f"{matrix[i].sum():,}"])
    return TableBlock(
        "Test rows by true class (one per line) and predicted class (one per column)",
        ["true ↓ predicted →", *names, "all rows"],
        rows,
        f"Correct predictions are on the diagonal, in bold. The darker a cell, the larger its "
        f"share of the line. {format_count(n_wrong)} of "
        f"{format_count(int(matrix.sum()), 'row')} are misclassified.",
        narrow=True,
    )


def _tabulate_pairs(matrix: NDArray[np.int64], names: list[str], n_wrong: int) -> TableBlock:
    """Return the largest entries off the diagonal as a table."""
    off_diagonal = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-off_diagonal, axis=None, kind="stable")[:MAX_PAIRS]
    rows = []
    for i, j in zip(*np.unravel_index(order, off_diagonal.shape), strict=True):
        if off_diagonal[i, j]:
            rows.append([names[i], names[j], f"{off_diagonal[i, j]:,}", f"{matrix[i].sum():,}"])
    return TableBlock(
        "The most frequent confusions: one pair of classes per line",
        ["true class", "predicted class", "rows confused", "rows of the true class"],
        rows,
        f"The {format_count(len(rows), 'most frequent confusion')}; {format_count(n_wrong)} of "
        f"{format_count(int(matrix.sum()), 'row')} are misclassified. A matrix of "
        f"{format_count(len(names))} classes would not be readable.",
        words=range(2),
    )


def _tabulate_classes(test_rows: EvaluatedRows, names: list[str]) -> TableBlock:
    """Return precision, recall and F1 of each class as a table."""
    columns = metrics.precision_recall_fscore_support(
        test_rows.truth,
        test_rows.answers["label"],
        labels=test_rows.class_labels,
        zero_division=np.nan,
    )
    rows = [
        [
            name,
            format_decimal(precision),
            format_decimal(recall),
            format_decimal(f1),
            f"{support:,}",
        ]
        for name, precision, recall, f1, support in zip(names, *columns, strict=True)
    ]
    return TableBlock(
        "Metrics of each class on the test rows: one class per line",
        ["class", "precision", "recall", "F1", "test rows"],
        rows,
        "Precision: share of the rows predicted as the class that belong to it. Recall: share of "
        "the rows of the class that are predicted as it. F1: their harmonic mean. –: there are no "
        "such rows.",
        folded=f"All {format_count(len(rows))} classes" if len(rows) > MAX_MATRIX_CLASSES else "",
    )
