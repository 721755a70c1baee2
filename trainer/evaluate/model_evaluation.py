"""The evaluation of a model on rows whose target is known: answers, metrics and intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.splits import subsample
from trainer.data.tables import DataError, Table, Task
from trainer.evaluate.bootstrap import (
    DEFAULT_RESAMPLES,
    MIN_RESAMPLES,
    compute_drops,
    compute_interval,
    compute_intervals,
)
from trainer.evaluate.metrics import compute_metrics, find_never_predicted
from trainer.model import SLICE, Answers, Model

# With this many rows, the 95 % interval of an accuracy is at most ±0.22 % wide.
MAX_EVALUATED_ROWS = 200_000


@dataclass(frozen=True)
class Evaluation:
    """The targets of rows, and a model's answers to them.

    Attributes:
        task: Kind of the target.
        truth: Target of each row: classes `(n,)`, or float64 values `(n, n_targets)`.
        answers: Answers, named like the outputs of the graph.
        classes: Sorted classes `(n_classes,)`; None for regression.
        groups: Group of each row, int64 `(n,)`; None if the rows have no groups.
        positive: Index of the positive class of a binary task.
    """

    task: Task
    truth: NDArray[Any]
    answers: Answers
    classes: NDArray[Any] | None
    groups: NDArray[np.int64] | None = None
    positive: int = 1

    @classmethod
    def from_model(cls, model: Model, table: Table, rows: NDArray[np.int64]) -> Evaluation:
        """Return the evaluation of a model on rows of a table.

        Args:
            model: The model.
            table: The table.
            rows: Indices of the rows, `(n,)`. Of more than `MAX_EVALUATED_ROWS`, this many are
                used.

        Raises:
            DataError: If an answer overflows float32.
        """
        rows = subsample(rows, MAX_EVALUATED_ROWS)
        slices = [
            model.answers(table.records.take(rows[start : start + SLICE]))
            for start in range(0, max(len(rows), 1), SLICE)
        ]
        answers = {name: np.concatenate([part[name] for part in slices]) for name in slices[0]}
        numbers = answers["value" if "value" in answers else "probabilities"]
        is_finite = np.isfinite(numbers).all(axis=1)
        if not is_finite.all():
            raise DataError(
                f"{table.source}: expected numbers that float32 can be computed with; got row "
                f"{int(rows[is_finite.argmin()]) + 1}, whose answer overflows; correct or drop "
                f"it, or scale otherwise"
            )
        groups = None if table.groups is None else table.groups[rows]
        truth = table.target[rows]
        return cls(model.task, truth, answers, model.classes, groups, model.positive_index)

    def compute_metrics(self) -> dict[str, float]:
        """Return the metrics by name; see `metrics.compute_metrics`."""
        return compute_metrics(self.task, self.truth, self.answers, self.classes, self.positive)

    def list_never_predicted(self) -> list[Any]:
        """Return the classes that rows have but the model predicts for none.

        Empty for regression.
        """
        if self.classes is None:
            return []
        return find_never_predicted(self.truth, self.answers["label"], self.classes)

    def compute_intervals(self, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
        """Return the 95 % interval of each metric, (low, high); see `bootstrap`."""
        return compute_intervals(
            self.task,
            self.truth,
            self.answers,
            self.classes,
            rng=rng,
            groups=self.groups,
            positive=self.positive,
        )

    def compute_drop_interval(
        self, other: Evaluation, metric: str, rng: np.random.Generator
    ) -> tuple[float, float]:
        """Return the 95 % interval, (low, high), of how much a metric drops.

        Args:
            other: Evaluation of another model on the same rows; the drop is this one's metric
                minus the other's.
            metric: Name of the metric.
            rng: Random generator of the resamples.
        """
        return compute_interval(self._compute_drops(other, metric, rng, DEFAULT_RESAMPLES))

    def compute_drop_standard_error(
        self, other: Evaluation, metric: str, rng: np.random.Generator
    ) -> float:
        """Return the standard error of how much a metric drops; see `compute_drop_interval`."""
        return float(self._compute_drops(other, metric, rng, MIN_RESAMPLES).std())

    def _compute_drops(
        self, other: Evaluation, metric: str, rng: np.random.Generator, resamples: int
    ) -> NDArray[np.float64]:
        return compute_drops(
            self.task,
            self.truth,
            (self.answers, other.answers),
            self.classes,
            metric,
            rng=rng,
            resamples=resamples,
            groups=self.groups,
            positive=self.positive,
        )
