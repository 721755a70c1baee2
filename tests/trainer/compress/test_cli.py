import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from serving.bundle import (
    Bundle,
    CompressionCandidate,
    CompressionSummary,
    MetricDrop,
    list_versions,
)
from tests.manifests import make_manifest
from trainer.cli import main
from trainer.cli.compress import print_result
from trainer.compress.compression_config import CompressionConfig
from trainer.compress.run import CompressionResult

QUICK = ("--epochs", 1, "--batch-size", 64)


@pytest.fixture
def run_trainer():
    """Return a function that runs a command of the trainer."""

    def run(*arguments):
        return CliRunner().invoke(main, [str(a) for a in arguments])

    return run


def get_error(done, status):
    """Return the last line of a command that was refused, with nothing on stdout."""
    assert done.exit_code == status
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    # With status 2, the usage, a hint and an empty line come first.
    assert len(lines) == (1 if status == 1 else 4)
    return lines[-1]


def make_candidate(name, drop, **fields):
    return CompressionCandidate(
        name=name,
        bits=8,
        inputs=1,
        hidden=[2],
        parameters=5,
        size_bytes=10,
        zipped_bytes=9,
        latency_us={},
        validation=0.9,
        drop=drop,
        kept=True,
        **fields,
    )


def test_summary_drop_is_positive_if_the_variant_is_worse(capsys):
    worse = MetricDrop(drop=0.0123, interval=(0.004, 0.02))
    better = MetricDrop(drop=-0.0123, interval=(-0.02, -0.00001))
    summary = CompressionSummary(
        metric="positive_recall",
        max_drop=0.02,
        tried=[
            make_candidate("fp32", 0.0),
            make_candidate("int8", 0.0045, error=0.001, tested=worse),
            make_candidate("pruned", -0.0045, tested=better),
            make_candidate("pruned-int8", -0.00001),
        ],
    )
    manifest = make_manifest({"accuracy": 0.9, "roc_auc": 0.9}, variants={"fp32": [], "int8": [1]})
    bundle = SimpleNamespace(path=Path("models/made/2"), manifest=manifest)
    print_result(CompressionResult(bundle, summary, {}, positive=1))
    output = capsys.readouterr().out
    first, _, head, fp32, int8, pruned, both, *rest = output.splitlines()
    assert first == "recall of 1 on the validation rows; it may drop by up to 0.02"
    assert re.split(r" {2,}", head)[-2:] == ["recall of 1", "drop"]
    drops = [re.split(r" {2,}", line)[-2] for line in (fp32, int8, pruned, both)]
    assert drops == ["0.0000 ±0.0000", "0.0045 ±0.0010", "-0.0045 ±0.0000", "0.0000 ±0.0000"]
    assert "int8 of 10 bytes, on the test rows: recall of 1 drop 0.0123, 95 % 0.0040 to" in output
    assert "recall of 1 drop -0.0123, 95 % -0.0200 to 0.0000; kept" in output
    assert "lost" not in output
    assert [line for line in rest if line.startswith("warning: class_never_answered: by int8")]


@pytest.mark.slow
def test_compress_prints_its_trials_and_a_table(run_trainer, copy_bundle):
    bundle = copy_bundle("digits")
    done = run_trainer("compress", bundle.path.parent, *QUICK, "--max-drop", 0.2, "--prune", 0.5)
    assert done.exit_code == 0, done.output
    progress = done.stderr.splitlines()
    assert [line.split(":")[0] for line in progress[:2]] == ["tried fp32", "tried int8"]
    trial = r"tried [a-z0-9-]+: [\d,]+ bytes, \d\.\d{4}, drop -?\d\.\d{4}"
    assert all(re.fullmatch(trial, line) for line in progress)
    first, empty, head, *rows = done.stdout.splitlines()
    assert first == "accuracy on the validation rows; it may drop by up to 0.2"
    assert empty == ""
    columns = re.split(r" {2,}", head)
    assert columns == [
        "variant",
        "layers",
        "weights",
        "bytes",
        "smaller",
        "zipped",
        "µs at 1",
        "µs at 8",
        "µs at 64",
        "µs at 256",
        "accuracy",
        "drop",
    ]
    table = [re.split(r" {2,}", row) for row in rows[: rows.index("")]]
    assert len(table) == len(progress)
    new = Bundle.open(bundle.path.parent / "2")
    for row, candidate in zip(table, new.manifest.compression.tried, strict=True):
        assert row[0] == f"{candidate.name}{' (qat)' * candidate.qat}"
        assert row[1] == "-".join(map(str, [candidate.inputs, *candidate.hidden]))
        assert row[2:4] == [f"{candidate.parameters:,}", f"{candidate.size_bytes:,}"]
        drop = f"{candidate.drop:.4f} ±{candidate.error:.4f}"
        assert row[-3:-1] == [f"{candidate.validation:.4f}", drop]
        assert (row[-1] == "kept") == candidate.kept
    for candidate in new.manifest.compression.tried:
        if candidate.tested is not None:
            text = (
                f"{candidate.name} of {candidate.size_bytes:,} bytes, on the test rows: "
                "accuracy drop "
            )
            assert text in done.stdout
    assert rows[-1].startswith(f"bundle {bundle.path.parent}/2; ")


