"""A compression from beginning to end: reopen, try, confirm, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.bundle import Bundle, Compression, Confirmed
from trainer.compress.budget import Budget, Tell
from trainer.compress.goal import Goal
from trainer.compress.reopen import reopen
from trainer.export.golden import synthetic_records
from trainer.export.package import export_variants
from trainer.export.variant import Graph
from trainer.export.write import require_writable
from trainer.fit.loop import Callback
from trainer.model import Model


@dataclass(frozen=True)
class Compressed:
    """What came of it.

    Attributes:
        bundle: the new version; None where no variant was worth one.
        compression: what was tried.
        references: of each variant that was kept, the model in NumPy that its graph is held to.
    """

    bundle: Bundle | None
    compression: Compression
    references: Mapping[str, Model]


def compress(
    dense: Bundle,
    goal: Goal,
    *,
    data: str | None = None,
    callbacks: Sequence[Callback] = (),
    tell: Tell,
) -> Compressed:
    """Make a model smaller and faster, and write a version that holds what kept within the budget.

    Args:
        dense: the model as it was trained.
        goal: what may be given up, and what is to be tried for it.
        data: where its data are now; None where they were.
        callbacks: they watch each training.
        tell: told of each variant that is tried.

    Raises:
        BundleError, DataError, ValueError: as `reopen` does.
        OSError: the repository cannot be written to; said before the work.
        ParityError: a graph does not answer as its reference does.
        TrainingDivergedError: a loss became infinite or NaN.
    """
    require_writable(dense.path.parent)
    reopened = reopen(dense, data)
    budget = Budget(reopened, goal, callbacks=callbacks, tell=tell)
    kept = budget.search()
    table, parts = reopened.table, reopened.parts
    drawing, golden, resampling = np.random.default_rng(goal.seed).spawn(4)[1:]
    synthetic = synthetic_records(reopened.model, drawing)
    graphs = {t.name: Graph.of(t.model, table, parts, synthetic, t.bits) for t in kept}
    confirmed = _confirmed(graphs, budget.metric, resampling)
    kept = [t for t in kept if t is budget.dense or _within(confirmed[t.name], goal)]
    compression = Compression(
        metric=budget.metric,
        max_drop=goal.max_drop,
        tried=budget.frontier(kept),
        confirmed=confirmed,
    )
    references = {t.name: t.model for t in kept}
    if len(kept) == 1:
        return Compressed(None, compression, references)
    bundle = export_variants(
        dense,
        references,
        {t.name: graphs[t.name] for t in kept},
        table,
        parts,
        compression,
        rng=golden,
    )
    return Compressed(bundle, compression, references)


def _confirmed(
    graphs: dict[str, Graph], metric: str, rng: np.random.Generator
) -> dict[str, Confirmed]:
    """What each variant loses on the test rows."""
    (_, dense), *others = graphs.items()
    before = dense.tested.metrics()[metric]
    return {
        name: Confirmed(
            drop=before - graph.tested.metrics()[metric],
            interval=dense.tested.interval_of_drop(graph.tested, metric, rng),
        )
        for name, graph in others
    }


def _within(confirmed: Confirmed, goal: Goal) -> bool:
    """Whether the test rows allow that it holds the budget: the interval begins within it."""
    return confirmed.interval[0] <= goal.max_drop
