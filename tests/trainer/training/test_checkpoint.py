import io
import itertools
import os

import numpy as np
import pytest
from click.testing import CliRunner

from tests.killed import every_moment, restore
from trainer.cli import main
from trainer.nn import (
    SGD,
    AdamW,
    BatchNorm,
    CategoricalCrossEntropy,
    Cosine,
    Dense,
    Dropout,
    FlatCosine,
    Members,
    Momentum,
    Nadam,
    Network,
    ReduceOnPlateau,
    WeightAverage,
)
from trainer.training.array_file import read_arrays, write_arrays
from trainer.training.batches import TrainingRows
from trainer.training.callbacks import EarlyStopping
from trainer.training.checkpoint import Checkpoint, CheckpointError, collect_state
from trainer.training.loop import VALIDATION_ERROR, Callback, TrainingRun
from trainer.training.update import UpdateRule

N_ROWS, BATCH_ROWS, EPOCHS = 50, 16, 4


def make_rows(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N_ROWS, 3)).astype(np.float32)
    return TrainingRows(x, (x[:, 0] > 0).astype(np.int64))


UPDATE_MAKERS = {
    "nadam, cosine": lambda: UpdateRule(Nadam(0.01), schedule=Cosine()),
    "momentum, plateau": lambda: UpdateRule(Momentum(0.05), schedule=ReduceOnPlateau(1, 0.5)),
    "sgd, average": lambda: UpdateRule(SGD(0.05), average=WeightAverage(0.9)),
    "adamw, layer rates, both schedules, average": lambda: UpdateRule(
        AdamW(0.05, weight_decay=0.1, beta2=0.95),
        schedule=Cosine(),
        regularization_schedule=FlatCosine(),
        has_layer_rates=True,
        average=WeightAverage(0.9),
    ),
}


def make_layers():
    return [Dense(8), BatchNorm("relu"), Dropout(0.3), Dense(2)]


def make_run(
    update="nadam, cosine", callbacks=(), rows=None, epochs=EPOCHS, layers=None, **options
):
    rng = np.random.default_rng(5)
    return TrainingRun(
        Network(3, layers or make_layers(), rng=rng),
        CategoricalCrossEntropy(),
        UPDATE_MAKERS[update](),
        rows or make_rows(),
        epochs=epochs,
        batch_size=BATCH_ROWS,
        rng=rng,
        validation=make_rows(1),
        callbacks=callbacks,
        **options,
    )


class KilledError(Exception):
    pass


class KillAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        if run.steps == self.step:
            raise KilledError


@pytest.mark.slow
def test_checkpoint_run_that_stops_by_squared_error_resumes_to_same_bits(tmp_path):
    name = "adamw, layer rates, both schedules, average"

    def make(*callbacks):
        stopping = EarlyStopping(2, monitor="squared_error")
        return make_run(name, [stopping, *callbacks], epochs=8, measure_error=True)

    whole = make()
    whole.run()
    assert all(0 < e.metrics[VALIDATION_ERROR] < 2 for e in whole.history)
    for step in (1, 5, 8, 9, whole.steps - 1, whole.steps):
        path = tmp_path / f"{step}.npz"
        with pytest.raises(KilledError):
            make(Checkpoint(path, every_n_steps=1), KillAt(step)).run()
        resumed = make(Checkpoint(path, every_n_steps=1))
        resumed.run()
        for got, expected in zip(collect_outcome(resumed), collect_outcome(whole), strict=True):
            np.testing.assert_equal(got, expected)


def collect_outcome(run):
    arrays = run.network.snapshot() | run.update.state()
    return arrays, run.history, [g.bit_generator.state for g in run.network.generators()]


@pytest.mark.slow
@pytest.mark.parametrize("update", UPDATE_MAKERS)
@pytest.mark.parametrize("every", [1, 3])
def test_checkpoint_run_killed_at_any_step_resumes_to_same_bits(update, every, tmp_path):
    whole = make_run(update, [EarlyStopping(2)])
    whole.run()
    for step in range(1, whole.steps + 1):
        path = tmp_path / f"{step}.npz"
        killed = make_run(
            update, [EarlyStopping(2), Checkpoint(path, every_n_steps=every), KillAt(step)]
        )
        with pytest.raises(KilledError):
            killed.run()
        resumed = make_run(update, [EarlyStopping(2), Checkpoint(path, every_n_steps=every)])
        resumed.run()
        for got, expected in zip(collect_outcome(resumed), collect_outcome(whole), strict=True):
            np.testing.assert_equal(got, expected)


def test_checkpoint_members_resume_to_same_bits(tmp_path):
    def create(*callbacks):
        return make_run(
            "nadam, cosine", callbacks, layers=[Members(*(make_layers() for _ in range(2)))]
        )

    whole = create()
    whole.run()
    for step in (1, 6, whole.steps - 1):
        path = tmp_path / f"{step}.npz"
        with pytest.raises(KilledError):
            create(Checkpoint(path, every_n_steps=1), KillAt(step)).run()
        resumed = create(Checkpoint(path))
        resumed.run()
        for got, expected in zip(collect_outcome(resumed), collect_outcome(whole), strict=True):
            np.testing.assert_equal(got, expected)


def test_checkpoint_of_another_number_of_members_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    with pytest.raises(KilledError):
        make_run(callbacks=[Checkpoint(path, every_n_steps=1), KillAt(1)]).run()
    members = [Members(make_layers(), make_layers())]
    with pytest.raises(CheckpointError, match="with other data or options"):
        make_run(callbacks=[Checkpoint(path)], layers=members).run()


