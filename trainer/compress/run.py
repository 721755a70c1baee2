"""A compression from beginning to end: reopen, try, confirm, write.

Of each kind the smallest variant that holds the budget on validation rows is put to the test rows,
once; if these say that it surely loses more than was allowed, it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.bundle import Bundle, CompressionSummary, MetricDrop
from trainer.compress.compression_config import CompressionConfig, CompressionConfigError
from trainer.compress.int8_overflow import has_int8_overflow
from trainer.compress.load_trained import DENSE, load_trained
from trainer.compress.variant_search import SPARSE, Tell, Trial, VariantSearch
from trainer.export.bundle import export_variants
from trainer.export.bundle_files import require_writable
from trainer.export.exported_graph import ExportedGraph
from trainer.export.self_test import create_synthetic_records
from trainer.model import Model
from trainer.training.loop import Callback


@dataclass(frozen=True)
class CompressionResult:
    """What came of it.

    Attributes:
        bundle: the new version; None where no variant was worth one.
        compression: what was tried.
        references: of each variant that was kept, the model in NumPy that its graph is held to.
        positive: The class that figures of a binary model speak of; else None.
    """

    bundle: Bundle | None
    compression: CompressionSummary
    references: Mapping[str, Model]
    positive: int | str | None = None


def compress(
    dense: Bundle,
    goal: CompressionConfig,
    *,
    data: str | None = None,
    callbacks: Sequence[Callback] = (),
    tell: Tell,
    stage: bool = False,
) -> CompressionResult:
    """Make a model smaller and faster, and write a version that holds what kept within the budget.

    Args:
        dense: the model as it was trained.
        goal: what may be given up, and what is to be tried for it.
        data: where its data are now; None where they were.
        callbacks: they watch each training.
        tell: told of each variant that is tried.
        stage: Whether to write a staged version, which no server takes up.

    Raises:
        BundleError, DataError: as `reopen` does.
        GoalError: the goal is none for this model.
        OSError: the repository cannot be written to; said before the work.
        ParityError: a graph does not answer as its reference does.
        TrainingDivergedError: a loss became infinite or NaN.
    """
    require_writable(dense.path.parent)
    _require_processor(goal)
    reopened = load_trained(dense, data)
    budget = VariantSearch(reopened, goal, callbacks=callbacks, tell=tell)
    found, times = budget.search(), budget.race()
    drawing, golden, resampling = np.random.default_rng(goal.seed).spawn(3)
    table, parts = reopened.table, reopened.parts
    synthetic = create_synthetic_records(reopened.model, drawing)

    def graph_of(trial: Trial) -> ExportedGraph:
        return ExportedGraph.build(trial.model, table, parts, synthetic, trial.bits)

    kept = {budget.dense: graph_of(budget.dense)}
    tested: dict[Trial, MetricDrop] = {}
    for trial in (trials[0] for name, trials in found.items() if name != DENSE):
        if any(_beats(other, trial) for other in kept):
            continue
        graph = graph_of(trial)
        tested[trial] = _drop(kept[budget.dense], graph, budget.metric, resampling)
        if tested[trial].interval[0] <= goal.max_drop:
            kept[trial] = graph
    compression = CompressionSummary(
        metric=budget.metric,
        max_drop=goal.max_drop,
        tried=[
            trial.described(times[trial], tested=tested.get(trial), kept=trial in kept)
            for trial in budget.trials
        ],
    )
    references = {t.name: t.model for t in kept}
    positive = dense.manifest.positive_class
    if len(kept) == 1:
        return CompressionResult(None, compression, references, positive)
    bundle = export_variants(
        dense,
        references,
        {t.name: graph for t, graph in kept.items()},
        compression,
        stage=stage,
        rng=golden,
    )
    return CompressionResult(bundle, compression, references, positive)


def _require_processor(goal: CompressionConfig) -> None:
    if goal.int8 and goal.reduce_range is False and has_int8_overflow():
        raise CompressionConfigError(
            "expected --reduce-range on this processor, where sums of products of weights of "
            "8 bits overflow and no such variant can be proved; got --no-reduce-range; leave it out"
        )


def _beats(other: Trial, trial: Trial) -> bool:
    """Whether one that comes before, and is more exact, needs no more bytes and no more weights.

    Not by time, which is noise: the same seed is to write the same files.
    """
    smaller = len(trial.content) < len(other.content) or trial.parameters < other.parameters
    return trial.name != SPARSE and not smaller


def _drop(
    dense: ExportedGraph, graph: ExportedGraph, metric: str, rng: np.random.Generator
) -> MetricDrop:
    """What a variant loses on the test rows."""
    before, after = (g.test_evaluation.compute_metrics()[metric] for g in (dense, graph))
    interval = dense.test_evaluation.compute_drop_interval(graph.test_evaluation, metric, rng)
    return MetricDrop(drop=round(before - after, 9), interval=interval)
