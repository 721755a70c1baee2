import io
import json
import struct

import numpy as np
import pandas
import pytest
from rich.console import Console
from sklearn.datasets import make_moons
from tensorboardX.proto.event_pb2 import Event

from trainer.nn import (
    SGD,
    CategoricalCrossEntropy,
    Dense,
    Exponential,
    MeanSquaredError,
    Network,
)
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
from trainer.training.checkpoint import Checkpoint
from trainer.training.loop import VALIDATION_ERROR, Callback, Epoch, TrainingRun
from trainer.training.update import UpdateRule


def make_run(epochs, rng):
    rows = TrainingRows(np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32))
    return TrainingRun(
        Network(1, [Dense(1)], rng=rng),
        MeanSquaredError(),
        UpdateRule(SGD(1)),
        rows,
        epochs=epochs,
        batch_size=1,
        rng=rng,
    )


def replay_losses(callback, losses, rng, state=None, errors=None):
    """Return a run with the given validation losses, whose weights are the number of the epoch.

    A state is restored where a checkpoint does it: after the start of the run. The squared errors
    of the validation rows, if any, are those in `errors`.
    """
    run = make_run(len(losses), rng)
    callback.on_start(run)
    if state is not None:
        callback.restore(state)
    for number, loss in enumerate(losses, start=1):
        run.network.parameters[...] = number
        metrics = {} if errors is None else {VALIDATION_ERROR: errors[number - 1]}
        run.history.append(Epoch(number, 1.0, loss, metrics=metrics))
        callback.on_epoch(run)
        if run.stop:
            break
    callback.on_end(run)
    return run


def test_early_stopping_loss_rises_restores_best_weights(rng):
    stopping = EarlyStopping(patience=2)
    run = replay_losses(stopping, [3, 1, 2, 2, 0], rng)
    assert len(run.history) == 4
    assert stopping.best_epoch == 2
    assert (run.network.parameters == 2).all()


def test_early_stopping_equal_loss_is_no_improvement(rng):
    stopping = EarlyStopping(patience=3)
    assert len(replay_losses(stopping, [1, 1, 1, 1, 1], rng).history) == 4
    assert stopping.best_epoch == 1


def test_early_stopping_loss_falls_does_not_stop(rng):
    run = replay_losses(EarlyStopping(patience=1), [5, 4, 3], rng)
    assert not run.stop
    assert (run.network.parameters == 3).all()


def test_early_stopping_squared_error_decides_and_not_the_loss(rng):
    stopping = EarlyStopping(patience=2, monitor="squared_error")
    run = replay_losses(stopping, [5, 1, 2, 3, 4], rng, errors=[0.5, 0.4, 0.2, 0.3, 0.3])
    assert len(run.history) == 5
    assert stopping.best_epoch == 3
    assert (run.network.parameters == 3).all()


def test_early_stopping_equal_squared_error_takes_the_later_epoch(rng):
    stopping = EarlyStopping(patience=4, monitor="squared_error")
    run = replay_losses(stopping, [1] * 7, rng, errors=[0.2, 0.1, 0.3, 0.1, 0.1, 0.2, 0.2])
    assert len(run.history) == 6  # a tie is no improvement for the patience
    assert stopping.best_epoch == 5
    assert (run.network.parameters == 5).all()


@pytest.mark.parametrize(("decrease", "n_epochs"), [(1e-7, 4), (1e-4, 10)])
def test_early_stopping_tiny_decreases_of_the_error_end_the_run_but_are_kept(
    decrease, n_epochs, rng
):
    stopping = EarlyStopping(patience=3, monitor="squared_error")
    errors = [0.1 - decrease * epoch for epoch in range(10)]
    run = replay_losses(stopping, [1] * 10, rng, errors=errors)
    assert len(run.history) == n_epochs
    assert (run.network.parameters == n_epochs).all()
    # The loss has no such limit.
    run = replay_losses(EarlyStopping(patience=3), [1 - 1e-9 * e for e in range(10)], rng)
    assert len(run.history) == 10


def test_early_stopping_state_of_an_earlier_version_is_restored(rng):
    first = EarlyStopping(patience=3)
    replay_losses(first, [3, 1, 2], rng)
    state = first.state()
    del state["last_decrease"]
    second = EarlyStopping(patience=3)
    run = replay_losses(second, [2] * 9, rng, state=state)
    assert second.best_epoch == 2
    assert len(run.history) == 5  # three epochs after the best


def test_early_stopping_squared_error_state_restored_continues(rng):
    errors = [0.3, 0.1, 0.2, 0.1, 0.2, 0.2, 0.2]
    first = EarlyStopping(patience=3, monitor="squared_error")
    replay_losses(first, [1] * 3, rng, errors=errors[:3])
    second = EarlyStopping(patience=3, monitor="squared_error")
    run = replay_losses(second, [1] * 2, rng, state=first.state(), errors=[0.2, 0.3])
    assert second.best_epoch == 2  # that of the first run
    assert (run.network.parameters == 2).all()


def test_early_stopping_no_validation_rows_raises_value_error(rng):
    with pytest.raises(ValueError, match="expected validation rows"):
        replay_losses(EarlyStopping(1), [None], rng)
    with pytest.raises(ValueError, match="at least 1 epoch; got 0"):
        EarlyStopping(0)


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_bar_writes_to_terminals_only(terminal, rng):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    replay_losses(ProgressBar(console), [0.5, 0.25], rng)
    assert ("epoch 2/2" in out.getvalue()) == terminal
    assert ("validation 0.2500" in out.getvalue()) == terminal
    assert terminal or out.getvalue() == ""