def test_checkpoint_stream_resumes_to_same_bits(tmp_path):
    def stream():
        rows = make_rows()
        for start in range(0, N_ROWS, 10):
            yield rows.features[start : start + 10], rows.targets[start : start + 10], None

    whole = make_run(rows=stream, steps_per_epoch=5)
    whole.run()
    for step in (1, 7, 10):
        path = tmp_path / f"{step}.npz"
        with pytest.raises(KilledError):
            make_run(
                rows=stream,
                callbacks=[Checkpoint(path, every_n_steps=1), KillAt(step)],
                steps_per_epoch=5,
            ).run()
        resumed = make_run(rows=stream, callbacks=[Checkpoint(path)], steps_per_epoch=5)
        resumed.run()
        np.testing.assert_array_equal(resumed.network.parameters, whole.network.parameters)


def test_checkpoint_of_other_run_raises_checkpoint_error(tmp_path):
    path = tmp_path / "run.npz"
    make_run(callbacks=[Checkpoint(path)]).run()
    for other in (
        make_run("sgd, average", [Checkpoint(path)]),
        make_run(callbacks=[Checkpoint(path, identity="other data")]),
        make_run(callbacks=[EarlyStopping(3), Checkpoint(path)]),
        make_run(callbacks=[Checkpoint(path)], epochs=EPOCHS + 1),
    ):
        with pytest.raises(CheckpointError, match="expected a checkpoint of this run"):
            other.run()


def test_checkpoint_damaged_file_raises_checkpoint_error(tmp_path):
    path = tmp_path / "run.npz"
    write_arrays(path, collect_state(make_run(callbacks=[Checkpoint(path)]), ""))
    saved = path.read_bytes()
    flipped = bytearray(saved)
    flipped[len(saved) // 3] ^= 255
    pickled = io.BytesIO()
    np.savez(pickled, progress=np.array([{}], dtype=object))
    for damaged in (b"", b"no zip", saved[: len(saved) // 2], bytes(flipped), pickled.getvalue()):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged file; delete it to start from scratch"):
            make_run(callbacks=[Checkpoint(path)]).run()


def test_checkpoint_save_fails_leaves_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    make_run(callbacks=[Checkpoint(path)]).run()
    before = path.read_bytes()

    def fail(handle):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        Checkpoint(path).on_epoch(make_run())
    assert path.read_bytes() == before


def test_checkpoint_short_epochs_saves_after_each_epoch_only(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Checkpoint, "_save", lambda self, run: saved.append(run.steps))
    make_run(callbacks=[Checkpoint(tmp_path / "run.npz")]).run()
    assert saved == [4, 8, 12, 16]  # after each epoch only
    with pytest.raises(ValueError, match="at least 1 step"):
        Checkpoint(tmp_path / "run.npz", every_n_steps=0)


def test_checkpoint_every_n_steps_saves_within_epochs(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Checkpoint, "_save", lambda self, run: saved.append(run.steps))
    make_run(callbacks=[Checkpoint(tmp_path / "run.npz", every_n_steps=3)]).run()
    assert saved == [3, 4, 6, 8, 9, 12, 12, 15, 16]  # and after each epoch of four


@pytest.mark.slow
def test_fit_killed_and_repeated_exports_same_graph(tmp_path):
    checkpoint = tmp_path / "run.npz"

    def fit(name, *more):
        """Return the exported graph, and each state that the folder was in."""
        command = [
            "fit",
            "wine",
            "--models",
            str(tmp_path),
            "--name",
            name,
            "--dropout",
            "0.2",
            "--hidden",
            "8",
            "--epochs",
            "6",
            "--skip-baselines",
            *more,
        ]
        with every_moment(tmp_path) as moments:
            done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
        assert not checkpoint.exists()  # it is deleted after the export
        return (tmp_path / name / "1" / "model.onnx").read_bytes(), moments.states

    def list_saves(states):
        return list(
            dict.fromkeys(state[checkpoint.name] for state in states if checkpoint.name in state)
        )

    whole, _ = fit("whole")
    _, states = fit("killed", "--checkpoint", str(checkpoint))
    assert len(list_saves(states)) == 6
    # The state of the folder while the checkpoint was saved for the third time.
    second = [s for s in states if s.get(checkpoint.name) == list_saves(states)[1]][1]
    assert f".{checkpoint.name}.building" in second
    assert "killed/1" not in second
    restore(second, tmp_path)
    graph, states = fit("killed", "--checkpoint", str(checkpoint))
    assert graph == whole
    assert (
        len(list_saves(states)) == 1 + 4
    )  # the restored one, and one for each epoch from the third


@pytest.mark.parametrize("first", [True, False])
def test_write_arrays_killed_at_any_moment_leaves_old_or_new_file(first, tmp_path):
    path, old, new = tmp_path / "a.npz", {"x": np.arange(5)}, {"x": np.arange(3) + 7.5}
    if not first:
        write_arrays(path, old)
    with every_moment(tmp_path) as moments:
        write_arrays(path, new)
    assert moments.calls == {"write", "fsync", "rename"}
    contents = []
    for state in moments.states:
        restore(state, tmp_path)
        contents.append(read_arrays(path)["x"].tolist() if path.exists() else None)
        write_arrays(path, old)  # a temporary file that is left does no harm
        assert list(tmp_path.iterdir()) == [path]
    before = None if first else [0, 1, 2, 3, 4]
    assert [x for x, _ in itertools.groupby(contents)] == [before, [7.5, 8.5, 9.5]]


def test_write_arrays_syncs_after_writing_all_bytes(tmp_path, monkeypatch):
    synced = []
    building = tmp_path / ".a.npz.building"
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(building.read_bytes()))
    write_arrays(tmp_path / "a.npz", {"x": np.arange(5)})
    assert synced == [(tmp_path / "a.npz").read_bytes()]
