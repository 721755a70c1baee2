"""The recipe: the road from data to a proved bundle."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Bundle, Manifest, TrainingSummary
from trainer.config import Config
from trainer.data.memory_budget import compute_memory_budget
from trainer.data.read_options import ReadOptions
from trainer.data.sources import default_name, load_table
from trainer.data.splits import Split, split_table, subsample
from trainer.data.tables import DataError, Table
from trainer.evaluate.calibration import fit_calibration
from trainer.evaluate.cautions import list_cautions
from trainer.evaluate.metric_names import MACRO_AVERAGES
from trainer.evaluate.threshold import ThresholdObjective, choose_threshold
from trainer.export.bundle import export_bundle
from trainer.export.bundle_files import require_writable
from trainer.model import Model
from trainer.training.batches import TrainingRows
from trainer.training.callbacks import EarlyStopping
from trainer.training.checkpoint import Checkpoint
from trainer.training.loop import Callback, Epoch, TrainingRun
from trainer.training.streamed_rows import StreamedRows

MAX_SCALING_ROWS = (
    100_000  # validation rows that say which temperature and threshold as well as any more
)
# Logits that a calibration is fitted on: of 1,000 classes and 100,000 rows, each step of it would
# take 4 GB and ten seconds.
MAX_CALIBRATION_LOGITS = 4_000_000


@dataclass(frozen=True)
class TrainingTask:
    """A model that has learned nothing yet, and what it is to learn from.

    Attributes:
        table: the data.
        parts: which rows serve for what.
        model: with fresh weights.
        learned: rows to learn from; a source of them where they are too many for memory.
        validation: rows to stop early by.
        order: decides the order of the rows.
    """

    table: Table
    parts: Split
    model: Model
    learned: TrainingRows | StreamedRows
    validation: TrainingRows
    order: np.random.Generator

    def examined(self) -> TrainingRows:
        """Rows to examine before training: all there are, or as many as memory holds."""
        return self.learned if isinstance(self.learned, TrainingRows) else self.learned.sample()

    def run(self, config: Config, callbacks: Sequence[Callback]) -> TrainingRun:
        """The training, ready to go.

        Raises:
            DataError: the loss asks for other targets.
        """
        try:
            return TrainingRun(
                self.model.network,
                self.model.loss,
                config.update(),
                self.learned,
                epochs=config.epochs,
                batch_size=config.batch_size,
                rng=self.order,
                validation=self.validation,
                callbacks=callbacks,
            )
        except ValueError as error:
            raise DataError(f"{self.table.source}: {error}") from error


OnDataLoaded = Callable[[Table, Split], object]  # what it returns is for its caller


@dataclass(frozen=True)
class TrainingResult:
    """What learning led to.

    Attributes:
        table: the data.
        parts: which rows served for what.
        model: the reference of all that follows.
        history: one entry per epoch.
        summary: of the run, for the manifest.
        aim_unmet: Reason why no threshold meets the aim; None if one does or there is no aim.
    """

    table: Table
    parts: Split
    model: Model
    history: list[Epoch]
    summary: TrainingSummary
    aim_unmet: str | None = None


def spawn_generators(seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Where learning draws from, and where exporting does; neither shifts the other."""
    learning, exporting = np.random.default_rng(seed).spawn(2)
    return learning, exporting


def load_and_split(config: Config, reading: ReadOptions | None = None) -> tuple[Table, Split]:
    """Load and split the data.

    Args:
        config: Every choice.
        reading: Options for reading a file [default: those of `config`].

    Raises:
        DataError: the data cannot be trained on.
    """
    table = load_table(config.data, config.reading() if reading is None else reading)
    return table, split_table(
        table, validation=config.validation, test=config.test, seed=config.seed
    )


def prepare_training(
    table: Table, parts: Split, config: Config, rng: np.random.Generator
) -> TrainingTask:
    """Draw the weights of a model for those parts of a table.

    Raises:
        DataError: the data cannot be trained on.
    """
    loss = config.loss_for(table.task)
    if config.target_scaling == "log" and not (table.target > 0).all():
        raise DataError(
            f"{table.source}: expected targets above 0 to take logarithms of; got "
            f"{table.target.min():g}; leave out target_scaling, or add a constant to them"
        )
    # Independent streams, so that a change in one place does not shift the draws in another.
    weights, order = rng.spawn(2)
    model = Model.build(
        table,
        parts.train,
        layers=config.layers,
        loss=loss,
        rng=weights,
        encoding=config.feature_encoding(),
        has_log_target=config.target_scaling == "log",
    )
    if model.classes is not None and table.task == "binary":
        model = replace(model, positive_index=config.positive_among(model.classes.tolist()))
    fetch = _fetcher(config, table, parts, model)
    most = compute_memory_budget() // (4 * model.encoder.width)  # rows that may be kept in memory
    learned: TrainingRows | StreamedRows
    if len(parts.train) <= most:
        learned = fetch(parts.train)
    else:
        train = np.sort(parts.train)  # files are read forwards
        learned = StreamedRows(
            len(train),
            lambda places: fetch(train[places]),
            config.batch_size,
            row_bytes=4 * model.encoder.width,
        )
    return TrainingTask(
        table, parts, model, learned, fetch(subsample(parts.validation, most)), order
    )


