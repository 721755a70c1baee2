"""Presets: which values the options have that are not given."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from serving.bundle import Bundle
from trainer.cli import main
from trainer.compress.load_trained import load_trained
from trainer.config import Config, normalize_run_identity
from trainer.data.tables import DataError
from trainer.fit_options import NetworkOptions, TrainingOptions
from trainer.nn import Adam, AdamW
from trainer.option_errors import list_option_errors
from trainer.pipeline import fit, train
from trainer.presets import DIFFERENCES, PRESETS, choose_epochs
from trainer.search.candidates import apply_parameters
from trainer.search.journal import hash_config

# The defaults of the version before there were presets.
EARLIER_DEFAULTS = {
    "hidden": (256,),
    "activation": ("relu",),
    "initializer": None,
    "dropout": 0,
    "input_dropout": 0,
    "batch_norm": False,
    "loss": "mse",
    "label_smoothing": 0,
    "class_weight": None,
    "optimizer": "adam",
    "learning_rate": 0.001,
    "schedule": "constant",
    "l1": 0,
    "l2": 0,
    "weight_decay": 0,
    "clip_norm": None,
    "clip_value": None,
    "max_norm": None,
    "average": 0,
    "batch_size": 32,
    "epochs": 200,
    "patience": 20,
    "validation": 0.1,
    "seed": 0,
    "test": 0.2,
    "positive": None,
    "aim": None,
    "calibrate": False,
    "scaling": "standard",
    "rare": 10,
    "one_hot": 32,
    "unseen": "unknown",
    "gaps": "as_trained",
    "target_scaling": "standard",
}
# What the options that were added with the presets have to be for the same training as before.
WITHOUT_NEW_PARTS = {
    "layer_rates": "equal",
    "beta2": 0.999,
    "regularization_schedule": "constant",
    "monitor": "loss",
    "clip_predictions": False,
    "members": 1,
    "numbers": "scaled",
}
BALANCED = {
    "hidden": (128, 128, 128),
    "activation": ("swish",),
    "initializer": "data",
    "dropout": 0.15,
    "optimizer": "adamw",
    "layer_rates": "fan_in",
    "beta2": 0.95,
    "schedule": "cosine",
    "regularization_schedule": "flat_cosine",
    "average": 0.998,
    "batch_size": 128,
    "patience": 24,
}
QUICK = {"hidden": (4,), "epochs": 2, "skip_baselines": True}


def get_values(config, names):
    return {name: getattr(config, name) for name in names}


def test_config_preset_fast_has_the_earlier_defaults():
    config = Config(data="iris", preset="fast")
    assert get_values(config, EARLIER_DEFAULTS) == EARLIER_DEFAULTS
    assert get_values(config, WITHOUT_NEW_PARTS) == WITHOUT_NEW_PARTS
    for task in ("binary", "multiclass", "regression"):
        resolved = config.resolve(task, 1_000_000)
        assert resolved.model_dump() == config.model_dump()


def test_preset_fast_no_option_of_the_training_follows_the_default_unseen():
    # A new option of the network or the training must not change what `fast` trains.
    names = {*NetworkOptions.model_fields, *TrainingOptions.model_fields} - {"preset"}
    assert names == (names & EARLIER_DEFAULTS.keys()) | (names & WITHOUT_NEW_PARTS.keys())


def test_config_without_preset_is_balanced():
    config = Config(data="iris")
    assert config.preset == "balanced"
    assert get_values(config, BALANCED) == BALANCED
    assert config == Config(data="iris", preset="balanced")
    assert config.model_fields_set == {"data"}


@pytest.mark.parametrize("preset", PRESETS)
def test_config_given_option_takes_precedence_over_preset(preset):
    given = {"hidden": (7,), "dropout": 0.4, "schedule": "step", "patience": 3, "calibrate": True}
    config = Config(data="iris", preset=preset, **given)
    assert get_values(config, given) == given
    assert config.model_fields_set == {"data", "preset", *given}
    others = DIFFERENCES[preset].keys() - given.keys()
    assert get_values(config, others) == {name: DIFFERENCES[preset][name] for name in others}


@pytest.mark.parametrize(
    ("options", "layer_rates"),
    [
        ({}, "fan_in"),
        ({"optimizer": "adam"}, "fan_in"),
        ({"optimizer": "adamw"}, "fan_in"),
        ({"optimizer": "sgd"}, "equal"),
        ({"optimizer": "nadam"}, "equal"),
        ({"learning_rate": 0.01}, "equal"),
        ({"learning_rate": 0.01, "layer_rates": "fan_in"}, "fan_in"),
        ({"preset": "fast"}, "equal"),
        ({"preset": "fast", "layer_rates": "fan_in"}, "fan_in"),
        ({"preset": "best"}, "fan_in"),
        ({"preset": "best", "learning_rate": 0.01}, "equal"),
    ],
    ids=str,
)
def test_config_layer_rates_are_equal_for_a_given_rate_or_another_optimizer(options, layer_rates):
    assert Config(data="iris", **options).layer_rates == layer_rates


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "rmsprop", "nadam"])
def test_config_layer_rates_of_an_optimizer_without_them_are_refused(optimizer):
    with pytest.raises(ValidationError, match="layer_rates: expected the optimizer adam or adamw"):
        Config(data="iris", optimizer=optimizer, layer_rates="fan_in")


@pytest.mark.parametrize(
    ("task", "options", "expected"),
    [
        (
            "multiclass",
            {},
            {
                "learning_rate": 0.04,
                "weight_decay": 0.02,
                "epochs": 128,
                "monitor": "squared_error",
                "label_smoothing": 0.1,
                "calibrate": True,
                "clip_predictions": False,
            },
        ),
        (
            "regression",
            {},
            {
                "learning_rate": 0.2,
                "weight_decay": 0.02,
                "epochs": 128,
                "monitor": "squared_error",
                "label_smoothing": 0.0,
                "calibrate": False,
                "clip_predictions": True,
            },
        ),
        ("multiclass", {"calibrate": False}, {"label_smoothing": 0.0, "calibrate": False}),
        ("binary", {}, {"label_smoothing": 0.0, "calibrate": True, "learning_rate": 0.04}),
        ("binary", {"calibrate": False}, {"label_smoothing": 0.0, "calibrate": False}),
        ("binary", {"label_smoothing": 0.2}, {"label_smoothing": 0.2, "calibrate": True}),
        ("binary", {"label_smoothing": 0}, {"label_smoothing": 0, "calibrate": True}),
        ("binary", {"layer_rates": "equal"}, {"learning_rate": 0.001, "weight_decay": 0.02}),
        ("regression", {"optimizer": "adam"}, {"learning_rate": 0.2, "weight_decay": 0.0}),
        ("regression", {"optimizer": "sgd"}, {"learning_rate": 0.001, "weight_decay": 0.0}),
        ("regression", {"learning_rate": 0.7}, {"learning_rate": 0.7, "layer_rates": "equal"}),
        ("regression", {"loss": "mae"}, {"monitor": "loss", "clip_predictions": True}),
        ("regression", {"loss": "poisson"}, {"monitor": "loss", "clip_predictions": True}),
        ("regression", {"clip_predictions": False}, {"clip_predictions": False}),
        ("regression", {"epochs": 5, "monitor": "loss"}, {"epochs": 5, "monitor": "loss"}),
        ("binary", {"preset": "fast"}, {"calibrate": False, "label_smoothing": 0}),
        (
            "binary",
            {"preset": "fast", "calibrate": True},
            {"calibrate": True, "label_smoothing": 0, "learning_rate": 0.001, "epochs": 200},
        ),
    ],
    ids=str,
)
def test_config_resolve_chooses_the_missing_values_for_the_task(task, options, expected):
    resolved = Config(data="t.csv", **options).resolve(task, 5000)
    assert get_values(resolved, expected) == expected
    assert resolved.resolve(task, 12) == resolved  # all values are chosen


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_config_resolved_values_given_to_another_config_are_the_same(task):
    resolved = Config(data="t.csv").resolve(task, 5000)
    for options in (resolved.model_dump(), resolved.model_dump(exclude_unset=True)):
        assert Config.model_validate(options).model_dump() == resolved.model_dump()


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("multiclass", {"clip_predictions": True}),
        ("binary", {"clip_predictions": True, "preset": "fast"}),
        ("regression", {"calibrate": True}),
        ("regression", {"label_smoothing": 0.1}),
    ],
    ids=str,
)
def test_config_resolve_option_of_another_task_is_refused(task, options):
    with pytest.raises(DataError, match="got a (classification|regression) task; leave"):
        Config(data="t.csv", **options).resolve(task, 100)


def test_build_update_rule_before_resolve_raises_value_error():
    with pytest.raises(ValueError, match=r"a value of weight_decay; .*call Config.resolve first"):
        Config(data="iris").build_update_rule()


def test_build_update_rule_of_each_preset_has_its_optimizer():
    fast = Config(data="iris", preset="fast").resolve("multiclass", 100).build_update_rule()
    assert type(fast.optimizer) is Adam
    assert (fast.optimizer.learning_rate, fast.optimizer.beta2) == (0.001, 0.999)
    assert not fast.has_layer_rates
    assert fast.average is None
    balanced = Config(data="iris").resolve("multiclass", 100).build_update_rule()
    assert type(balanced.optimizer) is AdamW
    assert (balanced.optimizer.learning_rate, balanced.optimizer.beta2) == (0.04, 0.95)
    assert balanced.optimizer.weight_decay == 0.02
    assert balanced.has_layer_rates
    assert balanced.schedule.name == "cosine"
    assert balanced.regularization_schedule.name == "flat_cosine"


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "epochs"),
    [
        (1, 128, 500),  # at least 500 steps
        (128, 128, 500),
        (129, 128, 250),
        (1000, 128, 128),  # 8 steps in an epoch
        (9_999, 128, 128),
        (10_000, 128, 64),
        (40_000, 128, 64),
        (60_000, 128, 63),  # 469 steps in an epoch, at most 30,000 in all
        (10_000_000, 128, 1),
        (30_001, 1, 1),
        (15_000, 1, 2),
    ],
)
def test_choose_epochs_number_of_steps_is_within_bounds(n_rows, batch_size, epochs):
    assert choose_epochs(n_rows, batch_size) == epochs
    steps = epochs * -(-n_rows // batch_size)
    assert steps >= 500
    assert steps <= 30_000 or epochs == 1


@pytest.mark.parametrize(
    ("value", "suggestion"), [("balancd", "balanced"), ("fats", "fast"), ("Best", "best")]
)
def test_config_unknown_preset_is_refused_with_a_suggestion(value, suggestion):
    with pytest.raises(ValidationError) as caught:
        Config(data="iris", preset=value)
    message = list_option_errors(caught.value, Config)
    assert message.startswith("--preset: expected one of fast, balanced or best; got ")
    assert message.endswith(f"did you mean {suggestion}?")
    done = CliRunner().invoke(main, ["fit", "iris", "--preset", value])
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize("value", [3, None, ["fast"], {}])
def test_config_preset_of_another_type_is_refused(value):
    with pytest.raises(ValidationError, match="preset"):
        Config(data="iris", preset=value)


def test_fit_preset_of_toml_file_applies_under_the_command_line(tmp_path):
    (tmp_path / "run.toml").write_text(
        'data = "iris"\npreset = "fast"\nepochs = 2\nhidden = [4]\nskip-baselines = true\n'
    )
    places = ["--models", str(tmp_path / "models"), "--runs", str(tmp_path / "runs")]
    command = ["fit", "--config", str(tmp_path / "run.toml"), *places]
    for arguments, activation in (([], ["relu"]), (["--preset", "balanced"], ["swish"])):
        done = CliRunner().invoke(main, [*command, *arguments])
        assert done.exit_code == 0, done.output
        bundle = Bundle.open(max((tmp_path / "models" / "iris").iterdir()))
        config = bundle.manifest.training.config
        assert (config["activation"], config["hidden"], config["epochs"]) == (activation, [4], 2)


@pytest.mark.parametrize("data", ["iris", "diabetes"])
def test_fit_manifest_has_the_preset_and_every_value(data, tmp_path):
    bundle, trained = fit(Config(data=data, models=tmp_path, **QUICK))
    config = json.loads((bundle.path / "bundle.json").read_text())["training"]["config"]
    assert config.keys() == Config.model_fields.keys() - {"models", "runs"}
    assert config["preset"] == "balanced"
    assert config["hidden"] == [4]
    assert config["learning_rate"] == (0.2 if data == "diabetes" else 0.04)
    # No value is left open but those that mean "none" or "as inferred".
    open_options = {name for name, value in config.items() if value is None}
    assert open_options == {
        *("target", "task", "missing", "group", "time", "delimiter", "decimal", "encoding"),
        *("class_weight", "clip_value", "max_norm", "positive", "aim", "name"),
        *(() if data == "diabetes" else ("clip_norm",)),
    }
    assert config["clip_norm"] == (3 if data == "diabetes" else None)
    assert trained.config.resolve(trained.table.task, 1) == trained.config


@pytest.mark.parametrize("data", ["wine", "diabetes"])
def test_load_trained_manifest_without_preset_is_read_as_fast(data, tmp_path):
    bundle, trained = fit(Config(data=data, models=tmp_path, preset="fast", **QUICK))
    path = bundle.path / "bundle.json"
    manifest = json.loads(path.read_text())
    for name in ("preset", *WITHOUT_NEW_PARTS):
        del manifest["training"]["config"][name]
    path.write_text(json.dumps(manifest))
    loaded = load_trained(Bundle.open(bundle.path))
    assert loaded.config.preset == "fast"
    assert get_values(loaded.config, WITHOUT_NEW_PARTS) == WITHOUT_NEW_PARTS
    assert loaded.model.value_range is None
    np.testing.assert_array_equal(loaded.model.network.parameters, trained.model.network.parameters)


def test_normalize_run_identity_options_without_preset_are_those_of_fast():
    options = Config(data="iris", preset="fast", hidden=(5,)).resolve("multiclass", 100)
    saved = json.loads(options.model_dump_json())
    earlier = {k: v for k, v in saved.items() if k not in {"preset", *WITHOUT_NEW_PARTS}}
    found, expected = (normalize_run_identity(f"0 {json.dumps(o)}") for o in (earlier, saved))
    assert found == expected
    balanced = Config(data="iris", hidden=(5,)).resolve("multiclass", 100)
    assert normalize_run_identity(f"0 {balanced.model_dump_json()}") != expected


def test_apply_parameters_preset_of_a_candidate_applies_to_options_not_given():
    config = Config(data="iris", dropout=0.3)
    fast = apply_parameters(config, {"preset": "fast"})
    assert (fast.hidden, fast.optimizer, fast.dropout) == ((256,), "adam", 0.3)
    assert apply_parameters(config, {"preset": "balanced"}).hidden == (128, 128, 128)
    assert apply_parameters(config, {"learning_rate": 0.01}).layer_rates == "equal"
    hashes = {hash_config(apply_parameters(config, {"preset": p})) for p in ("fast", "balanced")}
    assert len(hashes) == 2


@pytest.mark.slow
def test_search_grid_of_presets_trains_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text('preset = ["fast", "balanced"]')
    command = ["search", "iris", "--grid", "grid.toml", "--folds", "2", "--epochs", "8", "--json"]
    done = CliRunner().invoke(main, [*command, "--skip-baselines"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert {c["parameters"]["preset"] for c in report["candidates"]} == {"fast", "balanced"}
    bundle = Bundle.open(tmp_path / report["fit"]["bundle"])
    winner = report["candidates"][0]["parameters"]["preset"]
    assert bundle.manifest.training.config["preset"] == winner
    assert bundle.manifest.training.config["hidden"] == ([256] if winner == "fast" else [128] * 3)


@pytest.mark.parametrize("data", ["wine", "breast_cancer", "diabetes"])
def test_train_preset_fast_equals_the_earlier_defaults_written_out(data):
    options = EARLIER_DEFAULTS | WITHOUT_NEW_PARTS | {"epochs": 3}
    written, preset = (
        train(config, np.random.default_rng(4)).model.network.parameters
        for config in (Config(data=data, **options), Config(data=data, preset="fast", epochs=3))
    )
    np.testing.assert_array_equal(written, preset)


def test_config_learning_rate_none_counts_as_not_given():
    assert Config(data="any", learning_rate=None).layer_rates == "fan_in"
