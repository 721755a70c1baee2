"""Checkpoints: the state of a run in one file, to go on from as if nothing had happened.

A run that was killed at any step and resumed ends in the same bits as one that was not: the file
holds the parameters, what the optimizer, the schedule and the callbacks remember, the random
streams, and the place in the epoch. It is an .npz file without pickles, written whole or not at
all.
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

SECONDS = 10.0  # between two saves within an epoch


class CheckpointError(Exception):
    """The checkpoint is damaged, or of another run; the message says which."""


class Checkpoint(Callback):
    """Saves the run after each epoch, and within one every now and then. Name it last.

    A new one goes on from the file there is. One that has seen a run to its end begins the next
    run anew, and writes over the file of the last.

    Args:
        path: the file; its folder must exist.
        identity: what tells this run from others, say a digest of its data and choices; a
            checkpoint of another identity is refused. Without one, that of a run which is over
            is taken only by a run of the same first weights and rows.
        every: steps between two saves; by default as many as take `SECONDS`.
        normalize: Applied to a checkpoint's identity before it is compared, so that one of an
            earlier version, written otherwise, can be recognised.
    """

    def __init__(
        self,
        path: Path,
        *,
        identity: str = "",
        every: int | None = None,
        normalize: Callable[[str], str] = str,
    ) -> None:
        if every is not None and every < 1:
            raise ValueError(f"expected at least 1 step between two saves; got {every}")
        self.path, self.identity, self.every = path, identity, every
        self.normalize = normalize
        self._ended = False  # a run of which the file is now
        self._start: int | None = None
        self.reset()

    def reset(self) -> None:
        """Count the time to the next save from now."""
        self._saved_at = time.monotonic()

    def on_start(self, run: TrainingRun) -> None:
        """Go on from the file, if it is there and not of a run that is over."""
        self.reset()
        self._start = None if self.identity or run.steps else _digest(run)
        if self._ended:
            self.path.unlink(missing_ok=True)
        elif self.path.exists():
            restore(run, self.path, self.identity, self.normalize, start=self._start)
        self._ended = False

    def on_step(self, run: TrainingRun) -> None:
        """Save if it is time."""
        if self.every is None:
            due = time.monotonic() - self._saved_at >= SECONDS
        else:
            due = run.steps % self.every == 0
        if due:
            self._save(run)

    def on_epoch(self, run: TrainingRun) -> None:
        """Save."""
        self._save(run)

    def on_end(self, run: TrainingRun) -> None:
        """Note whether the run is over, or was killed and may go on."""
        self._ended = run.stop or len(run.history) >= run.epochs

    def _save(self, run: TrainingRun) -> None:
        write_arrays(self.path, content(run, self.identity, self._start))
        self._saved_at = time.monotonic()


def content(run: TrainingRun, identity: str, start: int | None = None) -> Arrays:
    """All that `restore` needs."""
    arrays: Arrays = {f"network/{k}": v for k, v in run.network.snapshot().items()}
    arrays |= {f"update/{k}": v for k, v in run.update.state().items()}
    for i, callback in enumerate(_remembering(run)):
        arrays |= {f"callback {i}/{k}": v for k, v in callback.state().items()}
    progress = {
        "identity": identity,
        "run": _description(run),
        "start": start,
        "history": [asdict(epoch) for epoch in run.history],
        "steps": run.steps,
        "stop": run.stop,
        "batches_done": run.batches_done,
        "rows_seen": run.rows_seen,
        "total": run.total,
        "rng": run.rng.bit_generator.state,
        "order": run.order_state,
        "streams": [g.bit_generator.state for g in run.network.generators()],
    }
    return arrays | {"progress": np.array(json.dumps(progress))}


def restore(
    run: TrainingRun,
    path: Path,
    identity: str,
    normalize: Callable[[str], str] = str,
    *,
    start: int | None = None,
) -> None:
    """Put a run where another like it stood.

    Args:
        run: fresh, made of the same parts.
        path: a file of what `content` gave.
        identity: must be the one it was saved under.
        normalize: Applied to the one it was saved under before they are compared.
        start: Digest of the run's first weights and rows; that of a finished run must be equal.

    Raises:
        CheckpointError: it is damaged, or of another run.
    """
    try:
        arrays = read_arrays(path)
        progress = json.loads(str(arrays.pop("progress")))
    except (DamagedFileError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path}: expected a whole checkpoint; got a damaged file; delete it to begin anew"
        ) from error
    begun = progress.get("start")  # which older files do not hold
    is_over = progress["stop"] or len(progress["history"]) >= run.epochs
    strange = is_over and None not in (start, begun) and start != begun
    saved = normalize(progress["identity"])
    if strange or (saved, progress["run"]) != (identity, _description(run)):
        raise CheckpointError(
            f"{path}: expected a checkpoint of this very run; got one of other data or choices; "
            f"delete it to begin anew"
        )
    run.network.restore(_under("network", arrays))
    run.update.restore(_under("update", arrays))
    for i, callback in enumerate(_remembering(run)):
        callback.restore(_under(f"callback {i}", arrays))
    run.history[:] = [Epoch(**entry) for entry in progress["history"]]
    run.steps, run.stop = progress["steps"], progress["stop"]
    run.batches_done, run.rows_seen = progress["batches_done"], progress["rows_seen"]
    run.total, run.order_state = progress["total"], progress["order"]
    run.rng.bit_generator.state = progress["rng"]
    for generator, stream in zip(run.network.generators(), progress["streams"], strict=True):
        generator.bit_generator.state = stream


def _digest(run: TrainingRun) -> int:
    """Of the first weights, and of the rows if they are in memory."""
    arrays = [run.network.parameters]
    if isinstance(run.source, ShuffledBatches):
        arrays += [run.source.rows.features, run.source.rows.targets]
    found = 0
    for array in arrays:
        if isinstance(array, np.ndarray):
            found = zlib.crc32(np.ascontiguousarray(array).data, found)
    return found


def _remembering(run: TrainingRun) -> list[Callback]:
    """The callbacks that have something to remember; others may come and go between two runs."""
    return [c for c in run.callbacks if type(c).state is not Callback.state]


def _under(name: str, arrays: Arrays) -> Arrays:
    start = f"{name}/"
    return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}


def _description(run: TrainingRun) -> list[str]:
    """What must be equal for a run to go on from another's place."""
    kinds = [type(callback).__name__ for callback in _remembering(run)]
    full = run.update.full_rate
    return [
        repr(run.network),
        repr(run.loss),
        type(run.update.optimizer).__name__,
        repr(full),
        repr(run.update.schedule).split("(")[0],
        repr(run.epochs),
        repr(run.source_size),
        *kinds,
    ]