def _fetcher(
    config: Config, table: Table, parts: Split, model: Model
) -> Callable[[NDArray[np.int64]], TrainingRows]:
    """What makes rows for the network, and for the loss their weights, of row numbers."""
    weights = _class_weights(config, table, parts, model)
    if weights is None:
        return lambda numbers: model.encode_rows(table, numbers)
    classes, single = np.asarray(model.classes), weights.astype(np.float32)

    def fetch(numbers: NDArray[np.int64]) -> TrainingRows:
        places = np.searchsorted(classes, table.target[numbers])
        return replace(model.encode_rows(table, numbers), weights=single[places])

    return fetch


def _class_weights(
    config: Config, table: Table, parts: Split, model: Model
) -> NDArray[np.float64] | None:
    """How much a training row of each class counts, `(classes,)`; None where all count alike."""
    if config.class_weight is None:
        return None
    from sklearn.utils.class_weight import compute_class_weight  # noqa: PLC0415 - slow to import

    classes, known = np.asarray(model.classes), table.target[parts.train]
    weights = compute_class_weight(config.class_weight, classes=classes, y=known)
    return np.asarray(weights, np.float64)


def fit_output_scaling(model: Model, table: Table, parts: Split, config: Config) -> ScaledModel:
    """Choose, on validation rows, what training does not: the calibration, then the threshold.

    Of very many rows, `SETTLED` of them say it as well; of very many classes a calibration takes
    fewer. Weights of the classes are undone by the
    calibration; the threshold is then the positive class's share of the training rows, where the
    weighted network is undecided, unless an aim says otherwise.
    """
    rows = subsample(parts.validation, MAX_SCALING_ROWS)
    if config.calibrate:
        classes = np.asarray(model.classes)
        taken = subsample(rows, max(1, MAX_CALIBRATION_LOGITS // len(classes)))
        places = np.searchsorted(classes, table.target[taken])
        logits = model.logits(table.records.take(taken))
        weights = _class_weights(config, table, parts, model)
        found = fit_calibration(logits, places, model.task, class_weights=weights)
        bias = found.bias.astype(np.float32)
        model = replace(
            model,
            temperature=found.temperature,
            logit_bias=bias if bias.any() else None,
        )
        if weights is not None and model.task == "binary":
            share = float(np.mean(table.target[parts.train] == model.positive_class))
            model = replace(model, threshold=float(np.float32(share)))
    if config.aim:
        positive = table.target[rows] == model.positive_class
        p = model.answers(table.records.take(rows))["probabilities"][:, model.positive_index]
        try:
            model = replace(
                model, threshold=choose_threshold(ThresholdObjective.parse(config.aim), positive, p)
            )
        except ValueError as error:
            return ScaledModel(model, str(error))
    return ScaledModel(model)


class ScaledModel(NamedTuple):
    """A model with what was chosen after training.

    Attributes:
        model: Model with its temperature, bias and threshold.
        aim_unmet: Why no threshold meets the aim, so that there is none but the default; None if
            one does, or there is no aim.
    """

    model: Model
    aim_unmet: str | None = None


def train(
    config: Config,
    rng: np.random.Generator,
    *,
    callbacks: Sequence[Callback] = (),
    checkpoint: Path | None = None,
    announce: OnDataLoaded | None = None,
) -> TrainingResult:
    """Load, split and train.

    Args:
        config: every choice.
        rng: where weights and the order of rows are drawn from.
        callbacks: they watch the training, say with a progress bar.
        checkpoint: where the state of the training is kept; it goes on from what is there.
        announce: told what is to be learned before it is.

    Raises:
        CheckpointError: what is there is damaged, or of another run.
        DataError: the data cannot be trained on.
        TrainingDivergedError: the loss became infinite or NaN.
    """
    started = time.perf_counter()
    table, parts = load_and_split(config)
    if announce is not None:
        announce(table, parts)
    trained = train_on_split(table, parts, config, rng, callbacks=callbacks, checkpoint=checkpoint)
    seconds = round(time.perf_counter() - started, 3)
    return replace(trained, summary=trained.summary.model_copy(update={"seconds": seconds}))


def train_on_split(
    table: Table,
    parts: Split,
    config: Config,
    rng: np.random.Generator,
    *,
    callbacks: Sequence[Callback] = (),
    checkpoint: Path | None = None,
) -> TrainingResult:
    """Train on those parts of a table, whose test rows are not looked at; else as `learn`."""
    started = time.perf_counter()
    task = prepare_training(table, parts, config, rng)
    stopping = EarlyStopping(config.patience)
    kept = _keeping(checkpoint, config, task.table)
    history = task.run(config, [stopping, *callbacks, *kept]).run()
    summary = TrainingSummary(
        config=config.model_dump(mode="json", exclude={"models", "runs"}),
        epochs_run=len(history),
        best_epoch=stopping.best_epoch,
        seconds=round(time.perf_counter() - started, 3),
    )
    model, aim_unmet = fit_output_scaling(task.model, task.table, task.parts, config)
    return TrainingResult(task.table, task.parts, model, history, summary, aim_unmet)


# Choices that leave no trace in what is learned: a checkpoint goes on whatever they are.
OPTIONS_WITHOUT_EFFECT_ON_WEIGHTS = frozenset(
    {"models", "runs", "name", "skip_baselines", "aim", "positive", "calibrate"}
)


def _keeping(path: Path | None, config: Config, table: Table) -> list[Callback]:
    if path is None:
        return []
    identity = _identity(f"{table.fingerprint()} {config.model_dump_json()}")
    return [Checkpoint(path, identity=identity, normalize=_identity)]


def _identity(saved: str) -> str:
    """The identity of a run as it is compared: a fingerprint, and the choices that leave a trace.

    Checkpoints of earlier versions do not know every choice, and were made with its default.
    """
    fingerprint, _, text = saved.partition(" ")
    try:
        known = dict(json.loads(text))
    except (TypeError, ValueError):
        return saved
    chosen = Config(data="any").model_dump(mode="json") | known
    kept = {
        name: value
        for name, value in chosen.items()
        if name not in OPTIONS_WITHOUT_EFFECT_ON_WEIGHTS
    }
    return f"{fingerprint} {json.dumps(kept, sort_keys=True)}"


def fit(
    config: Config,
    *,
    callbacks: Sequence[Callback] = (),
    checkpoint: Path | None = None,
    announce: OnDataLoaded | None = None,
    stage: bool = False,
) -> tuple[Bundle, TrainingResult]:
    """Learn, then export: a bundle, or an error and no bundle. A finished run's checkpoint is gone.

    It is kept where the aim could not be met: a run with another aim goes on from there.

    With `stage` the bundle is a staged version, which no server takes up; the other arguments are
    those of `learn`.

    Raises:
        OSError: the repository cannot be written to; said before training.
        ParityError: the graph does not answer as NumPy does.
        CheckpointError, DataError, TrainingDivergedError: as `learn` does.
    """
    name = config.name or default_name(config.data)
    require_writable(config.models / name)
    learning, exporting = spawn_generators(config.seed)
    trained = train(config, learning, callbacks=callbacks, checkpoint=checkpoint, announce=announce)
    baselines = {}
    if not config.skip_baselines:
        # scikit-learn is slow to import.
        from trainer.evaluate.baselines import fit_baselines  # noqa: PLC0415

        positive = trained.model.positive_index
        baselines = fit_baselines(trained.table, trained.parts, seed=config.seed, positive=positive)
    bundle = export_bundle(
        trained.model,
        trained.table,
        trained.parts,
        trained.summary,
        baselines=baselines,
        aim=config.aim,
        aim_unmet=trained.aim_unmet,
        unseen=config.unseen,
        refuse_gaps=config.gaps == "refuse",
        models=config.models,
        name=name,
        stage=stage,
        rng=exporting,
    )
    if checkpoint is not None and trained.aim_unmet is None:
        checkpoint.unlink(missing_ok=True)
    return bundle, trained


def summarize_bundle(bundle: Bundle) -> dict[str, Any]:
    """A fresh bundle as `trainer fit --json` prints it."""
    manifest: Manifest = bundle.manifest
    return {
        "bundle": str(bundle.path),
        "name": manifest.name,
        "version": manifest.version,
        "task": manifest.task,
        "classes": manifest.classes,
        "class_shares": manifest.class_shares,
        "parameters": manifest.parameters,
        "training": manifest.training.model_dump(exclude={"config"}),
        "metrics": manifest.metrics,
        "macro_averages": [] if manifest.classes is None else MACRO_AVERAGES,
        "intervals": manifest.intervals,
        "positive": manifest.positive_class,
        "threshold": manifest.threshold,
        "aim": manifest.aim,
        "aim_unmet": manifest.aim_unmet,
        "temperature": manifest.temperature,
        "logit_bias": manifest.logit_bias,
        "baselines": {name: b.model_dump() for name, b in manifest.baselines.items()},
        "parity": manifest.variants["fp32"].parity.model_dump(),
        "variants": {name: v.model_dump() for name, v in manifest.variants.items()},
        "warnings": [asdict(caution) for caution in list_cautions(manifest)],
    }
