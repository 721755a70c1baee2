"""The option `numbers`: periodic embeddings from the configuration to the bundle."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from trainer.check import check_run
from trainer.cli import main
from trainer.config import Config, normalize_run_identity
from trainer.nn import Embedding, PeriodicEmbedding
from trainer.pipeline import load_and_split, prepare_training, train
from trainer.training.loop import Callback

QUICK = {"hidden": (8,), "epochs": 4, "skip_baselines": True}


@pytest.mark.parametrize(
    ("given", "numbers", "scaling"),
    [
        ({}, "scaled", "standard"),
        ({"numbers": "pbld"}, "pbld", "robust_clip"),
        ({"numbers": "pbld", "scaling": "standard"}, "pbld", "standard"),
        ({"preset": "best"}, "pbld", "robust_clip"),
        ({"preset": "best", "scaling": "quantile"}, "pbld", "quantile"),
        ({"preset": "best", "numbers": "scaled"}, "scaled", "standard"),
        ({"preset": "fast", "numbers": "pbld"}, "pbld", "robust_clip"),
    ],
)
def test_config_scaling_follows_numbers_unless_it_is_given(given, numbers, scaling):
    config = Config(data="iris", **given)
    assert (config.numbers, config.scaling) == (numbers, scaling)
    assert Config(**config.model_dump(exclude_unset=True)) == config


def build_network(path, text, **options):
    path.write_text(text)
    config = Config(data=str(path), numbers="pbld", one_hot=3, **QUICK, **options)
    table, split = load_and_split(config)
    return prepare_training(table, split, config, np.random.default_rng(0)).model


def test_prepare_training_embeds_numbers_and_booleans_but_no_other_inputs(tmp_path, rng):
    rows = [
        f"{rng.normal():.3f},{'true' if i % 2 else 'false'},{'' if i % 9 == 0 else i / 7:.4},"
        f"2024-01-{1 + i % 28:02},w{i % 5},{'yes' if rng.random() < 0.5 else 'no'}"
        if i % 9
        else f"{rng.normal():.3f},true,,2024-02-01,w{i % 5},{'yes' if i % 2 else 'no'}"
        for i in range(120)
    ]
    text = "\n".join(["a,flag,gap,day,word,kind", *rows]) + "\n"
    model = build_network(tmp_path / "t.csv", text, rare=1)
    first, second, *_ = model.network.layers
    assert isinstance(first, PeriodicEmbedding)
    assert first.n_numbers == model.encoder.n_scaled_numbers == 3
    assert isinstance(second, Embedding)
    assert model.encoder.width > 3 + len(second.sizes)


def test_prepare_training_without_numbers_has_no_periodic_embedding(tmp_path):
    rows = [f"w{i % 3},{'yes' if i % 2 else 'no'}" for i in range(120)]
    model = build_network(tmp_path / "t.csv", "\n".join(["word,kind", *rows]) + "\n", rare=1)
    assert not any(isinstance(layer, PeriodicEmbedding) for layer in model.network.layers)


class StopRun(Callback):
    """Interrupt a run after some epochs."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch(self, run):
        if len(run.history) == self.epochs:
            raise KeyboardInterrupt


def test_train_embedded_numbers_resumes_to_same_bits(tmp_path):
    config = Config(data="wine", numbers="pbld", **QUICK)
    whole = train(config, np.random.default_rng(0))
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        train(config, np.random.default_rng(0), callbacks=[StopRun(2)], checkpoint=checkpoint)
    assert checkpoint.exists()
    resumed = train(config, np.random.default_rng(0), checkpoint=checkpoint)
    np.testing.assert_array_equal(resumed.model.network.parameters, whole.model.network.parameters)


def test_run_identity_of_earlier_checkpoint_has_scaled_numbers():
    options = Config(data="iris", preset="fast").model_dump(mode="json")
    earlier = {name: value for name, value in options.items() if name != "numbers"}
    assert normalize_run_identity(f"x {json.dumps(earlier)}") == normalize_run_identity(
        f"x {json.dumps(options)}"
    )
    embedded = options | {"numbers": "pbld"}
    assert normalize_run_identity(f"x {json.dumps(embedded)}") != normalize_run_identity(
        f"x {json.dumps(options)}"
    )


@pytest.mark.slow
def test_check_run_embedded_numbers_have_right_gradients():
    config = Config(data="wine", numbers="pbld", **(QUICK | {"epochs": 30}))
    measured = list(check_run(config))
    assert [str(m) for m in measured if not m.is_healthy] == []
    places = {m.where for m in measured if m.fault == "wrong_gradient" and m.where}
    for name in ("frequencies", "phases", "W", "b"):
        assert any(f"{name} of layer 1, PeriodicEmbedding(13, 16, 3)" in p for p in places)


@pytest.mark.slow
def test_search_grid_over_numbers_tries_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text('numbers = ["scaled", "pbld"]\n')
    result = CliRunner().invoke(
        main,
        [
            *[
                "search",
                "iris",
                "--grid",
                "grid.toml",
                "--folds",
                "2",
                "--hidden",
                "4",
                "--epochs",
                "2",
                "--json",
            ]
        ],
    )
    assert result.exit_code == 0, result.output
    assert "pbld" in result.stdout
    assert "scaled" in result.stdout
