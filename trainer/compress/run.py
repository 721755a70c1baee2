"""The run of a compression: load the model, try variants, select some, write the new version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.bundle import Bundle, CompressionSummary
from trainer.compress.acceptance import select_variants
from trainer.compress.compression_config import CompressionConfig, CompressionConfigError
from trainer.compress.int8_overflow import has_int8_overflow
from trainer.compress.load_trained import load_trained
from trainer.compress.trial import OnTrial, Trial
from trainer.compress.variant_search import VariantSearch
from trainer.export.bundle import export_variants
from trainer.export.bundle_files import require_writable
from trainer.export.exported_graph import ExportedGraph
from trainer.export.self_test import create_synthetic_records
from trainer.model import Model
from trainer.training.loop import Callback


@dataclass(frozen=True)
class CompressionResult:
    """The result of a compression.

    Attributes:
        bundle: The new version; None if no variant was selected, so that none was written.
        compression: All trials and the limit of the drop, as the manifest lists them.
        references: NumPy reference of each variant of the new version, by its name.
        positive: Positive class of a binary model, which the metrics of one class refer to;
            None for other models.
    """

    bundle: Bundle | None
    compression: CompressionSummary
    references: Mapping[str, Model]
    positive: int | str | None = None


def compress(
    bundle: Bundle,
    config: CompressionConfig,
    *,
    data: str | None = None,
    callbacks: Sequence[Callback] = (),
    on_trial: OnTrial,
    stage: bool = False,
) -> CompressionResult:
    """Make a model smaller and faster, and write a version with the variants that were selected.

    Args:
        bundle: Bundle of the model as it was trained.
        config: The options of the compression.
        data: Path or name of the training data; None if it is the same as in the training.
        callbacks: Callbacks of each training.
        on_trial: Function that is called with each trial as soon as it is evaluated.
        stage: Whether to write a staged version, which no server loads. Default False.

    Raises:
        BundleError: If the data are not those of the training, or the bundle has no graph that this
            version of the trainer builds of the model.
        CompressionConfigError: If the options do not fit the model or this processor.
        DataError: If the data cannot be read.
        OSError: If the repository cannot be written to, which is checked first.
        ParityError: If a graph gives other answers than its NumPy reference.
        TrainingDivergedError: If a loss becomes infinite or NaN.
    """
    require_writable(bundle.path.parent)
    _require_correct_int8(config)
    trained = load_trained(bundle, data)
    search = VariantSearch(trained, config, callbacks=callbacks, on_trial=on_trial)
    accepted, latencies_us = search.search(), search.measure_latencies()
    synthetic_rng, selftest_rng, bootstrap_rng = np.random.default_rng(config.seed).spawn(3)
    synthetic = create_synthetic_records(trained.model, synthetic_rng)

    def export(trial: Trial) -> ExportedGraph:
        return ExportedGraph.build(trial.model, trained.table, trained.split, synthetic, trial.bits)

    selected = select_variants(
        search.original,
        accepted,
        metric=search.metric,
        max_drop=config.max_drop,
        export=export,
        rng=bootstrap_rng,
    )
    compression = CompressionSummary(
        metric=search.metric,
        max_drop=config.max_drop,
        tried=[
            trial.to_candidate(
                latencies_us[trial],
                test_drop=selected.test_drops.get(trial),
                is_kept=trial in selected.graphs,
            )
            for trial in search.trials
        ],
    )
    references = {trial.name: trial.model for trial in selected.graphs}
    positive = bundle.manifest.positive_class
    if len(references) == 1:  # The original model only: there is nothing to write.
        return CompressionResult(None, compression, references, positive)
    new_bundle = export_variants(
        bundle,
        references,
        {trial.name: graph for trial, graph in selected.graphs.items()},
        compression,
        stage=stage,
        rng=selftest_rng,
    )
    return CompressionResult(new_bundle, compression, references, positive)


def _require_correct_int8(config: CompressionConfig) -> None:
    """Refuse weights of 8 bits if this processor computes them wrongly.

    Raises:
        CompressionConfigError: If the options demand 8 bits and sums of 8-bit products overflow.
    """
    if config.int8 and config.reduce_range is False and has_int8_overflow():
        raise CompressionConfigError(
            "expected --reduce-range on this processor, on which sums of products with weights of "
            "8 bits overflow, so that such a variant would fail its self-test; got "
            "--no-reduce-range; leave it out"
        )
