"""The run of a search: scikit-learn's searchers over the rows that no model is judged on."""

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
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - it is what it does
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
)

from serving.bundle import suggest_name
from trainer.config import Config
from trainer.pipeline import OnDataLoaded, load_and_split
from trainer.search.candidates import Candidate, RefusedError, chosen, require_fitting
from trainer.search.estimator import ConfiguredModel, SearchContext
from trainer.search.folds import Folds, Pair
from trainer.search.grid import Grid
from trainer.search.journal import Fit, Journal, digest_of_choices, digest_of_rows
from trainer.search.scoring import default_metric, metrics_of, sign
from trainer.training.loop import TrainingDivergedError


@dataclass(frozen=True)
class SearchResult:
    """What a search led to.

    Attributes:
        metric: what was best by.
        candidates: the best first; of a halving, who lasted longer is better.
        config: the winner's, with every choice.
        nested: the metric on each outer fold, of the winner of a search on the other folds; None
            where it was not asked for.
        positive: Positive class of a binary task, which roc_auc and pr_auc are of; else None.
    """

    metric: str
    candidates: tuple[Candidate, ...]
    config: Config
    nested: tuple[float, ...] | None
    positive: int | str | None = None

    @property
    def winner(self) -> Candidate:
        """The best."""
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

    The test rows of `config` are not looked at: the winner can be judged on them.

    Args:
        config: every choice, where a candidate has none of its own.
        grid: the candidates.
        folds: of the cross-validation, and of the outer one of a nested search.
        journal: finished fits, which are not run again.
        nested: also score the search itself, on rows that it has not seen.
        announce: told what is to be learned before it is.

    Raises:
        DataError: the data cannot be trained on, or a candidate is of another task.
        RefusedError: a candidate cannot be, or the metric is of another task; nothing was run.
        TrainingDivergedError: of every candidate, in some fold.
    """
    tried = grid.candidates(config.seed)
    for parameters in tried:
        chosen(config, parameters)
    table, parts = load_and_split(config)
    if announce is not None:
        announce(table, parts)
    classes = np.unique(table.target).tolist() if table.task == "binary" else None
    for parameters in tried:
        require_fitting(config, parameters, table.task, classes)
    metric = grid.plan.metric or default_metric(table.task)
    if metric not in metrics_of(table.task):
        raise RefusedError(
            f"[search], metric: expected one of {', '.join(metrics_of(table.task))} for a "
            f"{table.task} task; got {metric!r}{suggest_name(metric, metrics_of(table.task))}"
        )
    bench = SearchContext(table, table.fingerprint(), config, metric, journal)
    # In order, so that a fold is the same whatever share of the rows validates.
    rows = np.sort(np.concatenate([parts.train, parts.validation]))[:, None]
    splitter = Folds(table, folds, config.seed)
    searcher = _searcher(bench, grid, splitter, refit=False)
    with _quiet():
        searcher.fit(rows)
    candidates = _candidates(searcher.cv_results_, folds, sign(metric))
    if math.isnan(candidates[0].mean):
        raise TrainingDivergedError(
            "expected a candidate whose training ends in every fold; got none; lower the learning "
            "rates, or clip gradients"
        )
    pairs = list(splitter.split(rows))
    candidates = tuple(
        replace(candidate, metrics=_means(bench, candidate, rows, pairs))
        for candidate in candidates
    )
    outer = _nested(bench, grid, splitter, rows) if nested else None
    winner = chosen(config, candidates[0].parameters)
    positive = None if classes is None else classes[winner.find_positive_index(classes)]
    return SearchResult(metric, candidates, winner, outer, positive)


def _means(
    bench: SearchContext, candidate: Candidate, rows: NDArray[np.int64], pairs: Sequence[Pair]
) -> dict[str, float]:
    """The mean of each metric over the folds, of which the journal knows all by now."""
    own = candidate.parameters
    if candidate.epochs is not None:
        own = own | {"epochs": candidate.epochs}
    choices = digest_of_choices(chosen(bench.config, own))
    found = [
        bench.journal.scores(
            Fit(bench.fingerprint, choices, digest_of_rows(rows[known, 0])),
            digest_of_rows(rows[scored, 0]),
        )
        for known, scored in pairs
    ]
    shared = [name for name in found[0] if all(name in scores for scores in found)]
    return {name: float(np.mean([scores[name] for scores in found])) for name in shared}


def _searcher(bench: SearchContext, grid: Grid, splitter: Folds, *, refit: bool) -> Any:
    estimator, seed, plan = ConfiguredModel(bench), bench.config.seed, grid.plan
    options: dict[str, Any] = {"cv": splitter, "refit": refit, "error_score": "raise"}
    values = dict(grid.values)
    if plan.method == "grid":
        return GridSearchCV(estimator, values, **options)
    if plan.method == "random":
        return RandomizedSearchCV(
            estimator, values, n_iter=grid.trials, random_state=seed, **options
        )
    return HalvingGridSearchCV(
        estimator,
        values,
        factor=plan.factor or 3,
        resource="epochs",
        max_resources=bench.config.epochs,
        random_state=seed,
        **options,
    )


def _nested(
    bench: SearchContext, grid: Grid, splitter: Folds, rows: NDArray[np.int64]
) -> tuple[float, ...]:
    searcher = _searcher(bench, grid, splitter, refit=True)
    with _quiet():
        scores = cross_val_score(searcher, rows, cv=splitter, error_score="raise")
    return tuple((sign(bench.metric) * scores).tolist())


@contextmanager
def _quiet() -> Iterator[None]:
    """A candidate that diverged has no score: it is said in the outcome."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One or more of the test scores are non-finite")
        yield


def _candidates(found: Mapping[str, Any], folds: int, sign: int) -> tuple[Candidate, ...]:
    """The candidates of scikit-learn's `cv_results_`, the best first, each as it ended."""
    halving = "iter" in found
    last: dict[str, tuple[int, Candidate]] = {}
    for place, parameters in enumerate(found["params"]):
        own = {name: value for name, value in parameters.items() if not halving or name != "epochs"}
        scores = [float(sign * found[f"split{fold}_test_score"][place]) for fold in range(folds)]
        last[json.dumps(own)] = (
            int(found["iter"][place]) if halving else 0,
            Candidate(
                own,
                tuple(scores),
                mean=float(sign * found["mean_test_score"][place]),
                deviation=float(found["std_test_score"][place]),
                epochs=int(found["n_resources"][place]) if halving else None,
            ),
        )

    def rank(entry: tuple[int, Candidate]) -> tuple[int, float]:
        lasted, candidate = entry
        diverged = math.isnan(candidate.mean)
        return -lasted, math.inf if diverged else -sign * candidate.mean

    return tuple(candidate for _, candidate in sorted(last.values(), key=rank))
