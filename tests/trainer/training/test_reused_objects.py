"""Callbacks, update rules and losses that are used for a second run behave like new ones."""

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
from trainer.compress.sparsify import KeepZeros
from trainer.estimators.convergence import ConvergenceMonitor
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
from trainer.sequential.history import HistoryRecorder
from trainer.training.array_file import read_arrays
from trainer.training.batches import TrainingRows
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
from trainer.training.loop import Callback, TrainingRun
from trainer.training.update import UpdateRule

PATIENT_PARAMETERS = SimpleNamespace(tol=1e-4, verbose=False, n_iter_no_change=9)
CALLBACK_MAKERS = {
    ConvergenceMonitor: lambda folder: ConvergenceMonitor(PATIENT_PARAMETERS, None),
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


def find_callback_classes():
    for file in Path(trainer.__file__).parent.rglob("*.py"):
        if re.search(r"^class .*\(.*Callback", file.read_text(encoding="utf-8"), re.MULTILINE):
            parts = file.relative_to(Path(trainer.__file__).parent.parent).with_suffix("").parts
            importlib.import_module(".".join(parts))
    pending, classes = [Callback], set()
    while pending:
        kinds = [k for k in pending.pop().__subclasses__() if k.__module__.startswith("trainer.")]
        pending += kinds
        classes |= {kind for kind in kinds if not inspect.isabstract(kind)}
    return classes


def make_rows(seed, n=60):
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    return TrainingRows(x, (x[:, 0] + x[:, 1] > 0).astype(np.int64))


def make_run(seed, callbacks=(), update=None, epochs=4, loss=None):
    """Return a run of a new network. With seed 1 it learns much faster, to lower losses."""
    rng = np.random.default_rng(seed)
    network = Network(3, [Dense(6), BatchNorm("relu"), Dropout(0.2), Dense(2)], rng=rng)
    rate = 0.1 if seed == 1 else 1e-4
    return TrainingRun(
        network,
        loss or CategoricalCrossEntropy(),
        update or UpdateRule(SGD(rate)),
        make_rows(seed),
        epochs=epochs,
        batch_size=16,
        rng=rng,
        validation=make_rows(seed + 9),
        callbacks=callbacks,
    )


def to_comparable(value):
    """Return the attributes that can be compared: no times, open files or functions."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_comparable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Callback):
        return {
            k: to_comparable(v) for k, v in vars(value).items() if k not in ("path", "_saved_at")
        }
    if isinstance(value, list | tuple):
        return [to_comparable(each) for each in value]
    if isinstance(value, dict):
        return {str(key): to_comparable(each) for key, each in value.items()}
    is_data = value is None or isinstance(value, np.ndarray | np.generic | int | float | str)
    return value if is_data else type(value).__name__


def test_callback_makers_contain_every_callback_class():
    assert find_callback_classes() == set(CALLBACK_MAKERS)


@pytest.mark.parametrize(
    "kind", CALLBACK_MAKERS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}"
)
def test_callback_reused_in_second_run_behaves_like_new(kind, tmp_path):
    folders = [tmp_path / "used", tmp_path / "new"]
    for folder in folders:
        folder.mkdir()
    used, new = (CALLBACK_MAKERS[kind](folder) for folder in folders)
    make_run(1, [used]).run()
    second, expected = make_run(2, [used]), make_run(2, [new])
    second.run()
    expected.run()
    assert len(second.history) == len(expected.history) == 4
    np.testing.assert_equal(second.network.snapshot(), expected.network.snapshot())
    np.testing.assert_equal(to_comparable(used), to_comparable(new))
    for file in (f for f in folders[1].iterdir() if f.is_file()):
        other = folders[0] / file.name
        if file.suffix == ".npz":
            np.testing.assert_equal(read_arrays(other), read_arrays(file))
        else:
            assert other.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    "kind", CALLBACK_MAKERS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}"
)
def test_callback_new_or_used_can_be_copied_and_pickled(kind, tmp_path):
    callback = ProgressBar() if kind is ProgressBar else CALLBACK_MAKERS[kind](tmp_path)
    copy.deepcopy(callback)
    make_run(1, [callback]).run()
    copied = pickle.loads(pickle.dumps(callback))  # noqa: S301 - from this test, as joblib's workers do
    make_run(2, [copied]).run()


@pytest.mark.parametrize("order", ["first", "last"])
def test_checkpoint_first_or_last_callback_restores_state_of_others(order, tmp_path):
    class KilledError(Exception):
        pass

    class Kill(Callback):
        def on_step(self, run):
            if run.steps == 10:
                raise KilledError

    def callbacks(stopping):
        both = [stopping, Checkpoint(tmp_path / "run.npz", every_n_steps=1)]
        return both if order == "last" else both[::-1]

    whole, resumed, best_epochs = EarlyStopping(9), EarlyStopping(9), []
    make_run(1, [whole]).run()
    with pytest.raises(KilledError):
        make_run(1, [*callbacks(EarlyStopping(9)), Kill()]).run()
    resumed.on_step = lambda run: best_epochs.append(resumed.best_epoch)
    make_run(1, callbacks(resumed)).run()
    assert best_epochs[0] == 2  # two epochs were finished before the run was killed
    assert resumed.best_epoch == whole.best_epoch
    np.testing.assert_equal(resumed._best_weights, whole._best_weights)


def test_checkpoint_finished_run_is_refused_for_other_weights_or_rows(tmp_path):
    path = tmp_path / "run.npz"
    first = make_run(1, [Checkpoint(path)])
    first.run()
    same = make_run(1, [Checkpoint(path)])
    same.run()
    np.testing.assert_equal(same.network.snapshot(), first.network.snapshot())
    other_rows, other_weights = make_run(1, [Checkpoint(path)]), make_run(1, [Checkpoint(path)])
    other_rows.source.rows.features[0] += 1
    other_weights.network.parameters[0] += 1
    for other in (other_rows, other_weights):
        with pytest.raises(CheckpointError, match="expected a checkpoint of this run"):
            other.run()


UPDATE_MAKERS = {
    **{name: lambda kind=kind: UpdateRule(kind(0.01)) for name, kind in OPTIMIZERS.items()},
    **{
        name: lambda kind=kind: UpdateRule(SGD(0.01), schedule=kind())
        for name, kind in SCHEDULES.items()
    },
    "immediate plateau": lambda: UpdateRule(
        SGD(1.0), schedule=ReduceOnPlateau(1, 0.1, threshold=1)
    ),
    "average": lambda: UpdateRule(Adam(0.01), average=WeightAverage(0.999)),
    "regularizers": lambda: UpdateRule(
        Adam(), penalty=Penalty(0.1, 0.1), max_norm=MaxNorm(1), clip_norm=1, clip_value=1
    ),
}


@pytest.mark.parametrize("name", UPDATE_MAKERS)
def test_update_rule_and_loss_reused_for_other_network_behave_like_new(name):
    used, loss = UPDATE_MAKERS[name](), CategoricalCrossEntropy(0.1)
    make_run(1, update=used, loss=loss).run()
    second = make_run(2, update=used, loss=loss)
    expected = make_run(2, update=UPDATE_MAKERS[name](), loss=CategoricalCrossEntropy(0.1))
    second.run()
    expected.run()
    np.testing.assert_equal(second.network.snapshot(), expected.network.snapshot())
    assert second.history == expected.history


def test_update_rule_after_scheduled_run_optimizer_has_full_rate():
    optimizer = SGD(0.5)
    make_run(1, update=UpdateRule(optimizer, schedule=Cosine())).run()
    assert optimizer.learning_rate == 0.5


def test_update_rule_same_network_keeps_optimizer_state():
    update = UpdateRule(Adam(0.01))
    first = make_run(1, update=update)
    first.run()
    steps = update.optimizer.steps
    TrainingRun(
        first.network,
        first.loss,
        update,
        make_rows(1),
        epochs=1,
        batch_size=16,
        rng=np.random.default_rng(0),
    ).run()
    assert update.optimizer.steps == steps + 4


def test_weight_average_other_weights_loaded_starts_from_them():
    update = UpdateRule(SGD(1e-9), average=WeightAverage(0.999))
    first = make_run(1, update=update)
    first.run()
    first.network.parameters[...] = 5
    TrainingRun(
        first.network,
        first.loss,
        update,
        make_rows(1),
        epochs=1,
        batch_size=60,
        rng=np.random.default_rng(0),
    ).run()
    np.testing.assert_allclose(first.network.parameters, 5, atol=1e-3)
