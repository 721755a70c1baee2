"""The estimator: a configuration as scikit-learn's searchers take it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from trainer.config import Config
from trainer.data.splits import Split, hold_out
from trainer.data.tables import DataError, Table
from trainer.evaluate import Evaluation
from trainer.model import Model
from trainer.pipeline import spawn_generators, train_on_split
from trainer.search.candidates import chosen, format_choice
from trainer.search.grid import SEARCHED
from trainer.search.journal import Entry, Fit, Journal, digest_of_choices, digest_of_rows
from trainer.search.scoring import sign
from trainer.training.loop import TrainingDivergedError

NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class SearchContext:
    """What all candidates of a search share.

    Attributes:
        table: the data, loaded once.
        fingerprint: of the table.
        config: every choice, where a candidate has none of its own.
        metric: what is best by.
        journal: of the fits that are finished.
    """

    table: Table
    fingerprint: str
    config: Config
    metric: str
    journal: Journal


class ConfiguredModel(BaseEstimator):  # type: ignore[misc]
    """A configuration that is fitted on some rows of a table and scored on others.

    `X` is row numbers, int64 `(n, 1)`, and `y` is not asked for: the table knows the target. Some
    of the rows it is fitted on are held out to stop early by, as many as the configuration says.

    Args:
        bench: what it shares with others.
        **parameters: keys of `Config` that it has of its own.

    Attributes:
        config: every choice.
        model_: what was learned; None if the journal already knows what came of it, or training
            diverged.
    """

    model_: Model | None
    _failure: str | None

    def __init__(self, bench: SearchContext, **parameters: Any) -> None:
        self.bench = bench
        self.parameters: dict[str, Any] = {}
        self.config = bench.config
        self.set_params(**parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Every choice that can be searched."""
        return {name: getattr(self.config, name) for name in SEARCHED}

    def set_params(self, **parameters: Any) -> Self:
        """Choose otherwise.

        Raises:
            RefusedError: `Config` does not take them.
        """
        self.parameters = {**self.parameters, **parameters}
        self.config = chosen(self.bench.config, self.parameters)
        return self

    def __sklearn_clone__(self) -> ConfiguredModel:
        """Another of the same parameters that has learned nothing; the bench is not copied."""
        return ConfiguredModel(self.bench, **self.parameters)

    def fit(self, X: NDArray[np.int64], y: Any = None) -> Self:
        """Learn from those rows, unless the journal knows what came of it.

        Raises:
            DataError: naming the candidate.
        """
        rows = X[:, 0]
        self._fit = Fit(
            self.bench.fingerprint, digest_of_choices(self.config), digest_of_rows(rows)
        )
        self._rows, self.model_, self._pending = rows, None, True
        if not self.bench.journal.knows(self._fit):
            self._learn()
        return self

    def score(self, X: NDArray[np.int64], y: Any = None) -> float:
        """The metric on those rows, the higher the better: of losses and errors the negative.

        Returns:
            NaN where training diverged.

        Raises:
            DataError: the metric is not defined on these rows.
        """
        rows = X[:, 0]
        metric = self.bench.metric
        entry = self.bench.journal.find(self._fit, digest_of_rows(rows))
        if entry is None or not (entry.failure or metric in entry.scores):
            entry = self._measure(rows)  # a line of an earlier version has fewer metrics
        if entry.failure is not None:
            return math.nan
        if metric not in entry.scores:
            raise DataError(
                f"{self.bench.table.source}: expected rows of every class in each fold, or more "
                f"rows, for {metric}; got {len(rows)} rows it is not defined on; ask for fewer "
                f"folds, or choose another metric"
            )
        return sign(metric) * entry.scores[metric]

    def _learn(self) -> None:
        config, table = self.config, self.bench.table
        started = time.perf_counter()
        self._pending, self._failure = False, None
        learning, _ = spawn_generators(config.seed)
        try:
            known, held = hold_out(table, self._rows, share=config.validation, seed=config.seed)
            parts = Split(train=known, validation=held, test=NO_ROWS)
            self.model_ = train_on_split(table, parts, config, learning).model
        except TrainingDivergedError as error:
            self._failure = str(error)
        except DataError as error:
            raise DataError(f"candidate {format_choice(self.parameters)}: {error}") from error
        self._seconds = time.perf_counter() - started

    def _measure(self, rows: NDArray[np.int64]) -> Entry:
        if self._pending:  # other rows were scored by this fit, but not these
            self._learn()
        started = time.perf_counter()
        scores: dict[str, float] = {}
        if self.model_ is not None:
            try:
                scores = Evaluation.from_model(
                    self.model_, self.bench.table, rows
                ).compute_metrics()
            except DataError as error:  # an answer overflows: this candidate is none, others may be
                self._failure = str(error)
        entry = Entry(
            **self._fit._asdict(),
            scored=digest_of_rows(rows),
            parameters=self.parameters,
            scores={name: value for name, value in scores.items() if math.isfinite(value)},
            seconds=round(self._seconds + time.perf_counter() - started, 3),
            failure=self._failure,
        )
        self.bench.journal.add(entry)
        return entry
