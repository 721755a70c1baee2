"""What is used for a second run begins it as if it had never seen a first one."""

import copy
import dataclasses
import importlib
import inspect
import io
import pickle
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

import trainer
import trainer.sequential
from trainer.compress.sparsify import KeepZeros
from trainer.estimators import base
from trainer.nn import (
    OPTIMIZERS,
    SCHEDULES,
    SGD,
    Adam,
    BatchNorm,
    CategoricalCrossEntropy,
    Cosine,
    Dense,
    Dropout,
    MaxNorm,
    Network,
    Penalty,
    ReduceOnPlateau,
    WeightAverage,
)
from trainer.training.array_file import read_arrays
from trainer.training.callbacks import (
    CSVLog,
    EarlyStopping,
    JSONLog,
    ModelCheckpoint,
    ProgressBar,
    TensorBoard,
)
from trainer.training.checkpoint import Checkpoint, CheckpointError
from trainer.training.diagnostics import Diagnostics
from trainer.training.loop import Callback, Rows, TrainingRun
from trainer.training.update import UpdateRule

PATIENT = SimpleNamespace(tol=1e-4, verbose=False, n_iter_no_change=9)
MAKERS = {
    base._Watch: lambda folder: base._Watch(PATIENT, None),
    HistoryRecorder: lambda folder: HistoryRecorder({}),
    KeepZeros: lambda folder: KeepZeros(),
    CSVLog: lambda folder: CSVLog(folder / "log.csv"),
    JSONLog: lambda folder: JSONLog(folder / "log.jsonl"),
    Checkpoint: lambda folder: Checkpoint(folder / "run.npz"),
    Diagnostics: lambda folder: Diagnostics(),
    EarlyStopping: lambda folder: EarlyStopping(9),
    ModelCheckpoint: lambda folder: ModelCheckpoint(folder / "best.npz"),
    ProgressBar: lambda folder: ProgressBar(Console(file=io.StringIO(), force_terminal=True)),
    TensorBoard: lambda folder: TensorBoard(folder / "events"),
}


def callback_classes():
    for file in Path(trainer.__file__).parent.rglob("*.py"):
        if re.search(r"^class .*\(.*Callback", file.read_text(encoding="utf-8"), re.MULTILINE):
            parts = file.relative_to(Path(trainer.__file__).parent.parent).with_suffix("").parts
            importlib.import_module(".".join(parts))
    pending, found = [Callback], set()
    while pending:
        kinds = [k for k in pending.pop().__subclasses__() if k.__module__.startswith("trainer.")]
        pending += kinds
        found |= {kind for kind in kinds if not inspect.isabstract(kind)}
    return found


def rows(seed, n=60):
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    return Rows(x, (x[:, 0] + x[:, 1] > 0).astype(np.int64))


def a_run(seed, callbacks=(), update=None, epochs=4, loss=None):
    """Of a network of its own; the first of them learns much faster, so that its losses are low."""
    rng = np.random.default_rng(seed)
    network = Network(3, [Dense(6), BatchNorm("relu"), Dropout(0.2), Dense(2)], rng=rng)
    rate = 0.1 if seed == 1 else 1e-4
    return TrainingRun(
        network,
        loss or CategoricalCrossEntropy(),
        update or UpdateRule(SGD(rate)),
        rows(seed),
        epochs=epochs,
        batch_size=16,
        rng=rng,
        validation=rows(seed + 9),
        callbacks=callbacks,
    )