def test_progress_bar_without_console_writes_to_stderr(monkeypatch, capsys, rng):
    monkeypatch.setenv("FORCE_COLOR", "1")
    replay_losses(ProgressBar(), [0.5, 0.25], rng)
    output = capsys.readouterr()
    assert output.out == ""
    assert "validation 0.2500" in output.err


def test_progress_bar_run_stopped_early_shows_complete_bar(rng):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    run = make_run(9, rng)
    run.stop = True
    bar = ProgressBar(console)
    bar.on_start(run)
    run.history.append(Epoch(1, 0.5, 0.5))
    bar.on_epoch(run)
    bar.on_end(run)
    assert "epoch 1/1" in out.getvalue()


def test_early_stopping_best_weights_are_copies(rng):
    run = replay_losses(EarlyStopping(5), [1, 2], rng)
    assert (run.network.parameters == 1).all()
    assert np.shares_memory(run.network.parameters, run.network.layers[0].W)


def make_moons_run(callbacks, epochs=3):
    """Return a run with validation rows and a schedule."""
    x, y = make_moons(100, noise=0.2, random_state=0)
    rows = TrainingRows(x.astype(np.float32), y.astype(np.int64))
    network = Network(2, [Dense(4, "tanh"), Dense(2)], rng=np.random.default_rng(0))
    return TrainingRun(
        network,
        CategoricalCrossEntropy(),
        UpdateRule(SGD(0.1), schedule=Exponential()),
        rows,
        epochs=epochs,
        batch_size=25,
        rng=np.random.default_rng(1),
        validation=rows,
        callbacks=callbacks,
    )


def test_model_checkpoint_saves_best_or_each_epoch(rng, tmp_path):
    path = tmp_path / "best.npz"
    replay_losses(ModelCheckpoint(path), [3, 1, 2], rng)
    assert (read_arrays(path)["parameters"] == 2).all()
    replay_losses(ModelCheckpoint(tmp_path / "{epoch}.npz", best_only=False), [3, 1, 2], rng)
    for number in (1, 2, 3):
        assert (read_arrays(tmp_path / f"{number}.npz")["parameters"] == number).all()


def test_model_checkpoint_no_validation_rows_uses_training_loss(rng, tmp_path):
    path = tmp_path / "best.npz"
    callback, run = ModelCheckpoint(path), make_run(2, rng)
    for number, loss in enumerate([1.0, 2.0], start=1):
        run.network.parameters[...] = number
        run.history.append(Epoch(number, loss, None))
        callback.on_epoch(run)
    assert (read_arrays(path)["parameters"] == 1).all()


def test_model_checkpoint_restored_state_keeps_best_loss(rng, tmp_path):
    first = ModelCheckpoint(tmp_path / "best.npz")
    replay_losses(first, [1], rng)
    second = ModelCheckpoint(tmp_path / "best.npz")
    replay_losses(second, [2], rng, first.state())
    assert second.state()["best"] == 1
    before = (tmp_path / "best.npz").stat().st_mtime_ns
    replay_losses(second, [1], rng, second.state())
    assert (tmp_path / "best.npz").stat().st_mtime_ns == before


def test_logs_contain_results_of_each_epoch(tmp_path):
    table, lines = tmp_path / "run.csv", tmp_path / "run.jsonl"
    run = make_moons_run([CSVLog(table), JSONLog(lines)])
    run.run()
    read = pandas.read_csv(table)
    assert list(read.columns) == ["epoch", "train_loss", "validation_loss", "learning_rate"]
    objects = [json.loads(line) for line in lines.read_text().splitlines()]
    for column in read.columns:
        np.testing.assert_allclose(read[column], [o[column] for o in objects], rtol=1e-12)
    assert [o["train_loss"] for o in objects] == [e.train_loss for e in run.history]
    assert objects[0]["learning_rate"] > objects[1]["learning_rate"] > objects[2]["learning_rate"]


def test_logs_no_validation_rows_leave_loss_empty(rng, tmp_path):
    run = make_run(1, rng)
    run.callbacks = [CSVLog(tmp_path / "run.csv"), JSONLog(tmp_path / "run.jsonl")]
    run.run()
    assert (tmp_path / "run.csv").read_text().splitlines()[1].split(",")[2] == ""
    assert json.loads((tmp_path / "run.jsonl").read_text())["validation_loss"] is None


def test_csv_log_resumed_run_contains_all_epochs(tmp_path):
    def callbacks():
        return [CSVLog(tmp_path / "run.csv"), Checkpoint(tmp_path / "run.npz")]

    class StopAfterOne(Callback):
        def on_epoch(self, run):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        make_moons_run([*callbacks(), StopAfterOne()]).run()
    make_moons_run(callbacks()).run()
    assert pandas.read_csv(tmp_path / "run.csv")["epoch"].tolist() == [1, 2, 3]


def test_csv_log_second_run_overwrites_file(tmp_path):
    log = CSVLog(tmp_path / "run.csv")
    for _ in range(2):
        make_moons_run([log], epochs=2).run()
    assert pandas.read_csv(tmp_path / "run.csv")["epoch"].tolist() == [1, 2]


def test_tensorboard_writes_curves(tmp_path):
    run = make_moons_run([TensorBoard(tmp_path)])
    run.run()
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("events.out.tfevents.")
    points = {}
    for record in read_tfrecords(file.read_bytes()):
        event = Event.FromString(record)
        for value in event.summary.value:
            points.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert set(points) == {"train_loss", "validation_loss", "learning_rate"}
    for name, curve in points.items():
        expected = [(e.number, getattr(e, name)) for e in run.history]
        np.testing.assert_allclose(curve, expected, rtol=1e-6)


def read_tfrecords(content):
    """Yield the records of a TFRecord file: length, checksum, bytes, checksum."""
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        yield content[12 : 12 + length]
        content = content[16 + length :]
