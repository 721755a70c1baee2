"""What uses a preset or the monitored error: summaries, records, searches and diagnostics."""

import csv
import io
import json

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from trainer.cli import main
from trainer.config import Config
from trainer.nn import Adam, CategoricalCrossEntropy, Dense, Network
from trainer.pipeline import load_and_split, prepare_training, spawn_generators
from trainer.runs import _history_from_csv, _history_to_csv
from trainer.search import Grid, Journal
from trainer.search.grid_file import SearchPlan
from trainer.search.journal import hash_config
from trainer.search.run import search
from trainer.training.batches import TrainingRows
from trainer.training.callbacks import ProgressBar
from trainer.training.diagnostics import check_initial_state
from trainer.training.loop import VALIDATION_ERROR, Epoch, TrainingRun
from trainer.training.update import UpdateRule


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ("--epochs", "2"),
            "preset balanced, all 2 epochs; the weights are those of epoch {best}, with the "
            "lowest Brier score of the validation rows;",
        ),
        (
            ("--preset", "fast", "--patience", "1", "--learning-rate", "0.5"),
            "preset fast, stopped early, after epoch {run} of at most 200; the weights are those "
            "of epoch {best}, with the lowest loss of the validation rows;",
        ),
        (("--preset", "fast", "--epochs", "1"), "preset fast, 1 epoch; the weights are those of"),
    ],
    ids=["all", "stopped", "one"],
)
def test_fit_summary_tells_the_preset_and_how_training_ended(options, text, tmp_path):
    folders = ("--models", tmp_path / "models", "--runs", tmp_path / "runs")
    arguments = ["fit", "iris", *folders, "--hidden", "4", "--skip-baselines", *options]
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "models" / "iris" / "1" / "bundle.json").read_text())
    training = manifest["training"]
    text = text.format(run=training["epochs_run"], best=training["best_epoch"])
    assert f"training    {text}" in " ".join(done.stdout.split()).replace(
        "training preset", "training    preset"
    )


@pytest.mark.parametrize("metrics", [{VALIDATION_ERROR: 0.25}, {}, {"other": 1.0}], ids=str)
def test_history_file_keeps_the_validation_error(metrics):
    history = [Epoch(n, 0.5, 0.75, 0.01, metrics) for n in (1, 2)]
    text = _history_to_csv(history)
    header = next(csv.reader(io.StringIO(text)))
    assert (VALIDATION_ERROR in header) == (VALIDATION_ERROR in metrics)
    read = _history_from_csv(text)
    assert [e.train_loss for e in read] == [0.5, 0.5]
    assert [e.metrics.get(VALIDATION_ERROR) for e in read] == [metrics.get(VALIDATION_ERROR)] * 2


def test_history_file_with_other_columns_is_refused():
    with pytest.raises(ValueError, match="expected the columns epoch, learning_rate"):
        _history_from_csv("epoch,train_loss\n1,0.5\n")


def test_progress_bar_shows_the_validation_error():
    rng, out = np.random.default_rng(0), io.StringIO()
    rows = TrainingRows(rng.normal(size=(8, 2)).astype(np.float32), np.arange(8) % 3)
    run = TrainingRun(
        Network(2, [Dense(3)], rng=rng),
        CategoricalCrossEntropy(),
        UpdateRule(Adam(0.01)),
        rows,
        epochs=1,
        batch_size=8,
        rng=rng,
        validation=rows,
        callbacks=[ProgressBar(Console(file=out, force_terminal=True, width=120))],
        measure_error=True,
    )
    error = run.run()[0].metrics[VALIDATION_ERROR]
    assert f"squared error {error:.4f}" in out.getvalue()


def test_hash_config_preset_with_equal_values_is_the_same():
    fast = Config(data="iris", preset="fast")
    values = {name: getattr(fast, name) for name in Config.model_fields if name != "preset"}
    assert hash_config(Config(preset="balanced", **values)) == hash_config(fast)
    assert hash_config(Config(data="iris")) != hash_config(fast)


@pytest.mark.parametrize("method", ["grid", "halving"])
def test_search_over_presets_gives_each_candidate_the_values_of_its_preset(method, tmp_path):
    config = Config(data="iris", hidden=(3,), skip_baselines=True)
    if method == "grid":
        config = Config(data="iris", hidden=(3,), skip_baselines=True, epochs=2)
    values = {"preset": ["fast", "balanced"], "dropout": [0.0, 0.1]}
    journal = Journal(tmp_path / "journal.jsonl")
    result = search(config, Grid(SearchPlan(method=method), values), folds=2, journal=journal)
    assert len(result.candidates) == 4
    best = result.winner.parameters
    assert (result.config.preset, result.config.dropout) == (best["preset"], best["dropout"])
    assert result.config.optimizer == ("adam" if best["preset"] == "fast" else "adamw")
    if method == "halving":
        limit = config.resolve("multiclass", 105).epochs
        assert limit / 3 < result.winner.epochs <= limit


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_initial_loss_is_divided_by_that_of_equal_probabilities(smoothing):
    rng = np.random.default_rng(0)
    rows = TrainingRows(rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 3, 50))
    network = Network(4, [Dense(3)], rng=rng)
    loss = CategoricalCrossEntropy(smoothing)
    value = loss.value(network.logits(rows.features), rows.targets)
    measured = next(
        m for m in check_initial_state(network, rows, loss) if m.fault == "initial_loss"
    )
    assert measured.value == pytest.approx(value / np.log(3), rel=1e-5)


@pytest.mark.parametrize("data", ["moons", "circles", "breast_cancer", "iris", "wine", "diabetes"])
def test_initial_state_of_the_default_has_no_fault(data):
    config = Config(data=data)
    table, split = load_and_split(config)
    for seed in range(40):
        task = prepare_training(table, split, config, spawn_generators(seed)[0])
        network, loss = task.model.network, task.model.loss
        measurements = check_initial_state(network, task.sample_training_rows(), loss)
        assert [str(m) for m in measurements if not m.is_healthy] == []