@pytest.mark.slow
def test_compress_folder_of_a_model_takes_the_highest_version(run_trainer, copy_bundle):
    folder = copy_bundle("digits").path.parent
    options = (*QUICK, "--max-drop", 0.5, "--prune", "none")
    for path, number in ((folder, 2), (folder, 3), (folder / "1", 4)):
        done = run_trainer("compress", path, *options)
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[-1].startswith(f"bundle {folder}/{number}; ")
    assert run_trainer("verify", folder).exit_code == 0


@pytest.mark.slow
def test_compress_stage_writes_a_version_that_no_server_loads(run_trainer, copy_bundle):
    folder = copy_bundle("digits").path.parent
    options = (*QUICK, "--max-drop", 0.5, "--prune", "none", "--stage")
    done = run_trainer("compress", folder, *options)
    assert done.exit_code == 0, done.output
    *_, bundle, command = done.stdout.splitlines()
    assert bundle == f"bundle {folder / 'staged-2'}; no server loads it until you run:"
    assert command == f"serving promote --models {folder.parent} digits 2"
    assert list_versions(folder) == [1]
    assert "staged-3" in run_trainer("compress", folder / "staged-2", *options).stdout


@pytest.mark.usefixtures("processes")
def test_compress_json_prints_one_object(copy_bundle):
    folder = copy_bundle("digits").path.parent
    command = [
        sys.executable,
        "-m",
        "trainer",
        "compress",
        folder,
        "--json",
        "--prune",
        "none",
        "--max-drop",
        "0.5",
        "--epochs",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert all(line.startswith("tried ") for line in done.stderr.splitlines())
    report = json.loads(done.stdout)
    assert set(report) == {"bundle", "compression", "positive", "warnings"}
    new = Bundle.open(folder / "2")
    assert report["bundle"] == str(new.path)
    assert CompressionSummary.model_validate(report["compression"]) == new.manifest.compression


@pytest.mark.slow
def test_compress_last_column_classifies_each_variant(run_trainer, copy_bundle, monkeypatch):
    # The test rows can refute a variant that was accepted on the validation rows.
    test_drop = MetricDrop(drop=0.7, interval=(0.6, 0.8))
    monkeypatch.setattr("trainer.compress.acceptance.measure_test_drop", lambda *_: test_drop)
    folder = copy_bundle("digits").path.parent
    done = run_trainer("compress", folder, *QUICK, "--prune", "none", "--max-drop", 0.5)
    assert [row.split()[-1] for row in done.stdout.splitlines()[3:5]] == ["kept", "refuted"]
    monkeypatch.setattr(
        "trainer.compress.acceptance.is_within_max_drop", lambda trial, _: trial.name == "fp32"
    )
    done = run_trainer(
        "compress",
        folder,
        *QUICK,
        "--prune",
        0.5,
        "--max-drop",
        0,
        "--no-int8",
        "--metric",
        "accuracy",
        "--learning-rate",
        5,
    )
    assert [row.split()[-1] for row in done.stdout.splitlines()[3:5]] == ["kept", "fails"]


@pytest.mark.slow
def test_compress_no_accepted_variant_prints_so_and_ends_with_status_0(
    run_trainer, copy_bundle, monkeypatch
):
    folder = copy_bundle("digits").path.parent
    monkeypatch.setattr(
        "trainer.compress.acceptance.is_within_max_drop", lambda trial, _: trial.name == "fp32"
    )
    done = run_trainer("compress", folder, *QUICK, "--prune", 0.9, "--max-drop", 0)
    assert done.exit_code == 0, done.output
    assert (
        done.stdout.splitlines()[-1]
        == "no variant is within the budget and smaller than the model; no version was written; "
        "raise --max-drop, or lower --prune"
    )
    assert list_versions(folder) == [1]
    done = run_trainer("compress", folder, *QUICK, "--prune", "none", "--json")
    assert json.loads(done.stdout)["bundle"] is None


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--prune", "none"], {"fp32", "int8"}),
        (["--prune", "none", "--no-int8", "--sparse", "0.9"], {"fp32", "sparse"}),
        (["--no-int8", "--prune", "0.5"], {"fp32", "pruned"}),
        (["--prune", "0.5"], {"fp32", "int8", "pruned", "pruned-int8", "pruned-int4"}),
    ],
)
def test_compress_options_choose_the_variants(arguments, names, run_trainer, copy_bundle):
    folder = copy_bundle("iris").path.parent
    done = run_trainer("compress", folder, *QUICK, "--json", "--max-drop", 0.9, *arguments)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert {candidate["name"] for candidate in report["compression"]["tried"]} == names


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("progress", ["--metric", "accuracy"], "expected a metric of this task, one of r2; got"),
        ("iris", ["--metric", "r2"], "expected a metric of this task, one of accuracy"),
        ("iris", ["--prune", "0.99"], "expected to remove at most a share of 0."),
        (
            "iris",
            ["--data", "wine"],
            "expected the data it was trained on, iris; got other data from wine",
        ),
        ("iris", ["--data", "none.csv"], "got 'none.csv', which is neither"),
    ],
)
def test_compress_impossible_options_end_with_status_1(
    kind, arguments, message, run_trainer, copy_bundle
):
    folder = copy_bundle(kind).path.parent
    before = sorted(folder.rglob("*"))
    assert message in get_error(run_trainer("compress", folder, *arguments), 1)
    assert sorted(folder.rglob("*")) == before


