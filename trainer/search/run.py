"""The run of a search: scikit-learn's searchers on all rows but the test rows."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - the import enables it
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
)

from serving.bundle import suggest_name
from trainer.config import Config
from trainer.data.tables import Task
from trainer.pipeline import OnDataLoaded, load_and_split
from trainer.search.candidates import (
    Candidate,
    InvalidSearchError,
    apply_parameters,
    require_matching_task,
)
from trainer.search.estimator import CandidateEstimator, SearchContext
from trainer.search.folds import FoldIndices, Folds
from trainer.search.grid_file import Grid
from trainer.search.journal import FitKey, Journal, hash_config, hash_rows
from trainer.search.scoring import get_default_metric, get_sign, list_metrics
from trainer.training.loop import TrainingDivergedError

DEFAULT_HALVING_FACTOR = 3


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        metric: Name of the metric that the candidates were compared by.
        candidates: All candidates, the best one first. With the method halving, a candidate that
            stayed for more rounds is better.
        config: Every option of the best candidate.
        nested: The metric on each outer fold, of the best candidate of a search on the other folds;
            None if the search was not nested.
        positive: Positive class of a binary task, which roc_auc and pr_auc refer to; else None.
    """

    metric: str
    candidates: tuple[Candidate, ...]
    config: Config
    nested: tuple[float, ...] | None
    positive: int | str | None = None

    @property
    def winner(self) -> Candidate:
        """The best candidate."""
        return self.candidates[0]


def search(
    config: Config,
    grid: Grid,
    *,
    folds: int,
    journal: Journal,
    nested: bool = False,
    announce: OnDataLoaded | None = None,
) -> SearchResult:
    """Score every candidate by cross-validation on the training and validation rows.

    The test rows of `config` are not used, so that the best candidate can be tested on them.

    Args:
        config: Every option. A candidate replaces some of them.
        grid: The values that are tried.
        folds: Number of folds of the cross-validation and of the outer one of a nested search.
        journal: Journal of the finished fits, which are not run again.
        nested: Whether to score the search itself, on rows that it has not used. Default False.
        announce: Function that is called with the table and its split before the first training;
            None for none.

    Raises:
        DataError: If the data cannot be trained on, or a candidate has options of another task.
        InvalidSearchError: If an option does not accept a value, or the metric is of another task.
            Nothing was run.
        TrainingDivergedError: If the training of every candidate diverged in some fold.
    """
    candidate_parameters = grid.list_candidates(config.seed)
    for parameters in candidate_parameters:
        apply_parameters(config, parameters)
    table, split = load_and_split(config)
    if announce is not None:
        announce(table, split)
    classes = np.unique(table.target).tolist() if table.task == "binary" else None
    for parameters in candidate_parameters:
        require_matching_task(config, parameters, table.task, classes)
    metric = _choose_metric(grid, table.task)
    context = SearchContext(table, table.fingerprint(), config, metric, journal)
    # Sorted, so that the folds do not depend on which of the rows are validation rows.
    rows = np.sort(np.concatenate([split.train, split.validation]))[:, None]
    splitter = Folds(table, folds, config.seed)
    candidates = _score_candidates(context, grid, splitter, rows)
    nested_scores = _score_nested(context, grid, splitter, rows) if nested else None
    best_config = apply_parameters(config, candidates[0].parameters)
    positive = None if classes is None else classes[best_config.find_positive_index(classes)]
    return SearchResult(metric, candidates, best_config, nested_scores, positive)


def _choose_metric(grid: Grid, task: Task) -> str:
    """Return the metric of the grid, or else the main metric of the task.

    Raises:
        InvalidSearchError: If the metric is of another task.
    """
    metric = grid.plan.metric or get_default_metric(task)
    if metric not in list_metrics(task):
        raise InvalidSearchError(
            f"[search], metric: expected one of {', '.join(list_metrics(task))} for a "
            f"{task} task; got {metric!r}{suggest_name(metric, list_metrics(task))}"
        )
    return metric


def _score_candidates(
    context: SearchContext, grid: Grid, splitter: Folds, rows: NDArray[np.int64]
) -> tuple[Candidate, ...]:
    """Return all candidates with their scores and metrics, the best one first.

    Raises:
        TrainingDivergedError: If the training of every candidate diverged in some fold.
    """
    searcher = _create_searcher(context, grid, splitter, refit=False)
    with _ignore_missing_scores():
        searcher.fit(rows)
    candidates = _rank_candidates(searcher.cv_results_, splitter.count, get_sign(context.metric))
    if math.isnan(candidates[0].mean):
        raise TrainingDivergedError(
            "expected a candidate whose training ends in every fold; got none; lower the learning "
            "rates, or clip gradients"
        )
    fold_indices = list(splitter.split(rows))
    return tuple(
        replace(candidate, metrics=_average_metrics(context, candidate, rows, fold_indices))
        for candidate in candidates
    )


