"""The commands fit, check and verify, with their output and exit status."""

import json
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from serving.bundle import Bundle
from tests.variants import keep_unchanged, negate_weights, write_variants
from trainer import check
from trainer.cli import main
from trainer.nn import LOSSES


@pytest.fixture
def trainer():
    def run(*arguments):
        return CliRunner().invoke(main, [str(a) for a in arguments])

    return run


QUICK = ("--preset", "fast", "--epochs", 20, "--hidden", "8")


@pytest.mark.parametrize("command", ["fit", "check"])
def test_command_array_larger_than_memory_ends_in_one_line(trainer, tmp_path, command):
    # 20 million times 20 million weights need more than all of the address space.
    done = trainer(command, "iris", "--hidden", "20000000,20000000")
    assert done.exit_code == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert line.startswith("Error: expected enough memory for this command; got: Unable to")
    assert "--hidden" in line


def test_fit_prints_a_summary(trainer, tmp_path):
    done = trainer("fit", "wine", "--models", tmp_path, *QUICK)
    assert done.exit_code == 0
    for line in (
        "Dense(8, 'relu')",
        "rows        124 train, 18 validation, 36 test",
        "task        multiclass classification of target",
        "accuracy",
        "equal labels 100%",
        f"bundle      {tmp_path}/wine/1",
    ):
        assert line in done.stdout


def test_fit_stage_version_can_be_verified_and_scored(trainer, tmp_path):
    done = trainer("fit", "wine", "--models", tmp_path, *QUICK, "--skip-baselines", "--stage")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "wine" / "staged-1"
    assert f"bundle      {folder}\n" in done.stdout
    assert "no server loads it until you run:" in done.stdout
    assert done.stdout.endswith(f"\nserving promote --models {tmp_path} wine 1\n")
    assert "reproduces" in trainer("verify", folder).stdout
    rows = tmp_path / "rows.csv"
    columns = Bundle.open(folder).manifest.inputs
    rows.write_text(
        "\n".join(
            ",".join(line)
            for line in (
                [column.name for column in columns],
                ["1"] * len(columns),
            )
        )
    )
    assert (
        "1 row scored, written to"
        in trainer("score", folder, rows, "-o", tmp_path / "out.csv").stdout
    )
    refused = trainer("verify", tmp_path / "wine")
    assert f"holds staged versions only; name one: {folder}" in refused.stderr
    trainer("fit", "wine", "--models", tmp_path, *QUICK, "--skip-baselines")
    assert sorted(path.name for path in folder.parent.iterdir()) == ["2", "staged-1"]


@pytest.mark.slow
def test_fit_better_baselines_are_named(trainer, tmp_path):
    done = trainer("fit", "diabetes", "--models", tmp_path, *QUICK, "--learning-rate", 1e-5)
    assert "baselines   r2: this network " in done.stdout
    assert re.search(r"better than this network on the test rows: .*ridge", done.stdout)
    manifest = Bundle.open(tmp_path / "diabetes" / "1").manifest
    assert manifest.baselines["ridge"].metrics["r2"] > manifest.metrics["test"]["r2"]
    done = trainer("fit", "diabetes", "--models", tmp_path, *QUICK, "--skip-baselines")
    assert "baselines  " not in done.stdout
    assert Bundle.open(tmp_path / "diabetes" / "2").manifest.baselines == {}


@pytest.mark.slow
def test_fit_all_options_are_recorded(trainer, tmp_path):
    done = trainer(
        "fit",
        "wine",
        "--models",
        tmp_path,
        "--json",
        "--epochs",
        4,
        "--hidden",
        "8,6",
        "--activation",
        "gelu,leaky_relu",
        "--dropout",
        0.1,
        "--batch-norm",
        "--initializer",
        "orthogonal",
        "--input-dropout",
        0.1,
        "--scaling",
        "range",
        "--label-smoothing",
        0.1,
        "--class-weight",
        "balanced",
        "--optimizer",
        "adamw",
        "--weight-decay",
        0.01,
        "--schedule",
        "cosine",
        "--l1",
        1e-5,
        "--l2",
        1e-5,
        "--clip-norm",
        1,
        "--clip-value",
        1,
        "--max-norm",
        3,
        "--average",
        0.9,
        "--checkpoint",
        tmp_path / "run.npz",
    )
    assert done.exit_code == 0, done.output
    config = Bundle.open(tmp_path / "wine" / "1").manifest.training.config
    assert config["batch_norm"] is True
    assert (config["initializer"], config["scaling"]) == ("orthogonal", "range")
    assert config["activation"] == ["gelu", "leaky_relu"]
    assert (config["schedule"], config["max_norm"]) == ("cosine", 3.0)


