"""The rules by which a variant is accepted or rejected.

1. On the validation rows, the drop of the metric plus its standard error must be within
   `max_drop`.
2. Of the variants of one name, the smallest file that meets rule 1 is a candidate. It is dropped
   if it has neither a smaller file nor fewer weights than each variant that is kept already.
3. On the test rows, which are used for nothing else, the candidate is rejected if the 95 % interval
   of the drop lies above `max_drop`. It is evaluated there once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.bundle import MetricDrop
from trainer.compress.trial import SPARSE, Trial
from trainer.export.exported_graph import ExportedGraph


@dataclass(frozen=True)
class SelectedVariants:
    """The variants of the new version.

    Attributes:
        graphs: Graph of each variant that is kept; the original one is the first.
        test_drops: Drop of the metric on the test rows of each variant that was evaluated there.
    """

    graphs: dict[Trial, ExportedGraph]
    test_drops: dict[Trial, MetricDrop]


def is_within_max_drop(trial: Trial, max_drop: float) -> bool:
    """Return whether the drop on the validation rows, plus its standard error, is accepted.

    Of many trials, some look good on the validation rows by chance. The standard error keeps chance
    from deciding, as for trees in Breiman et al. 1984, Classification and Regression Trees, section
    3.4.3.
    """
    return trial.drop + trial.standard_error <= max_drop


def group_accepted_trials(trials: Sequence[Trial], max_drop: float) -> dict[str, list[Trial]]:
    """Return the accepted trials of each variant, the smallest file first.

    Args:
        trials: All trials in the order in which they were tried.
        max_drop: Largest accepted drop of the metric.

    Returns:
        Lists of trials by the name of the variant, in the order in which the names were first
        tried. Variants without an accepted trial are left out.
    """
    by_name: dict[str, list[Trial]] = {trial.name: [] for trial in trials}
    for trial in sorted(trials, key=lambda trial: len(trial.content)):
        if is_within_max_drop(trial, max_drop):
            by_name[trial.name].append(trial)
    return {name: accepted for name, accepted in by_name.items() if accepted}


def select_variants(
    original: Trial,
    accepted: Mapping[str, Sequence[Trial]],
    *,
    metric: str,
    max_drop: float,
    export: Callable[[Trial], ExportedGraph],
    rng: np.random.Generator,
) -> SelectedVariants:
    """Return the variants that are smaller than others and confirmed by the test rows.

    Args:
        original: The model as it was trained, which is always kept.
        accepted: The accepted trials of each variant by its name, the smallest file first, as
            returned by `group_accepted_trials`.
        metric: Name of the metric whose drop is limited.
        max_drop: Largest accepted drop of the metric.
        export: Function that returns the graph of a trial, evaluated on the test rows.
        rng: Generator of the bootstrap samples of the intervals.
    """
    selected = SelectedVariants({original: export(original)}, {})
    for name, trials in accepted.items():
        if name == original.name:
            continue
        trial = trials[0]
        is_smaller = all(_saves_space(trial, kept) for kept in selected.graphs)
        if not is_smaller and name != SPARSE:  # Sparse weights only save compressed bytes.
            continue
        graph = export(trial)
        test_drop = measure_test_drop(selected.graphs[original], graph, metric, rng)
        selected.test_drops[trial] = test_drop
        if test_drop.interval[0] <= max_drop:
            selected.graphs[trial] = graph
    return selected


def _saves_space(trial: Trial, kept: Trial) -> bool:
    """Return whether a trial has a smaller file or fewer weights than a variant that is kept.

    The latency does not count: it is noisy, and the same seed has to write the same files.
    """
    is_smaller_file = len(trial.content) < len(kept.content)
    return is_smaller_file or trial.n_parameters < kept.n_parameters


def measure_test_drop(
    original: ExportedGraph, graph: ExportedGraph, metric: str, rng: np.random.Generator
) -> MetricDrop:
    """Return the drop of the metric on the test rows, with its 95 % interval."""
    before, after = (
        exported.test_evaluation.compute_metrics()[metric] for exported in (original, graph)
    )
    interval = original.test_evaluation.compute_drop_interval(graph.test_evaluation, metric, rng)
    return MetricDrop(drop=round(before - after, 9), interval=interval)
