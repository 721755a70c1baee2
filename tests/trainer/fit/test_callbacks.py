import io
import sys

import numpy as np
import pytest
from rich.console import Console

from trainer.fit.callbacks import EarlyStopping, ProgressBar
from trainer.fit.loop import Epoch, Rows, Run
from trainer.fit.update import Update
from trainer.nn import SGD, Dense, MeanSquaredError, Network


def a_run(epochs, rng):
    rows = Rows(np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32))
    return Run(Network(1, [Dense(1)], rng=rng), MeanSquaredError(), Update(SGD(1)), rows,
               epochs=epochs, batch_size=1, rng=rng)  # fmt: skip


def replay(callback, losses, rng):
    """A run with these validation losses, whose weights are the number of the epoch."""
    run = a_run(len(losses), rng)
    callback.on_start(run)
    for number, loss in enumerate(losses, start=1):
        run.network.parameters[...] = number
        run.history.append(Epoch(number, 1.0, loss))
        callback.on_epoch(run)
        if run.stop:
            break
    callback.on_end(run)
    return run


def test_early_stopping_keeps_the_best_weights(rng):
    stopping = EarlyStopping(patience=2)
    run = replay(stopping, [3, 1, 2, 2, 0], rng)
    assert len(run.history) == 4
    assert stopping.best_epoch == 2
    assert (run.network.parameters == 2).all()


def test_an_equal_loss_is_no_better(rng):
    stopping = EarlyStopping(patience=3)
    assert len(replay(stopping, [1, 1, 1, 1, 1], rng).history) == 4
    assert stopping.best_epoch == 1


def test_a_run_that_gets_better_to_the_end_is_not_stopped(rng):
    run = replay(EarlyStopping(patience=1), [5, 4, 3], rng)
    assert not run.stop
    assert (run.network.parameters == 3).all()


def test_early_stopping_asks_for_validation_rows(rng):
    with pytest.raises(ValueError, match="expected validation rows"):
        replay(EarlyStopping(1), [None], rng)
    with pytest.raises(ValueError, match="at least 1 epoch; got 0"):
        EarlyStopping(0)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_bar_speaks_to_terminals_only(terminal, rng):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    replay(ProgressBar(console), [0.5, 0.25], rng)
    assert ("epoch 2/2" in out.getvalue()) == terminal
    assert ("validation 0.2500" in out.getvalue()) == terminal
    assert terminal or out.getvalue() == ""


def test_the_progress_bar_leaves_stdout_to_results():
    assert ProgressBar()._progress.console.file is sys.stderr


def test_the_bar_of_a_run_that_stopped_early_is_full(rng):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    run = a_run(9, rng)
    run.stop = True
    bar = ProgressBar(console)
    bar.on_start(run)
    run.history.append(Epoch(1, 0.5, 0.5))
    bar.on_epoch(run)
    bar.on_end(run)
    assert "epoch 1/1" in out.getvalue()


def test_parameters_are_copied_when_kept(rng):
    run = replay(EarlyStopping(5), [1, 2], rng)
    assert (run.network.parameters == 1).all()
    assert np.shares_memory(run.network.parameters, run.network.layers[0].W)
