"""Train a model from a data set and export it as a bundle."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Bundle, TrainingSummary
from trainer.config import Config, normalize_run_identity
from trainer.data.memory_budget import compute_memory_budget
from trainer.data.read_options import ReadOptions
from trainer.data.sources import default_name, load_table
from trainer.data.splits import Split, split_table, subsample
from trainer.data.tables import DataError, Table
from trainer.export.bundle import export_bundle
from trainer.export.bundle_files import require_writable
from trainer.fit_options import DATA_INITIALIZER
from trainer.model import Model
from trainer.nn import initialize_from_rows
from trainer.output_scaling import compute_class_weights, fit_output_scaling
from trainer.training.batches import TrainingRows
from trainer.training.callbacks import EarlyStopping
from trainer.training.checkpoint import Checkpoint
from trainer.training.loop import Callback, Epoch, TrainingRun
from trainer.training.streamed_rows import StreamedRows

# Called with the data before training starts; what it returns is ignored.
OnDataLoaded = Callable[[Table, Split], object]

BYTES_PER_INPUT = 4  # of the network, float32
MAX_INITIALIZATION_ROWS = 1024  # training rows that the initial weights are computed from


@dataclass(frozen=True)
class TrainingTask:
    """An untrained model with the rows that it will be trained on.

    Attributes:
        table: All rows of the data.
        split: Split of the rows.
        config: Options of the run, with a value for each.
        model: Model with its initial weights.
        training_rows: Rows to train on, in memory or, if they are too many, read anew in each
            epoch.
        validation_rows: Rows for early stopping.
        shuffle_rng: Generator of the order of the rows.
    """

    table: Table
    split: Split
    config: Config
    model: Model
    training_rows: TrainingRows | StreamedRows
    validation_rows: TrainingRows
    shuffle_rng: np.random.Generator

    def sample_training_rows(self) -> TrainingRows:
        """Return all training rows, or as many as fit into memory."""
        rows = self.training_rows
        return rows if isinstance(rows, TrainingRows) else rows.sample()

    def create_early_stopping(self) -> EarlyStopping:
        """Return the callback that ends the run and keeps the best weights."""
        return EarlyStopping(self.config.patience, self.config.get_resolved("monitor"))

    def create_run(self, callbacks: Sequence[Callback]) -> TrainingRun:
        """Return the training run, which has not started yet.

        Args:
            callbacks: Callbacks of the run.

        Raises:
            DataError: If the targets do not fit the loss.
        """
        config = self.config
        try:
            return TrainingRun(
                self.model.network,
                self.model.loss,
                config.build_update_rule(),
                self.training_rows,
                epochs=config.get_resolved("epochs"),
                batch_size=config.batch_size,
                rng=self.shuffle_rng,
                validation=self.validation_rows,
                callbacks=callbacks,
                measure_error=config.monitor == "squared_error",
            )
        except ValueError as error:
            raise DataError(f"{self.table.source}: {error}") from error


@dataclass(frozen=True)
class TrainingResult:
    """A trained model with its data and the history of its training.

    Attributes:
        table: All rows of the data.
        split: Split of the rows.
        config: Options of the run, with a value for each.
        model: Trained model; the exported graph is compared with its predictions.
        history: One entry for each epoch.
        summary: Summary of the run for the bundle's manifest.
        aim_unmet: Reason why no threshold meets the aim; None if one does or there is no aim.
    """

    table: Table
    split: Split
    config: Config
    model: Model
    history: list[Epoch]
    summary: TrainingSummary
    aim_unmet: str | None = None


def fit(
    config: Config,
    *,
    callbacks: Sequence[Callback] = (),
    checkpoint: Path | None = None,
    announce: OnDataLoaded | None = None,
    stage: bool = False,
) -> tuple[Bundle, TrainingResult]:
    """Train a model and write its bundle; return the bundle and the result of the training.

    If anything fails, no bundle is written.

    Args:
        config: Options of the run.
        callbacks: Callbacks that follow the training, for example a progress bar.
        checkpoint: File for the state of the training, from which an interrupted run resumes. It is
            deleted after the run, unless no threshold meets the aim: a run with another aim then
            starts from the trained weights.
        announce: Function that is called with the data before training starts.
        stage: Whether the bundle is written as a staged version, which no server loads until it
            is promoted.

    Raises:
        OSError: If the repository cannot be written to; this is checked before training.
        ParityError: If the answers of the exported graph differ from those of the model.
        CheckpointError: If the checkpoint is damaged, or of another run.
        DataError: If the data cannot be trained on.
        TrainingDivergedError: If the loss became infinite or NaN.
    """
    name = config.name or default_name(config.data)
    require_writable(config.models / name)
    training_rng, export_rng = spawn_generators(config.seed)
    trained = train(
        config, training_rng, callbacks=callbacks, checkpoint=checkpoint, announce=announce
    )
    baselines = {}
    if not config.skip_baselines:
        # scikit-learn is slow to import.
        from trainer.evaluate.baselines import fit_baselines  # noqa: PLC0415

        positive = trained.model.positive_index
        baselines = fit_baselines(trained.table, trained.split, seed=config.seed, positive=positive)
    bundle = export_bundle(
        trained.model,
        trained.table,
        trained.split,
        trained.summary,
        baselines=baselines,
        aim=config.aim,
        aim_unmet=trained.aim_unmet,
        unseen=config.unseen,
        refuse_gaps=config.gaps == "refuse",
        models=config.models,
        name=name,
        stage=stage,
        rng=export_rng,
    )
    if checkpoint is not None and trained.aim_unmet is None:
        checkpoint.unlink(missing_ok=True)
    return bundle, trained


def train(
    config: Config,
    rng: np.random.Generator,
    *,
    callbacks: Sequence[Callback] = (),
    checkpoint: Path | None = None,
    announce: OnDataLoaded | None = None,
) -> TrainingResult:
    """Load and split the data, and train a model on them.

    Args:
        config: Options of the run.
        rng: Generator of the initial weights and the order of the rows.
        callbacks: Callbacks that follow the training, for example a progress bar.
        checkpoint: File for the state of the training, from which an interrupted run resumes.
        announce: Function that is called with the data before training starts.

    Raises:
        CheckpointError: If the checkpoint is damaged, or of another run.
        DataError: If the data cannot be trained on.
        TrainingDivergedError: If the loss became infinite or NaN.
    """
    started = time.perf_counter()
    table, split = load_and_split(config)
    if announce is not None:
        announce(table, split)
    trained = train_on_split(table, split, config, rng, callbacks=callbacks, checkpoint=checkpoint)
    seconds = round(time.perf_counter() - started, 3)
    return replace(trained, summary=trained.summary.model_copy(update={"seconds": seconds}))


def train_on_split(
    table: Table,
    split: Split,
    config: Config,
    rng: np.random.Generator,
    *,
    callbacks: Sequence[Callback] = (),
    checkpoint: Path | None = None,
) -> TrainingResult:
    """Train a model on a table that is already split. The test rows are not used.

    Args:
        table: All rows of the data.
        split: Split of the rows.
        config: Options of the run; those of the data and the split are not used.
        rng: Generator of the initial weights and the order of the rows.
        callbacks: Callbacks that follow the training.
        checkpoint: File for the state of the training, from which an interrupted run resumes.

    Raises:
        CheckpointError: If the checkpoint is damaged, or of another run.
        DataError: If the data cannot be trained on.
        TrainingDivergedError: If the loss became infinite or NaN.
    """
    started = time.perf_counter()
    task = prepare_training(table, split, config, rng)
    config = task.config
    stopping = task.create_early_stopping()
    savers = [] if checkpoint is None else [_create_checkpoint(checkpoint, config, table)]
    history = task.create_run([stopping, *callbacks, *savers]).run()
    summary = TrainingSummary(
        config=config.model_dump(mode="json", exclude={"models", "runs"}),
        epochs_run=len(history),
        best_epoch=stopping.best_epoch,
        seconds=round(time.perf_counter() - started, 3),
    )
    model, aim_unmet = fit_output_scaling(task.model, table, split, config)
    return TrainingResult(table, split, config, model, history, summary, aim_unmet)


def spawn_generators(seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Return the generators for training and for export.

    They are independent, so that a change of the draws in one does not change the other.
    """
    training_rng, export_rng = np.random.default_rng(seed).spawn(2)
    return training_rng, export_rng


