import io
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from trainer.cli import main
from trainer.fit.arrays import write_arrays
from trainer.fit.callbacks import EarlyStopping
from trainer.fit.checkpoint import Checkpoint, CheckpointError, content
from trainer.fit.loop import Callback, Rows, Run
from trainer.fit.update import Update
from trainer.nn import (
    SGD,
    BatchNorm,
    CategoricalCrossEntropy,
    Cosine,
    Dense,
    Dropout,
    Momentum,
    Nadam,
    Network,
    ReduceOnPlateau,
    WeightAverage,
)

N, BATCH, EPOCHS = 50, 16, 4
STEPS = 4 * EPOCHS


def data(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, 3)).astype(np.float32)
    return Rows(x, (x[:, 0] > 0).astype(np.int64))


UPDATES = {
    "nadam, cosine": lambda: Update(Nadam(0.01), schedule=Cosine()),
    "momentum, plateau": lambda: Update(Momentum(0.05), schedule=ReduceOnPlateau(1, 0.5)),
    "sgd, average": lambda: Update(SGD(0.05), average=WeightAverage(0.9)),
}


def a_run(update="nadam, cosine", callbacks=(), rows=None, epochs=EPOCHS, **options):
    rng = np.random.default_rng(5)
    layers = [Dense(8), BatchNorm("relu"), Dropout(0.3), Dense(2)]
    return Run(
        Network(3, layers, rng=rng), CategoricalCrossEntropy(), UPDATES[update](), rows or data(),
        epochs=epochs, batch_size=BATCH, rng=rng, validation=data(1), callbacks=callbacks,
        **options,
    )  # fmt: skip


class KilledError(Exception):
    pass


class KillAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        if run.steps == self.step:
            raise KilledError


def outcome(run):
    arrays = run.network.snapshot() | run.update.state()
    return arrays, run.history, [g.bit_generator.state for g in run.network.generators()]


@pytest.mark.slow
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("every", [1, 3])
def test_a_run_killed_at_any_step_ends_as_if_it_had_not_been(update, every, tmp_path):
    whole = a_run(update, [EarlyStopping(2)])
    whole.go()
    for step in range(1, whole.steps + 1):
        path = tmp_path / f"{step}.npz"
        killed = a_run(update, [EarlyStopping(2), Checkpoint(path, every=every), KillAt(step)])
        with pytest.raises(KilledError):
            killed.go()
        resumed = a_run(update, [EarlyStopping(2), Checkpoint(path, every=every)])
        resumed.go()
        for got, expected in zip(outcome(resumed), outcome(whole), strict=True):
            np.testing.assert_equal(got, expected)


def test_a_stream_is_resumed_too(tmp_path):
    def stream():
        rows = data()
        for start in range(0, N, 10):
            yield rows.features[start : start + 10], rows.targets[start : start + 10], None

    whole = a_run(rows=stream, steps_per_epoch=5)
    whole.go()
    for step in (1, 7, 10):
        path = tmp_path / f"{step}.npz"
        with pytest.raises(KilledError):
            a_run(
                rows=stream, callbacks=[Checkpoint(path, every=1), KillAt(step)], steps_per_epoch=5
            ).go()
        resumed = a_run(rows=stream, callbacks=[Checkpoint(path)], steps_per_epoch=5)
        resumed.go()
        np.testing.assert_array_equal(resumed.network.parameters, whole.network.parameters)


def test_another_runs_checkpoint_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    a_run(callbacks=[Checkpoint(path)]).go()
    for other in (
        a_run("sgd, average", [Checkpoint(path)]),
        a_run(callbacks=[Checkpoint(path, identity="other data")]),
        a_run(callbacks=[EarlyStopping(3), Checkpoint(path)]),
        a_run(callbacks=[Checkpoint(path)], epochs=EPOCHS + 1),
    ):
        with pytest.raises(CheckpointError, match="expected a checkpoint of this very run"):
            other.go()


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    write_arrays(path, content(a_run(callbacks=[Checkpoint(path)]), ""))
    saved = path.read_bytes()
    flipped = bytearray(saved)
    flipped[len(saved) // 3] ^= 255
    pickled = io.BytesIO()
    np.savez(pickled, progress=np.array([{}], dtype=object))
    for damaged in (b"", b"no zip", saved[: len(saved) // 2], bytes(flipped), pickled.getvalue()):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged file; delete it to begin anew"):
            a_run(callbacks=[Checkpoint(path)]).go()


def test_a_save_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    a_run(callbacks=[Checkpoint(path)]).go()
    before = path.read_bytes()

    def fail(handle):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        Checkpoint(path).on_epoch(a_run())
    assert path.read_bytes() == before


def test_saves_within_an_epoch_are_seconds_apart(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Checkpoint, "_save", lambda self, run: saved.append(run.steps))
    a_run(callbacks=[Checkpoint(tmp_path / "run.npz")]).go()
    assert saved == [4, 8, 12, 16]  # after each epoch only
    with pytest.raises(ValueError, match="at least 1 step"):
        Checkpoint(tmp_path / "run.npz", every=0)


STOPPED_AT_THIRD_SAVE = """
import os, signal, sys
from trainer.cli import main
from trainer.fit.checkpoint import Checkpoint

saves = 0

def save(self, run, real=Checkpoint._save):
    global saves
    real(self, run)
    saves += 1
    if saves == 3:
        os.kill(os.getpid(), signal.SIGSTOP)

Checkpoint._save = save
main(sys.argv[1:])
"""


def test_fit_killed_and_started_again_ends_in_the_same_graph(tmp_path, processes):
    def command(name):
        return ["fit", "digits", "--models", str(tmp_path), "--name", name, "--dropout", "0.2",
                "--epochs", "6", "--patience", "6", "--skip-baselines"]  # fmt: skip

    def fit(*arguments):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output

    fit(*command("whole"))
    checkpoint = tmp_path / "run.npz"
    again = [*command("killed"), "--checkpoint", str(checkpoint)]
    # It stops itself at its third save, where it is killed, so that it is never too late.
    process = processes.start(
        [sys.executable, "-c", STOPPED_AT_THIRD_SAVE, *again],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    assert not (tmp_path / "killed" / "1").exists()
    fit(*again)
    whole, killed = ((tmp_path / n / "1" / "model.onnx").read_bytes() for n in ("whole", "killed"))
    assert whole == killed
    assert not checkpoint.exists()  # done with