@pytest.mark.slow
def test_fit_log_and_tensorboard_are_written(trainer, tmp_path):
    log, events = tmp_path / "run.jsonl", tmp_path / "events"
    done = trainer(
        "fit", "wine", "--models", tmp_path, *QUICK, "--log", log, "--tensorboard", events
    )
    assert done.exit_code == 0, done.output
    assert len(log.read_text().splitlines()) == 20
    assert len(list(events.iterdir())) == 1
    done = trainer("fit", "wine", "--models", tmp_path, *QUICK, "--log", tmp_path / "run.txt")
    assert done.exit_code == 2
    assert "expected a file ending in .csv, .jsonl; got" in done.stderr
    done = trainer(
        "fit", "wine", "--models", tmp_path, *QUICK, "--log", tmp_path / "no" / "run.csv"
    )
    assert done.exit_code == 2
    assert "expected a file in a folder that exists" in done.stderr


def test_check_healthy_run_writes_nothing(trainer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = trainer("check", "iris", *QUICK)
    assert done.exit_code == 0, done.output
    assert re.search(r"dead_relu +0 +at most 0.4 +ok +layer 1, Dense\(8, 'relu'\)", done.stdout)
    assert re.search(r"wrong_gradient .* at most 1e-07 +ok +W of layer 1", done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_check_small_learning_rate_prints_fault_and_remedy(trainer):
    done = trainer("check", "digits", *QUICK, "--learning-rate", 1e-9)
    assert done.exit_code == 1
    assert re.search(r"small_updates .* FAULT", done.stdout)
    assert "small_updates in layer" in done.stdout
    assert "median norm of a step" in done.stdout
    assert "raise the learning rate" in done.stdout
    report = json.loads(
        trainer("check", "digits", *QUICK, "--learning-rate", 1e-9, "--json").stdout
    )
    assert report["healthy"] is False
    faults = {m["fault"]: m for m in report["measurements"] if not m["healthy"]}
    assert "raise the learning rate" in faults["small_updates"]["remedy"]


def test_check_diverging_training_prints_fault(trainer):
    done = trainer("check", "diabetes", *QUICK, "--optimizer", "sgd", "--learning-rate", 1e6)
    assert done.exit_code == 1
    assert "exploding_loss" in done.stdout


@pytest.mark.slow
def test_check_without_data_checks_all_gradients(trainer, monkeypatch):
    # Only some, for speed; tests/trainer/nn checks them all.
    for name, kinds in (("ACTIVATIONS", ("tanh", "relu")), ("PENALTIES", ("l2",))):
        original = getattr(check, name)
        monkeypatch.setattr(check, name, {kind: original[kind] for kind in kinds})
    done = trainer("check", "--json")
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert report["healthy"] is True
    assert report["cases"] == 7 * 2 * len(LOSSES)
    assert report["worst"]["central"] < 1e-6


def test_check_unknown_data_or_invalid_option_is_refused(trainer):
    assert trainer("check", "nothing").exit_code == 1
    assert trainer("check", "iris", "--epochs", "none").exit_code == 2


def test_fit_fault_in_training_prints_a_warning(trainer, tmp_path):
    done = trainer("fit", "wine", "--models", tmp_path, *QUICK, "--learning-rate", 1e-9)
    assert "warning: small_updates in layer 1, Dense(8, 'relu')" in done.stderr


def test_fit_damaged_checkpoint_is_refused(trainer, tmp_path):
    checkpoint = tmp_path / "run.npz"
    checkpoint.write_bytes(b"no checkpoint")
    done = trainer("fit", "wine", "--models", tmp_path, *QUICK, "--checkpoint", checkpoint)
    assert done.exit_code == 1
    assert "expected a whole checkpoint; got a damaged file" in done.stderr


@pytest.mark.usefixtures("processes")
def test_fit_json_prints_one_object_and_nothing_on_stderr(tmp_path):
    # In a process, so that all output is captured, also that of libraries.
    command = [
        sys.executable,
        "-m",
        "trainer",
        "fit",
        "wine",
        "--models",
        tmp_path,
        "--json",
        "--epochs",
        "5",
        "--skip-baselines",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["bundle"] == f"{tmp_path}/wine/1"
    assert 0 < report["metrics"]["test"]["accuracy"] <= 1
    assert report["parity"]["max_abs"] <= 1e-6
    assert report["parity"]["label_agreement"] == 1
    assert Bundle.open(tmp_path / "wine" / "1").manifest.name == "wine"


def test_fit_options_take_precedence_over_config_file(trainer, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(
        'data = "wine"\nname = "cellar"\nhidden = [4, 3]\nepochs = 2\nseed = 5\nbatch-size = 7\n'
    )
    done = trainer("fit", "--config", config, "--epochs", 3, "--models", tmp_path, "--json")
    report = json.loads(done.stdout)
    assert (report["name"], report["training"]["epochs_run"]) == ("cellar", 3)
    recorded = Bundle.open(tmp_path / "cellar" / "1").manifest.training.config
    assert (recorded["hidden"], recorded["seed"], recorded["epochs"]) == ([4, 3], 5, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit"], "expected DATA, a built-in name or a file; got none"),
        (
            ["fit", "wine", "--epochs", "0"],
            "epochs: expected a whole number of at least 1; got '0'",
        ),
        (
            ["fit", "wine", "--hidden", "8,x"],
            "--hidden: expected integers such as 64,32; got 'x'",
        ),
        (
            ["fit", "wine", "--optimizer", "magic"],
            "optimizer: expected one of sgd, momentum",
        ),
        (
            ["fit", "wine", "--optimizer", "adam", "--weight-decay", "0.1"],
            "expected the optimizer adamw for a weight decay",
        ),
        (
            ["fit", "wine", "--activation", "relu,tanh"],
            "expected one activation for all hidden layers, or one for each of the 3; got 2",
        ),
        (["fit", "wine", "--name", "a/b"], "--name: expected up to 64 letters, digits"),
        (["fit", "wine", "--colour", "red"], "No such option"),
        (["verify"], "Missing argument"),
    ],
)
def test_command_invalid_arguments_exits_with_2(arguments, message, trainer):
    done = trainer(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_fit_invalid_config_file_exits_with_2(trainer, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text("epoch = 3\n")
    done = trainer("fit", "wine", "--config", config)
    assert done.exit_code == 2
    assert "expected a key out of data, target" in done.stderr
    config.write_text("epochs = = 3")
    done = trainer("fit", "wine", "--config", config)
    assert done.exit_code == 2
    assert "expected a TOML file" in done.stderr


def test_fit_unknown_data_or_unusable_folder_exits_with_1(trainer, tmp_path):
    done = trainer("fit", "no-such-data", "--models", tmp_path)
    assert done.exit_code == 1
    assert (
        "Error: expected a file or a built-in name; got 'no-such-data', which is neither;"
        in done.stderr
    )
    assert done.stdout == ""
    (tmp_path / "file").touch()
    done = trainer("fit", "wine", "--models", tmp_path / "file", *QUICK)
    assert done.exit_code == 1
    assert f"folder to write the bundle to; {tmp_path}/file is a file" in done.stderr


def test_verify_exported_bundle_exits_with_0(trainer, only_digits):
    for path in (only_digits / "digits", only_digits / "digits" / "1"):
        done = trainer("verify", path)
        assert done.exit_code == 0
        assert re.search(r"fp32: reproduces .* to \d+ rows, to within \d", done.stdout)
        report = json.loads(trainer("verify", path, "--json").stdout)
        assert report["passed"] is True
        assert report["variants"]["fp32"]["label_agreement"] == 1


def test_verify_several_variants_prints_each(trainer, only_digits):
    folder = write_variants(
        only_digits / "digits" / "1",
        fp32=keep_unchanged,
        int8=negate_weights,
        pruned=keep_unchanged,
    )
    done = trainer("verify", folder)
    assert done.exit_code == 1
    first, second, third = done.stdout.splitlines()
    assert "fp32: reproduces" in first
    assert "int8: FAILED: " in second
    assert "pruned: reproduces" in third
    report = json.loads(trainer("verify", folder, "--json").stdout)
    assert [v["passed"] for v in report["variants"].values()] == [True, False, True]


def test_verify_current_folder_is_found(trainer, only_digits, monkeypatch):
    for folder in (only_digits / "digits", only_digits / "digits" / "1"):
        monkeypatch.chdir(folder)
        assert trainer("verify", ".").exit_code == 0


def test_fit_folder_that_is_not_writable_is_refused_before_training(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # the user root can write everywhere
    done = trainer("fit", "no-such-data", "--models", tmp_path / "new")
    assert done.exit_code == 1
    assert f"{tmp_path} is not writable for this user" in done.stderr


@pytest.mark.parametrize("file", ["model.onnx", "selftest.npz", "reference.json"])
def test_verify_altered_file_exits_with_1(file, trainer, only_digits):
    path = only_digits / "digits" / "1" / file
    path.write_bytes(path.read_bytes() + b" ")
    done = trainer("verify", only_digits / "digits")
    assert done.exit_code == 1
    assert f"{file} was altered after export" in done.stderr


def test_verify_missing_bundle_exits_with_1(trainer, tmp_path):
    done = trainer("verify", tmp_path / "digits")
    assert done.exit_code == 1
    assert "models/NAME or models/NAME/VERSION; got" in done.stderr
    report = json.loads(trainer("verify", tmp_path / "digits", "--json").stdout)
    assert report["passed"] is False
    assert "which holds none" in report["reason"]
