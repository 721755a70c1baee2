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
def trainer():
    def run(*arguments):
        return CliRunner().invoke(main, [str(a) for a in arguments])

    return run


def one_sentence(done, status):
    """Whether it was refused as it should be: one line, its reason, and nothing on stdout."""
    assert done.exit_code == status
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    assert len(lines) == (1 if status == 1 else 4)  # how it is used, a hint, and an empty line
    return lines[-1]


def a_candidate(name, drop, **more):
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
        **more,
    )


def test_summary_a_drop_has_one_sign_and_one_word(capsys):
    # Less than what the dense network has is a drop above 0, on validation and on test rows.
    worse = MetricDrop(drop=0.0123, interval=(0.004, 0.02))
    better = MetricDrop(drop=-0.0123, interval=(-0.02, -0.00001))
    found = CompressionSummary(
        metric="positive_recall",
        max_drop=0.02,
        tried=[
            a_candidate("fp32", 0.0),
            a_candidate("int8", 0.0045, error=0.001, tested=worse),
            a_candidate("pruned", -0.0045, tested=better),
            a_candidate("pruned-int8", -0.00001),
        ],
    )
    made = make_manifest({"accuracy": 0.9, "roc_auc": 0.9}, variants={"fp32": [], "int8": [1]})
    bundle = SimpleNamespace(path=Path("models/made/2"), manifest=made)
    print_result(CompressionResult(bundle, found, {}, positive=1))
    told = capsys.readouterr().out
    first, _, head, dense, int8, pruned, both, *rest = told.splitlines()
    assert first == "recall of 1 on the validation rows; it may drop by up to 0.02"
    assert re.split(r" {2,}", head)[-2:] == ["recall of 1", "drop"]
    drops = [re.split(r" {2,}", line)[-2] for line in (dense, int8, pruned, both)]
    assert drops == ["0.0000 ±0.0000", "0.0045 ±0.0010", "-0.0045 ±0.0000", "0.0000 ±0.0000"]
    assert "int8 of 10 bytes, on the test rows: recall of 1 drop 0.0123, 95 % 0.0040 to" in told
    assert "recall of 1 drop -0.0123, 95 % -0.0200 to 0.0000; kept" in told
    assert "lost" not in told
    assert [line for line in rest if line.startswith("warning: class_never_answered: by int8")]


@pytest.mark.slow
def test_it_prints_a_table_and_tells_of_its_trials_meanwhile(trainer, copied):
    bundle = copied("digits")
    done = trainer("compress", bundle.path.parent, *QUICK, "--max-drop", 0.2, "--prune", 0.5)
    assert done.exit_code == 0, done.output
    told = done.stderr.splitlines()
    assert [line.split(":")[0] for line in told[:2]] == ["tried fp32", "tried int8"]
    trial = r"tried [a-z0-9-]+: [\d,]+ bytes, \d\.\d{4}, drop -?\d\.\d{4}"
    assert all(re.fullmatch(trial, line) for line in told)
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
    assert len(table) == len(told)
    new = Bundle.open(bundle.path.parent / "2")
    for row, candidate in zip(table, new.manifest.compression.tried, strict=True):
        assert row[0] == f"{candidate.name}{' (qat)' * candidate.qat}"
        assert row[1] == "-".join(map(str, [candidate.inputs, *candidate.hidden]))
        assert row[2:4] == [f"{candidate.parameters:,}", f"{candidate.size_bytes:,}"]
        lost = f"{candidate.drop:.4f} ±{candidate.error:.4f}"
        assert row[-3:-1] == [f"{candidate.validation:.4f}", lost]
        assert (row[-1] == "kept") == candidate.kept
    for candidate in new.manifest.compression.tried:
        if candidate.tested is not None:
            said = (
                f"{candidate.name} of {candidate.size_bytes:,} bytes, on the test rows: "
                "accuracy drop "
            )
            assert said in done.stdout
    assert rows[-1].startswith(f"bundle {bundle.path.parent}/2; ")


@pytest.mark.slow
def test_of_versions_the_highest_is_compressed_unless_one_is_named(trainer, copied):
    folder = copied("digits").path.parent
    choices = (*QUICK, "--max-drop", 0.5, "--prune", "none")
    for place, number in ((folder, 2), (folder, 3), (folder / "1", 4)):
        done = trainer("compress", place, *choices)
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[-1].startswith(f"bundle {folder}/{number}; ")
    assert trainer("verify", folder).exit_code == 0


