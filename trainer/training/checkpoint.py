"""Checkpoints: the whole state of a training run in a file, from which it can be resumed.

A run that was killed at any step and resumed ends with the same bits as an uninterrupted one. The
file holds the parameters, the state of the optimizer, the schedule and the callbacks, the random
generators, and the position in the epoch. It is an .npz file without pickles, and is written
atomically.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from trainer.training.array_file import Arrays, DamagedFileError, read_arrays, write_arrays
from trainer.training.batches import ShuffledBatches
from trainer.training.loop import Callback, Epoch, TrainingRun

SAVE_INTERVAL_SECONDS = 10.0  # minimum time between two saves within an epoch


class CheckpointError(Exception):
    """A checkpoint that is damaged or belongs to another run; the message says which."""


class Checkpoint(Callback):
    """Callback that saves the run after each epoch, and at intervals within an epoch.

    It must be the last callback, so that it saves the state that the others have after the epoch.
    When a run starts and the file exists, the run is resumed from it. If the same object has
    followed a run to its end, its next run starts from scratch and overwrites the file.

    Args:
        path: Path of the file, whose folder must exist.
        identity: Text that identifies the run, such as a digest of its data and options. The
            checkpoint of another identity is refused. Without one [default: ""], the checkpoint of
            a finished run is only accepted by a run with the same initial weights and rows.
        every_n_steps: Number of steps between two saves within an epoch; None to save whenever
            `SAVE_INTERVAL_SECONDS` have passed [default: None].
        normalize: Function applied to the identity in the file before it is compared, so that
            checkpoints of an earlier version can be recognised [default: no change].

    Raises:
        ValueError: If `every_n_steps` is below 1.
    """

    def __init__(
        self,
        path: Path,
        *,
        identity: str = "",
        every_n_steps: int | None = None,
        normalize: Callable[[str], str] = str,
    ) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"expected at least 1 step between two saves; got {every_n_steps}")
        self.path, self.identity, self.every_n_steps = path, identity, every_n_steps
        self.normalize = normalize
        self._has_finished_run = False  # whether the file is that of a run that this object ended
        self._start_digest: int | None = None
        self.reset()

    def reset(self) -> None:
        """Measure the time to the next save from now on."""
        self._saved_at = time.monotonic()

    def on_start(self, run: TrainingRun) -> None:
        """Resume the run from the file if it exists, and is not that of a run that has ended."""
        self.reset()
        self._start_digest = None if self.identity or run.steps else _compute_start_digest(run)
        if self._has_finished_run:
            self.path.unlink(missing_ok=True)
        elif self.path.exists():
            restore_run(
                run, self.path, self.identity, self.normalize, start_digest=self._start_digest
            )
        self._has_finished_run = False

    def on_step(self, run: TrainingRun) -> None:
        """Save the run if the interval has passed."""
        if self.every_n_steps is None:
            is_due = time.monotonic() - self._saved_at >= SAVE_INTERVAL_SECONDS
        else:
            is_due = run.steps % self.every_n_steps == 0
        if is_due:
            self._save(run)

    def on_epoch(self, run: TrainingRun) -> None:
        """Save the run."""
        self._save(run)

    def on_end(self, run: TrainingRun) -> None:
        """Note whether the run is finished, or was interrupted and may be resumed."""
        self._has_finished_run = run.stop or len(run.history) >= run.epochs

    def _save(self, run: TrainingRun) -> None:
        write_arrays(self.path, collect_state(run, self.identity, self._start_digest))
        self._saved_at = time.monotonic()


def collect_state(run: TrainingRun, identity: str, start_digest: int | None = None) -> Arrays:
    """Return the whole state of a run as arrays, from which `restore_run` restores it.

    Args:
        run: The run.
        identity: Text that identifies the run; see `Checkpoint`.
        start_digest: Digest of the initial weights and rows; None if `identity` replaces it.
    """
    arrays: Arrays = {f"network/{k}": v for k, v in run.network.snapshot().items()}
    arrays |= {f"update/{k}": v for k, v in run.update.state().items()}
    for i, callback in enumerate(_list_stateful_callbacks(run)):
        arrays |= {f"callback {i}/{k}": v for k, v in callback.state().items()}
    progress = {
        "identity": identity,
        "run": _describe_run(run),
        "start": start_digest,
        "history": [asdict(epoch) for epoch in run.history],
        "steps": run.steps,
        "stop": run.stop,
        "batches_done": run.epoch_batches,
        "rows_seen": run.epoch_rows,
        "total": run.epoch_loss_sum,
        "rng": run.rng.bit_generator.state,
        "order": run.order_rng_state,
        "streams": [g.bit_generator.state for g in run.network.generators()],
    }
    return arrays | {"progress": np.array(json.dumps(progress))}


def restore_run(
    run: TrainingRun,
    path: Path,
    identity: str,
    normalize: Callable[[str], str] = str,
    *,
    start_digest: int | None = None,
) -> None:
    """Restore the state of a run from a file.

    Args:
        run: New run, created with the same arguments as the saved one.
        path: Path of the file, which holds the arrays of `collect_state`.
        identity: Identity that the saved run must have.
        normalize: Function applied to the identity in the file before it is compared.
        start_digest: Digest of the run's initial weights and rows, which must equal that of a saved
            run that is finished; None to accept any.

    Raises:
        CheckpointError: If the file is damaged, or of another run.
        OSError: If the file cannot be opened.
    """
    try:
        arrays = read_arrays(path)
        progress = json.loads(str(arrays.pop("progress")))
    except (DamagedFileError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path}: expected a whole checkpoint; got a damaged file; delete it to start from "
            f"scratch"
        ) from error
    saved_digest = progress.get("start")  # files of earlier versions do not have it
    is_finished = progress["stop"] or len(progress["history"]) >= run.epochs
    has_other_start = (
        is_finished and None not in (start_digest, saved_digest) and start_digest != saved_digest
    )
    saved_identity = normalize(progress["identity"])
    if has_other_start or (saved_identity, progress["run"]) != (identity, _describe_run(run)):
        raise CheckpointError(
            f"{path}: expected a checkpoint of this run; got one of a run with other data or "
            f"options; delete it to start from scratch"
        )
    run.network.restore(_select_prefix("network", arrays))
    run.update.restore(_select_prefix("update", arrays))
    for i, callback in enumerate(_list_stateful_callbacks(run)):
        callback.restore(_select_prefix(f"callback {i}", arrays))
    run.history[:] = [Epoch(**entry) for entry in progress["history"]]
    run.steps, run.stop = progress["steps"], progress["stop"]
    run.epoch_batches, run.epoch_rows = progress["batches_done"], progress["rows_seen"]
    run.epoch_loss_sum, run.order_rng_state = progress["total"], progress["order"]
    run.rng.bit_generator.state = progress["rng"]
    for generator, stream in zip(run.network.generators(), progress["streams"], strict=True):
        generator.bit_generator.state = stream


def _compute_start_digest(run: TrainingRun) -> int:
    """Return the CRC-32 of the initial weights, and of the rows if they are in memory."""
    arrays = [run.network.parameters]
    if isinstance(run.source, ShuffledBatches):
        arrays += [run.source.rows.features, run.source.rows.targets]
    digest = 0
    for array in arrays:
        if isinstance(array, np.ndarray):
            digest = zlib.crc32(np.ascontiguousarray(array).data, digest)
    return digest


def _list_stateful_callbacks(run: TrainingRun) -> list[Callback]:
    """Return the callbacks that have a state; the others may differ in a resumed run."""
    return [c for c in run.callbacks if type(c).state is not Callback.state]


def _select_prefix(name: str, arrays: Arrays) -> Arrays:
    """Return the arrays whose name starts with `name/`, by the rest of their name."""
    prefix = f"{name}/"
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _describe_run(run: TrainingRun) -> list[str]:
    """Return the properties that a saved run and the run that resumes it must have in common."""
    callback_kinds = [type(callback).__name__ for callback in _list_stateful_callbacks(run)]
    return [
        repr(run.network),
        repr(run.loss),
        type(run.update.optimizer).__name__,
        repr(run.update.full_rate),
        repr(run.update.schedule).split("(")[0],
        repr(run.epochs),
        repr(run.source_size),
        *callback_kinds,
    ]
