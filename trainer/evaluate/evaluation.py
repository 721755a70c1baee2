"""Judgement: what a model answers to rows whose truth is known, and how good that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.splits import subsample
from trainer.data.tables import DataError, Table, Task
from trainer.evaluate.bootstrap import (
    FEWEST,
    RESAMPLES,
    compute_drops,
    compute_interval,
    compute_intervals,
)
from trainer.evaluate.metrics import compute_metrics, find_never_predicted
from trainer.model import SLICE, Answers, Model

# More rows tell no more: of so many, the accuracy is known to 0.2 %, whatever it is.
MAX_EVALUATED_ROWS = 200_000


@dataclass(frozen=True)
class Evaluation:
    """Answers beside the truth.

    Attributes:
        task: what was asked.
        truth: the target of each row.
        answers: named as the graph's outputs.
        classes: for classification, sorted; else None.
        groups: whose row each is; None where each is by itself.
        positive: place of the positive class among two classes.
    """

    task: Task
    truth: NDArray[Any]
    answers: Answers
    classes: NDArray[Any] | None
    groups: NDArray[np.int64] | None = None
    positive: int = 1

    @classmethod
    def of(cls, model: Model, table: Table, rows: NDArray[np.int64]) -> Evaluation:
        """The model's answers to those rows of the table, of very many to some.

        Raises:
            DataError: an answer overflows float32.
        """
        rows = subsample(rows, MAX_EVALUATED_ROWS)
        parts = [
            model.answers(table.records.take(rows[start : start + SLICE]))
            for start in range(0, max(len(rows), 1), SLICE)
        ]
        answers = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        finite = np.isfinite(answers["value" if "value" in answers else "probabilities"]).all(
            axis=1
        )
        if not finite.all():
            raise DataError(
                f"{table.source}: expected numbers that float32 can be computed with; got row "
                f"{int(rows[finite.argmin()]) + 1}, whose answer overflows; correct or drop it, or "
                f"scale otherwise"
            )
        groups = None if table.groups is None else table.groups[rows]
        truth = table.target[rows]
        return cls(model.task, truth, answers, model.classes, groups, model.positive_index)

    def metrics(self) -> dict[str, float]:
        """As of `measure`."""
        return compute_metrics(self.task, self.truth, self.answers, self.classes, self.positive)

    def never_answered(self) -> list[Any]:
        """Return the classes that rows are of and that no row is answered as; none of values."""
        if self.classes is None:
            return []
        return find_never_predicted(self.truth, self.answers["label"], self.classes)

    def intervals(self, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
        """Where each metric would lie in 95 % of other draws of as many rows."""
        return compute_intervals(
            self.task,
            self.truth,
            self.answers,
            self.classes,
            rng=rng,
            groups=self.groups,
            positive=self.positive,
        )

    def interval_of_drop(
        self, other: Evaluation, metric: str, rng: np.random.Generator
    ) -> tuple[float, float]:
        """Where the metric's fall from these answers to others of the same rows would lie."""
        return compute_interval(self._drops(other, metric, rng, RESAMPLES))

    def error_of_drop(self, other: Evaluation, metric: str, rng: np.random.Generator) -> float:
        """The standard error of the metric's fall from these answers to others of the same rows."""
        return float(self._drops(other, metric, rng, FEWEST).std())

    def _drops(
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
