"""The evaluation of a bundle's answers to the rows of a file that has the target.

The rows pass in batches. The metrics need many rows at once, so up to `MAX_EVALUATED_ROWS` of them
are kept, or fewer if there are very many classes. If a file is longer, a random sample is kept.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from serving.bundle import Arrays, Manifest
from trainer.data.files.cell_parsing import find_first_refused, parse_numbers
from trainer.data.files.file_sources import RowNames, number_rows
from trainer.data.tables import DataError, join_names
from trainer.evaluate.class_reader import ClassReader
from trainer.evaluate.metrics import compute_metrics, find_never_predicted
from trainer.evaluate.model_evaluation import MAX_EVALUATED_ROWS

MAX_KEPT_PROBABILITIES = 20_000_000  # 80 MB of float32
SAMPLING_SEED = 0  # fixed, so that the same file gives the same metrics

NumberParser = Callable[[pa.Array], NDArray[np.float64] | None]


@dataclass(frozen=True)
class FileEvaluation:
    """Metrics of the answers to a file.

    Attributes:
        rows: Number of rows of the file.
        evaluated_rows: Number of rows that the metrics were computed on.
        metrics: Metrics by name; see `metrics.compute_metrics`.
        shares: Share of each class among the evaluated rows, in the order of the classes; None for
            regression.
        never_answered: Classes that rows have but that were predicted for none.
    """

    rows: int
    evaluated_rows: int
    metrics: dict[str, float]
    shares: list[float] | None
    never_answered: list[Any]


class FileEvaluator:
    """Collects the batches of a file with their answers and computes the metrics at the end.

    Args:
        manifest: Manifest of the bundle that gave the answers.
        max_rows: Maximum number of rows that are kept.
    """

    def __init__(self, manifest: Manifest, *, max_rows: int = MAX_EVALUATED_ROWS) -> None:
        self._manifest = manifest
        classes = manifest.classes
        self._class_reader = (
            None if classes is None else ClassReader(classes, manifest.data.target[0])
        )
        self._max_rows = max(1, min(max_rows, MAX_KEPT_PROBABILITIES // len(classes or [0])))
        self._rng = np.random.default_rng(SAMPLING_SEED)
        # Sampling keys, targets and answers of the kept rows, each a tuple of arrays `(rows, …)`.
        self._kept: list[tuple[NDArray[Any], ...]] = []
        self._n_kept = self._n_rows = 0

    def add(
        self,
        batch: pa.RecordBatch,
        answers: Arrays,
        *,
        decimal: str | None = None,
        row_names: RowNames = number_rows,
    ) -> None:
        """Add the next rows of the file.

        Args:
            batch: The rows as they were read, with the target.
            answers: Outputs of the graph for these rows.
            decimal: Decimal sign of numbers in texts; None for a point.
            row_names: Function that returns the names of rows for messages.

        Raises:
            DataError: If the target is missing, has a gap, or has a value that is not a class of
                the model, or not a number.
        """
        truth = self._read_target(batch, decimal, row_names)
        if self._class_reader is None:
            columns: tuple[NDArray[Any], ...] = (truth, answers["value"])
        else:
            labels = np.searchsorted(np.array(self._manifest.classes), answers["label"])
            columns = (truth, labels.astype(np.int32), answers["probabilities"])
        self._kept.append((self._rng.random(batch.num_rows), *columns))
        self._n_rows += batch.num_rows
        self._n_kept += batch.num_rows
        if self._n_kept > 2 * self._max_rows:
            self._sample()

    def compute_result(self) -> FileEvaluation:
        """Return the metrics of all rows that were added.

        Raises:
            DataError: If no row was added.
        """
        if not self._n_rows:
            raise DataError(
                "expected rows to evaluate the answers by; got none; give a file with rows, or "
                "leave out --evaluate"
            )
        self._sample()
        _, truth, *answers = self._kept[0]
        task, classes = self._manifest.task, self._manifest.classes
        if classes is None:
            metrics = compute_metrics(task, truth, {"value": answers[0]}, None)
            return FileEvaluation(self._n_rows, len(truth), metrics, None, [])
        labels, probabilities = answers
        class_indices = np.arange(len(classes))
        positive = self._manifest.positive_class
        metrics = compute_metrics(
            task,
            truth,
            {"label": labels, "probabilities": probabilities},
            class_indices,
            1 if positive is None else [*classes].index(positive),
        )
        shares = np.bincount(truth, minlength=len(classes)) / len(truth)
        never_answered = find_never_predicted(truth, labels, class_indices)
        return FileEvaluation(
            self._n_rows,
            len(truth),
            metrics,
            shares.tolist(),
            [classes[index] for index in never_answered],
        )

    def _sample(self) -> None:
        """Join the kept rows, and if they are too many, keep those with the smallest keys."""
        arrays = tuple(np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        keys = arrays[0]
        if len(keys) > self._max_rows:
            rows = np.sort(np.argpartition(keys, self._max_rows - 1)[: self._max_rows])
            arrays = tuple(array[rows] for array in arrays)
        self._kept, self._n_kept = [arrays], len(arrays[0])

    def _read_target(
        self, batch: pa.RecordBatch, decimal: str | None, row_names: RowNames
    ) -> NDArray[Any]:
        """Return class indices `(n,)` or float64 values `(n, n_targets)`."""
        targets = self._manifest.data.target
        # The manifest has the names in Unicode's form NFC; the file may have another.
        names_by_nfc = {unicodedata.normalize("NFC", name): name for name in batch.schema.names}
        names = [names_by_nfc.get(unicodedata.normalize("NFC", name)) for name in targets]
        if missing_targets := [t for t, name in zip(targets, names, strict=True) if name is None]:
            raise DataError(
                f"expected the target {join_names(missing_targets)} among the columns, to "
                f"evaluate the answers by; got {join_names(batch.schema.names)}; add it, or leave "
                f"out --evaluate"
            )
        columns = [batch[name] for name in names]
        if self._class_reader is not None:
            return self._class_reader.read(columns[0], self._n_rows, row_names)
        parse = partial(parse_numbers, decimal=decimal)
        return np.stack(
            [
                self._read_numbers(column, target, parse, row_names)
                for column, target in zip(columns, targets, strict=True)
            ],
            axis=1,
        )

    def _read_numbers(
        self, column: pa.Array, target: str, parse: NumberParser, row_names: RowNames
    ) -> NDArray[np.float64]:
        values = parse(column)
        if values is None:
            index, text = find_first_refused(column, parse)
            (row,) = row_names(self._n_rows + index)
            raise DataError(
                f"expected numbers in the target {target!r}; got {text!r} in {row}; "
                f"correct it, or leave out --evaluate"
            )
        if not np.isfinite(values).all():
            (row,) = row_names(self._n_rows + int(np.isfinite(values).argmin()))
            raise DataError(
                f"expected a finite number in every row of the target {target!r}; got none in "
                f"{row}; fill it, or drop that row"
            )
        return values