@pytest.mark.slow
def test_compress_stage_writes_a_version_that_no_server_takes_up(trainer, copied):
    folder = copied("digits").path.parent
    choices = (*QUICK, "--max-drop", 0.5, "--prune", "none", "--stage")
    done = trainer("compress", folder, *choices)
    assert done.exit_code == 0, done.output
    *_, bundle, command = done.stdout.splitlines()
    assert bundle == f"bundle {folder / 'staged-2'}; no server loads it until you run:"
    assert command == f"serving promote --models {folder.parent} digits 2"
    assert list_versions(folder) == [1]
    assert "staged-3" in trainer("compress", folder / "staged-2", *choices).stdout


@pytest.mark.usefixtures("processes")
def test_json_is_one_object_in_a_process_of_its_own(copied):
    folder = copied("digits").path.parent
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
    told = json.loads(done.stdout)
    assert set(told) == {"bundle", "compression", "positive", "warnings"}
    new = Bundle.open(folder / "2")
    assert told["bundle"] == str(new.path)
    assert CompressionSummary.model_validate(told["compression"]) == new.manifest.compression


@pytest.mark.slow
def test_the_last_column_tells_what_became_of_each(trainer, copied, monkeypatch):
    # Of what holds on the validation rows not all is kept: test rows may refute it.
    lost = MetricDrop(drop=0.7, interval=(0.6, 0.8))
    monkeypatch.setattr("trainer.compress.run._drop", lambda *_: lost)
    folder = copied("digits").path.parent
    done = trainer("compress", folder, *QUICK, "--prune", "none", "--max-drop", 0.5)
    assert [row.split()[-1] for row in done.stdout.splitlines()[3:5]] == ["kept", "refuted"]
    monkeypatch.setattr(
        "trainer.compress.variant_search.VariantSearch.holds", lambda _, t: t.name == "fp32"
    )
    done = trainer(
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
def test_where_nothing_holds_it_says_so_and_that_is_no_error(trainer, copied, monkeypatch):
    folder = copied("digits").path.parent
    monkeypatch.setattr(
        "trainer.compress.variant_search.VariantSearch.holds", lambda _, t: t.name == "fp32"
    )
    done = trainer("compress", folder, *QUICK, "--prune", 0.9, "--max-drop", 0)
    assert done.exit_code == 0, done.output
    assert (
        done.stdout.splitlines()[-1]
        == "no variant is within the budget and smaller than the model; no version was written"
    )
    assert list_versions(folder) == [1]
    done = trainer("compress", folder, *QUICK, "--prune", "none", "--json")
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
def test_what_is_tried_can_be_chosen(arguments, names, trainer, copied):
    folder = copied("iris").path.parent
    done = trainer("compress", folder, *QUICK, "--json", "--max-drop", 0.9, *arguments)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {candidate["name"] for candidate in told["compression"]["tried"]} == names


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("progress", ["--metric", "accuracy"], "expected a metric of this task, out of r2; got"),
        ("iris", ["--metric", "r2"], "expected a metric of this task, out of accuracy"),
        ("iris", ["--prune", "0.99"], "expected a share of the weights to remove of up to 0."),
        (
            "iris",
            ["--data", "wine"],
            "expected the data it was trained on, iris; got others from wine",
        ),
        ("iris", ["--data", "none.csv"], "got 'none.csv', which is neither"),
    ],
)
def test_what_cannot_be_done_ends_with_status_1_and_the_reason(
    kind, arguments, message, trainer, copied
):
    folder = copied(kind).path.parent
    before = sorted(folder.rglob("*"))
    assert message in one_sentence(trainer("compress", folder, *arguments), 1)
    assert sorted(folder.rglob("*")) == before


def test_what_is_no_bundle_is_refused(trainer, tmp_path):
    found = one_sentence(trainer("compress", tmp_path / "none"), 1)
    assert "expected a bundle, models/NAME or models/NAME/VERSION; got" in found


def test_a_training_that_diverges_is_told_in_a_sentence(trainer, copied):
    folder = copied("progress").path.parent
    done = trainer("compress", folder, *QUICK, "--prune", 0.5, "--no-int8", "--learning-rate", 1e30)
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
def test_a_wrong_question_ends_with_status_2_and_the_reason(arguments, message, trainer, copied):
    folder = copied("iris").path.parent
    assert message in one_sentence(trainer("compress", folder, *arguments), 2)
    assert list_versions(folder) == [1]


def test_every_choice_is_an_option_with_its_default(trainer):
    text = " ".join(trainer("compress", "--help").stdout.split())
    for name, field in CompressionConfig.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert field.description
        assert " ".join(field.description.split())[1:30] in text
    for default in ("0.002", "auto", "30", "0.006", "128"):
        assert f"[default: {default}]" in text
    assert "--int8 / --no-int8" in text
    assert "--data" in text
    assert "--json" in text