def test_compress_missing_bundle_is_refused(run_trainer, tmp_path):
    error = get_error(run_trainer("compress", tmp_path / "none"), 1)
    assert "expected a bundle, models/NAME or models/NAME/VERSION; got" in error


def test_compress_diverged_training_prints_one_line(run_trainer, copy_bundle):
    folder = copy_bundle("progress").path.parent
    done = run_trainer(
        "compress", folder, *QUICK, "--prune", 0.5, "--no-int8", "--learning-rate", 1e30
    )
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("Error: expected a finite ")
    assert list_versions(folder) == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-drop", "1.5"], "max-drop: expected a number of at least 0 and below 1; got '1.5'"),
        (["--max-drop", "-1"], "max-drop: expected a number of at least 0 and below 1; got"),
        (["--metric", "log_loss"], "metric: expected one of accuracy, "),
        (["--prune", "1"], "prune: expected "),
        (["--prune", "all"], "prune: expected "),
        (["--sparse", "1"], "sparse: expected a number above 0 and below 1; got '1'"),
        (["--epochs", "0"], "epochs: expected a whole number of at least 1; got '0'"),
        (["--batch-size", "x"], "batch-size: expected a whole number of at least 1; got 'x'"),
        (["--learning-rate", "0"], "learning-rate: expected a number above 0; got '0'"),
        (["--seed", "-1"], "seed: expected a whole number of at least 0 and below 4294967296"),
        (["--colour", "red"], "No such option"),
    ],
)
def test_compress_invalid_options_end_with_status_2(arguments, message, run_trainer, copy_bundle):
    folder = copy_bundle("iris").path.parent
    assert message in get_error(run_trainer("compress", folder, *arguments), 2)
    assert list_versions(folder) == [1]


def test_compress_help_has_every_option_with_its_default(run_trainer):
    text = " ".join(run_trainer("compress", "--help").stdout.split())
    for name, field in CompressionConfig.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert field.description
        assert " ".join(field.description.split())[1:30] in text
    for default in ("0.002", "auto", "30", "0.006", "128"):
        assert f"[default: {default}]" in text
    assert "--int8 / --no-int8" in text
    assert "--data" in text
    assert "--json" in text
