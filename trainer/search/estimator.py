"""The estimator of a candidate, which scikit-learn's searchers fit and score."""

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
from trainer.search.candidates import apply_parameters, format_parameters
from trainer.search.grid_file import SEARCHABLE_OPTIONS
from trainer.search.journal import FitKey, Journal, JournalEntry, hash_config, hash_rows
from trainer.search.scoring import get_sign
from trainer.training.loop import TrainingDivergedError

NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class SearchContext:
    """The values that all candidates of a search share.

    Attributes:
        table: The data, which are loaded once.
        fingerprint: Fingerprint of the table.
        config: Every option. A candidate replaces some of them.
        metric: Name of the metric that candidates are compared by.
        journal: Journal of the finished fits.
    """

    table: Table
    fingerprint: str
    config: Config
    metric: str
    journal: Journal


class CandidateEstimator(BaseEstimator):  # type: ignore[misc]
    """A model with the options of a candidate, as an estimator of scikit-learn.

    The rows that it gets are row numbers of the table, `X`, int64 `(n, 1)`; the targets come from
    the table. As in every training, some of the rows that it is fitted to are held out for early
    stopping.

    Args:
        context: The values that all candidates share.
        **parameters: Options of the candidate, which replace those of the context.

    Attributes:
        config: Every option of the candidate.
        model_: The trained model; None if the journal has the fit already, or the training
            diverged.
    """

    model_: Model | None
    _failure: str | None

    def __init__(self, context: SearchContext, **parameters: Any) -> None:
        self.context = context
        self.parameters: dict[str, Any] = {}
        self.config = context.config
        self.set_params(**parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return every option that can be searched."""
        return {name: getattr(self.config, name) for name in SEARCHABLE_OPTIONS}

    def set_params(self, **parameters: Any) -> Self:
        """Replace options of the candidate.

        Raises:
            InvalidSearchError: If an option does not accept its value.
        """
        self.parameters = {**self.parameters, **parameters}
        self.config = apply_parameters(self.context.config, self.parameters)
        return self

    def __sklearn_clone__(self) -> CandidateEstimator:
        """Return an unfitted estimator of the same parameters, with the same context."""
        return CandidateEstimator(self.context, **self.parameters)

    def fit(self, X: NDArray[np.int64], y: Any = None) -> Self:
        """Train the model, unless the journal has the fit already.

        Args:
            X: Row numbers, int64 `(n, 1)`.
            y: Unused.

        Raises:
            DataError: If the rows cannot be trained on. The message names the candidate.
        """
        rows = X[:, 0]
        self._fit_key = FitKey(self.context.fingerprint, hash_config(self.config), hash_rows(rows))
        self._rows, self.model_, self._is_pending = rows, None, True
        if not self.context.journal.has_fit(self._fit_key):
            self._train()
        return self

    def score(self, X: NDArray[np.int64], y: Any = None) -> float:
        """Return the metric on some rows, negative if a lower value is better.

        Args:
            X: Row numbers, int64 `(n, 1)`.
            y: Unused.

        Returns:
            The metric; NaN if the training diverged.

        Raises:
            DataError: If the metric is not defined on these rows.
        """
        rows = X[:, 0]
        metric = self.context.metric
        entry = self.context.journal.find(self._fit_key, hash_rows(rows))
        if entry is None or not (entry.failure or metric in entry.scores):
            # An entry of an earlier version of the trainer can lack the metric.
            entry = self._evaluate(rows)
        if entry.failure is not None:
            return math.nan
        if metric not in entry.scores:
            raise DataError(
                f"{self.context.table.source}: expected rows of every class in each fold, or more "
                f"rows, for {metric}; got {len(rows)} rows on which it is not defined; ask for "
                f"fewer folds, or choose another metric"
            )
        return get_sign(metric) * entry.scores[metric]

    def _train(self) -> None:
        config, table = self.config, self.context.table
        start = time.perf_counter()
        self._is_pending, self._failure = False, None
        training_rng, _ = spawn_generators(config.seed)
        try:
            training, held_out = hold_out(
                table, self._rows, share=config.validation, seed=config.seed
            )
            split = Split(train=training, validation=held_out, test=NO_ROWS)
            self.model_ = train_on_split(table, split, config, training_rng).model
        except TrainingDivergedError as error:
            self._failure = str(error)
        except DataError as error:
            raise DataError(f"candidate {format_parameters(self.parameters)}: {error}") from error
        self._training_seconds = time.perf_counter() - start

    def _evaluate(self, rows: NDArray[np.int64]) -> JournalEntry:
        """Compute every metric on some rows, add them to the journal, and return the entry."""
        if self._is_pending:  # The journal has scores of the fit, but on other rows.
            self._train()
        start = time.perf_counter()
        scores: dict[str, float] = {}
        if self.model_ is not None:
            try:
                scores = Evaluation.from_model(
                    self.model_, self.context.table, rows
                ).compute_metrics()
            except DataError as error:
                # An answer overflows. Only this candidate fails, not the search.
                self._failure = str(error)
        entry = JournalEntry(
            table=self._fit_key.table,
            choices=self._fit_key.config,
            learned=self._fit_key.training_rows,
            scored=hash_rows(rows),
            parameters=self.parameters,
            scores={name: value for name, value in scores.items() if math.isfinite(value)},
            seconds=round(self._training_seconds + time.perf_counter() - start, 3),
            failure=self._failure,
        )
        self.context.journal.add(entry)
        return entry