def _average_metrics(
    context: SearchContext,
    candidate: Candidate,
    rows: NDArray[np.int64],
    fold_indices: Sequence[FoldIndices],
) -> dict[str, float]:
    """Return the mean over the folds of each metric that is defined on all of them.

    The journal has all fits of the search by now.
    """
    parameters = candidate.parameters
    if candidate.epochs is not None:
        parameters = parameters | {"epochs": candidate.epochs}
    config_hash = hash_config(apply_parameters(context.config, parameters))
    fold_scores = [
        context.journal.get_scores(
            FitKey(context.fingerprint, config_hash, hash_rows(rows[training, 0])),
            hash_rows(rows[scored, 0]),
        )
        for training, scored in fold_indices
    ]
    names = [name for name in fold_scores[0] if all(name in scores for scores in fold_scores)]
    return {name: float(np.mean([scores[name] for scores in fold_scores])) for name in names}


def _create_searcher(context: SearchContext, grid: Grid, splitter: Folds, *, refit: bool) -> Any:
    """Return scikit-learn's searcher for the method of the grid."""
    estimator, seed, plan = CandidateEstimator(context), context.config.seed, grid.plan
    options: dict[str, Any] = {"cv": splitter, "refit": refit, "error_score": "raise"}
    values = dict(grid.values)
    if plan.method == "grid":
        return GridSearchCV(estimator, values, **options)
    if plan.method == "random":
        return RandomizedSearchCV(
            estimator, values, n_iter=grid.n_trials, random_state=seed, **options
        )
    return HalvingGridSearchCV(
        estimator,
        values,
        factor=plan.factor or DEFAULT_HALVING_FACTOR,
        resource="epochs",
        max_resources=_count_epochs(context),
        random_state=seed,
        **options,
    )


def _count_epochs(context: SearchContext) -> int | None:
    """Return the largest number of epochs that a candidate is trained for.

    It is that of the final training, for its number of training rows.
    """
    table, config = context.table, context.config
    n_rows = round(len(table.target) * (1 - config.test - config.validation))
    return config.resolve(table.task, n_rows).epochs


def _score_nested(
    context: SearchContext, grid: Grid, splitter: Folds, rows: NDArray[np.int64]
) -> tuple[float, ...]:
    """Return the metric on each outer fold, of the best candidate of a search on the others."""
    searcher = _create_searcher(context, grid, splitter, refit=True)
    with _ignore_missing_scores():
        scores = cross_val_score(searcher, rows, cv=splitter, error_score="raise")
    return tuple((get_sign(context.metric) * scores).tolist())


@contextmanager
def _ignore_missing_scores() -> Iterator[None]:
    """Suppress scikit-learn's warning about NaN scores, which the result shows anyway."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One or more of the test scores are non-finite")
        yield


def _rank_candidates(results: Mapping[str, Any], folds: int, sign: int) -> tuple[Candidate, ...]:
    """Return the candidates of a searcher, the best one first, each with its last scores.

    Args:
        results: The attribute `cv_results_` of the searcher.
        folds: Number of folds.
        sign: Factor that makes a higher value better.
    """
    is_halving = "iter" in results
    last_rounds: dict[str, tuple[int, Candidate]] = {}
    for index, all_parameters in enumerate(results["params"]):
        parameters = {
            name: value
            for name, value in all_parameters.items()
            if not is_halving or name != "epochs"
        }
        scores = [float(sign * results[f"split{fold}_test_score"][index]) for fold in range(folds)]
        last_rounds[json.dumps(parameters)] = (
            int(results["iter"][index]) if is_halving else 0,
            Candidate(
                parameters,
                tuple(scores),
                mean=float(sign * results["mean_test_score"][index]),
                deviation=float(results["std_test_score"][index]),
                epochs=int(results["n_resources"][index]) if is_halving else None,
            ),
        )

    def get_rank(entry: tuple[int, Candidate]) -> tuple[int, float]:
        last_round, candidate = entry
        is_diverged = math.isnan(candidate.mean)
        return -last_round, math.inf if is_diverged else -sign * candidate.mean

    return tuple(candidate for _, candidate in sorted(last_rounds.values(), key=get_rank))