def plain(value):
    """What is comparable of a callback's memory: no clocks, open files or functions."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Callback):
        return {k: plain(v) for k, v in vars(value).items() if k not in ("path", "_saved_at")}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    is_data = value is None or isinstance(value, np.ndarray | np.generic | int | float | str)
    return value if is_data else type(value).__name__


def test_the_table_has_every_callback_there_is():
    assert callback_classes() == set(MAKERS)


@pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_a_callback_that_was_used_ends_a_second_run_as_a_new_one_does(kind, tmp_path):
    folders = [tmp_path / "used", tmp_path / "new"]
    for folder in folders:
        folder.mkdir()
    used, new = (MAKERS[kind](folder) for folder in folders)
    a_run(1, [used]).run()
    second, expected = a_run(2, [used]), a_run(2, [new])
    second.run()
    expected.run()
    assert len(second.history) == len(expected.history) == 4
    np.testing.assert_equal(second.network.snapshot(), expected.network.snapshot())
    np.testing.assert_equal(plain(used), plain(new))
    for file in (f for f in folders[1].iterdir() if f.is_file()):
        other = folders[0] / file.name
        if file.suffix == ".npz":
            np.testing.assert_equal(read_arrays(other), read_arrays(file))
        else:
            assert other.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_callback_new_or_used_can_be_copied_as_clone_and_processes_do(kind, tmp_path):
    callback = ProgressBar() if kind is ProgressBar else MAKERS[kind](tmp_path)
    copy.deepcopy(callback)
    a_run(1, [callback]).run()
    copied = pickle.loads(pickle.dumps(callback))  # noqa: S301 - its own, as joblib's workers do
    a_run(2, [copied]).run()


@pytest.mark.parametrize("order", ["first", "last"])
def test_a_resumed_run_keeps_what_its_callbacks_knew_wherever_the_checkpoint_stands(
    order, tmp_path
):
    class KilledError(Exception):
        pass

    class Kill(Callback):
        def on_step(self, run):
            if run.steps == 10:
                raise KilledError

    def callbacks(stopping):
        found = [stopping, Checkpoint(tmp_path / "run.npz", every=1)]
        return found if order == "last" else found[::-1]

    whole, resumed, seen = EarlyStopping(9), EarlyStopping(9), []
    a_run(1, [whole]).run()
    with pytest.raises(KilledError):
        a_run(1, [*callbacks(EarlyStopping(9)), Kill()]).run()
    resumed.on_step = lambda run: seen.append(resumed.best_epoch)
    a_run(1, callbacks(resumed)).run()
    assert seen[0] == 2  # of the two epochs before the kill
    assert resumed.best_epoch == whole.best_epoch
    np.testing.assert_equal(resumed._best, whole._best)


def test_the_checkpoint_of_a_run_that_is_over_is_not_taken_for_that_of_another_network(tmp_path):
    path = tmp_path / "run.npz"
    first = a_run(1, [Checkpoint(path)])
    first.run()
    same = a_run(1, [Checkpoint(path)])
    same.run()
    np.testing.assert_equal(same.network.snapshot(), first.network.snapshot())
    same_weights, same_rows = a_run(1, [Checkpoint(path)]), a_run(1, [Checkpoint(path)])
    same_weights.source.rows.features[0] += 1
    same_rows.network.parameters[0] += 1
    for other in (same_weights, same_rows):
        with pytest.raises(CheckpointError, match="expected a checkpoint of this very run"):
            other.run()


UPDATES = {
    **{name: lambda kind=kind: UpdateRule(kind(0.01)) for name, kind in OPTIMIZERS.items()},
    **{
        name: lambda kind=kind: UpdateRule(SGD(0.01), schedule=kind())
        for name, kind in SCHEDULES.items()
    },
    "plateau at once": lambda: UpdateRule(SGD(1.0), schedule=ReduceOnPlateau(1, 0.1, threshold=1)),
    "average": lambda: UpdateRule(Adam(0.01), average=WeightAverage(0.999)),
    "regularizers": lambda: UpdateRule(
        Adam(), penalty=Penalty(0.1, 0.1), max_norm=MaxNorm(1), clip_norm=1, clip_value=1
    ),
}


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_and_a_loss_that_another_network_used_begin_anew(name):
    used, loss = UPDATES[name](), CategoricalCrossEntropy(0.1)
    a_run(1, update=used, loss=loss).run()
    second = a_run(2, update=used, loss=loss)
    expected = a_run(2, update=UPDATES[name](), loss=CategoricalCrossEntropy(0.1))
    second.run()
    expected.run()
    np.testing.assert_equal(second.network.snapshot(), expected.network.snapshot())
    assert second.history == expected.history


def test_an_optimizer_has_its_full_rate_again_after_a_schedule():
    optimizer = SGD(0.5)
    a_run(1, update=UpdateRule(optimizer, schedule=Cosine())).run()
    assert optimizer.learning_rate == 0.5


def test_the_same_network_goes_on_with_what_its_optimizer_knows():
    update = UpdateRule(Adam(0.01))
    first = a_run(1, update=update)
    first.run()
    steps = update.optimizer.steps
    TrainingRun(
        first.network,
        first.loss,
        update,
        rows(1),
        epochs=1,
        batch_size=16,
        rng=np.random.default_rng(0),
    ).run()
    assert update.optimizer.steps == steps + 4


def test_an_average_begins_anew_where_other_weights_were_loaded():
    update = UpdateRule(SGD(1e-9), average=WeightAverage(0.999))
    first = a_run(1, update=update)
    first.run()
    first.network.parameters[...] = 5
    TrainingRun(
        first.network,
        first.loss,
        update,
        rows(1),
        epochs=1,
        batch_size=60,
        rng=np.random.default_rng(0),
    ).run()
    np.testing.assert_allclose(first.network.parameters, 5, atol=1e-3)