def load_and_split(config: Config, reading: ReadOptions | None = None) -> tuple[Table, Split]:
    """Load the data and split their rows.

    Args:
        config: Options of the run.
        reading: Options for reading a file [default: those of `config`].

    Raises:
        DataError: If the data cannot be trained on.
    """
    table = load_table(config.data, config.get_read_options() if reading is None else reading)
    return table, split_table(
        table, validation=config.validation, test=config.test, seed=config.seed
    )


def prepare_training(
    table: Table, split: Split, config: Config, rng: np.random.Generator
) -> TrainingTask:
    """Initialize a model for a table and prepare the rows to train it on.

    Args:
        table: All rows of the data.
        split: Split of the rows.
        config: Options of the run.
        rng: Generator of the initial weights and the order of the rows.

    Raises:
        DataError: If the data cannot be trained on.
    """
    config = config.resolve(table.task, len(split.train))
    loss = config.build_loss(table.task)
    if config.target_scaling == "log" and not (table.target > 0).all():
        raise DataError(
            f"{table.source}: expected targets above 0 to take logarithms of; got "
            f"{table.target.min():g}; leave out target_scaling, or add a constant to them"
        )
    # Separate generators, so that a change of the draws in one place does not change the others.
    weights_rng, shuffle_rng, data_rng = rng.spawn(3)
    model = Model.build(
        table,
        split.train,
        layers=config.build_layers,
        loss=loss,
        rng=weights_rng,
        encoding=config.get_encoding(),
        has_log_target=config.target_scaling == "log",
        clip_values=bool(config.clip_predictions),
        embeds_numbers=config.numbers == "pbld",
    )
    if config.initializer == DATA_INITIALIZER:
        rows = data_rng.permutation(split.train)[:MAX_INITIALIZATION_ROWS]
        features = model.encode_rows(table, rows).features
        initialize_from_rows(model.network, features, data_rng)
    if model.classes is not None and table.task == "binary":
        model = replace(model, positive_index=config.find_positive_index(model.classes.tolist()))
    fetch = _create_row_fetcher(config, table, split, model)
    row_bytes = BYTES_PER_INPUT * model.encoder.width
    max_rows = compute_memory_budget() // row_bytes
    training_rows: TrainingRows | StreamedRows
    if len(split.train) <= max_rows:
        training_rows = fetch(split.train)
    else:
        train = np.sort(split.train)  # a file is read from its beginning to its end
        training_rows = StreamedRows(
            len(train),
            lambda places: fetch(train[places]),
            config.batch_size,
            row_bytes=row_bytes,
        )
    validation_rows = fetch(subsample(split.validation, max_rows))
    return TrainingTask(table, split, config, model, training_rows, validation_rows, shuffle_rng)


def _create_row_fetcher(
    config: Config, table: Table, split: Split, model: Model
) -> Callable[[NDArray[np.int64]], TrainingRows]:
    """Return a function that encodes the rows with given numbers, and adds their weights."""
    if config.class_weight is None:
        return lambda numbers: model.encode_rows(table, numbers)
    classes = np.asarray(model.classes)
    class_weights = np.asarray(compute_class_weights(config, table, split, classes), np.float32)

    def fetch(numbers: NDArray[np.int64]) -> TrainingRows:
        class_indices = np.searchsorted(classes, table.target[numbers])
        return replace(model.encode_rows(table, numbers), weights=class_weights[class_indices])

    return fetch


def _create_checkpoint(path: Path, config: Config, table: Table) -> Checkpoint:
    run_identity = normalize_run_identity(f"{table.fingerprint()} {config.model_dump_json()}")
    return Checkpoint(path, identity=run_identity, normalize=normalize_run_identity)
