"""Calibration and threshold, which are fitted on the validation rows after training."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.special import softmax
from sklearn.metrics import log_loss

from serving.bundle import Bundle
from serving.runtime import GraphSession
from trainer import output_scaling
from trainer.cli import main
from trainer.config import Config
from trainer.data.records import Records
from trainer.evaluate import Evaluation
from trainer.evaluate.calibration import fit_calibration
from trainer.export.onnx_graph import build_graph
from trainer.pipeline import fit, train
from trainer.training.checkpoint import CheckpointError
from trainer.training.loop import Callback
from trainer.training.update import UpdateRule

SCHEMA_1_FOLDER = Path(__file__).parents[1] / "bundles" / "schema_1"
RARE_SHARE = 0.05


def write_rows(path, n=2000, names=("fraud", "good")):
    """Write a file of which about 5 % of the rows have the first class; return its path."""
    rng = np.random.default_rng(0)
    shares = [RARE_SHARE, *[0.15] * (len(names) - 2)]
    class_indices = rng.choice(len(names), n, p=[*shares, 1 - sum(shares)])
    x = rng.normal(size=(n, 3))
    x[:, 0] += 1.5 * (class_indices < len(names) - 1)
    x[:, 1] -= 2.0 * (class_indices == 0)
    lines = [
        ",".join(f"{v:.4f}" for v in row) + f",{names[k]}"
        for row, k in zip(x, class_indices, strict=True)
    ]
    path.write_text("\n".join(["a,b,c,kind", *lines]) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory):
    """Results and evaluations of models without class weights, with them, and calibrated."""
    data = write_rows(tmp_path_factory.mktemp("rare") / "rare.csv")
    plain = {"preset": "fast", "data": data, "positive": "fraud"}
    plain |= {"hidden": (4,), "epochs": 12, "learning_rate": 0.01}
    weighted = plain | {"class_weight": "balanced"}
    evaluations = {}
    for name, options in {
        "plain": plain,
        "weighted": weighted,
        "calibrated": weighted | {"calibrate": True},
    }.items():
        trained = train(Config(**options), np.random.default_rng(0))
        evaluation = Evaluation.from_model(trained.model, trained.table, trained.split.test)
        evaluations[name] = trained, evaluation
    return evaluations


def test_calibration_class_weights_are_corrected(evaluations):
    losses, means = {}, {}
    for name, (_, evaluation) in evaluations.items():
        p = evaluation.answers["probabilities"].astype(np.float64)
        losses[name] = log_loss(evaluation.truth == "fraud", p[:, 0] / p.sum(axis=1))
        means[name] = p[:, 0].mean()
    assert losses["weighted"] > 1.5 * losses["plain"]
    assert losses["calibrated"] < 1.15 * losses["plain"]
    assert means["weighted"] > 3 * RARE_SHARE
    assert means["calibrated"] == pytest.approx(RARE_SHARE, abs=0.02)
    errors = {
        name: evaluation.compute_metrics()["classwise_calibration_error"]
        for name, (_, evaluation) in evaluations.items()
    }
    assert errors["calibrated"] < 0.3 * errors["weighted"]


def test_calibration_class_weights_threshold_is_the_share_of_the_class(evaluations):
    trained, _ = evaluations["calibrated"]
    share = np.mean(trained.table.target[trained.split.train] == "fraud")
    assert trained.model.threshold == pytest.approx(share)
    recall = {
        name: np.mean(e.answers["label"][e.truth == "fraud"] == "fraud")
        for name, (_, e) in evaluations.items()
    }
    assert recall["calibrated"] > 0.6 > recall["plain"]
    assert recall["calibrated"] == pytest.approx(recall["weighted"], abs=0.1)


def test_calibration_many_logits_uses_a_sample_of_the_rows(evaluations, monkeypatch):
    trained, _ = evaluations["calibrated"]
    config = Config(**trained.summary.config)
    shapes = []

    def record_shapes(logits, target_indices, *args, **options):
        shapes.append((logits.shape, target_indices.shape))
        return fit_calibration(logits, target_indices, *args, **options)

    monkeypatch.setattr(output_scaling, "fit_calibration", record_shapes)
    monkeypatch.setattr(output_scaling, "MAX_CALIBRATION_LOGITS", 100)
    output_scaling.fit_output_scaling(trained.model, trained.table, trained.split, config)
    assert shapes == [((50, 1), (50,))]  # the limit of 100 logits, by two classes


def test_threshold_aim_replaces_the_share_of_the_class(evaluations):
    trained, _ = evaluations["calibrated"]
    config = Config(**trained.summary.config)
    scaled = output_scaling.fit_output_scaling(
        trained.model, trained.table, trained.split, config.model_copy(update={"aim": "accuracy"})
    )
    assert scaled.model.threshold > 2 * trained.model.threshold


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_graph_temperature_and_bias_equal_the_model(task, tmp_path):
    names = ("a", "b") if task == "binary" else ("a", "b", "c")
    data = write_rows(tmp_path / "t.csv", n=400, names=names)
    model = train(Config(data=data, hidden=(4,), epochs=1), np.random.default_rng(0)).model
    bias = np.array([-1.5] if task == "binary" else [0.5, -2.0, 1.5], np.float32)
    model = replace(model, temperature=2.5, logit_bias=bias)
    rows = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    records = Records(model.encoder.columns, rows)
    z = model.logits(records).astype(np.float64) / 2.5 + bias
    expected = softmax(np.hstack([np.zeros((50, 1)), z]) if task == "binary" else z, axis=1)
    for answers in (
        model.answers(records),
        GraphSession(build_graph(model)).run({"features": rows}),
    ):
        np.testing.assert_allclose(answers["probabilities"], expected, rtol=1e-5, atol=1e-7)
        assert answers["label"].tolist() == np.array(names)[expected.argmax(axis=1)].tolist()


def test_fit_calibrate_multiclass_prints_and_records_the_biases(tmp_path):
    data = write_rows(tmp_path / "t.csv", n=600, names=("a", "b", "c"))
    done = run_fit(tmp_path, data, "--calibrate", "--class-weight", "balanced")
    manifest = Bundle.open(tmp_path / "models" / "m" / "1").manifest
    assert len(manifest.logit_bias) == 3
    assert manifest.logit_bias[2] == max(manifest.logit_bias)  # of the common class
    assert "the most probable class by the calibrated probabilities" in join_lines(done.stdout)


def test_fit_class_weight_without_calibrate_prints_that_probabilities_are_too_high(tmp_path):
    data = write_rows(tmp_path / "t.csv", n=400)
    done = run_fit(tmp_path, data, "--class-weight", "balanced")
    assert (
        "not calibrated: too high for rare classes, because of their weights; --calibrate corrects"
        in join_lines(done.stdout)
    )


def join_lines(text):
    return " ".join(text.split())


def run_fit(folder, data, *options):
    done = CliRunner().invoke(
        main,
        [
            "fit",
            data,
            "--preset",
            "fast",
            "--hidden",
            "4",
            "--epochs",
            "6",
            "--learning-rate",
            "0.02",
            "--name",
            "m",
            "--skip-baselines",
            "--models",
            str(folder / "models"),
            "--runs",
            str(folder / "runs"),
            *options,
        ],
    )
    assert done.exit_code == 0, done.output
    return done


UNREACHABLE_AIM = "recall@precision=1"


@pytest.fixture
def unlearnable(tmp_path):
    """A file of rows whose features are independent of the class."""
    rng = np.random.default_rng(0)
    lines = [f"{rng.integers(3)},{k % 2}" for k in range(300)]
    path = tmp_path / "unlearnable.csv"
    path.write_text("\n".join(["a,y", *lines]) + "\n")
    return str(path)


def test_fit_unreachable_aim_writes_a_model_and_warns(unlearnable, tmp_path):
    done = run_fit(tmp_path, unlearnable, "--aim", UNREACHABLE_AIM, "--json")
    summary = json.loads(done.stdout.splitlines()[-1])
    manifest = Bundle.open(tmp_path / "models" / "m" / "1").manifest
    assert manifest.threshold == summary["threshold"] == 0.5
    assert manifest.aim == summary["aim"] == UNREACHABLE_AIM
    assert manifest.aim_unmet == summary["aim_unmet"]
    assert manifest.aim_unmet.startswith("expected a threshold with a precision of at least 1")
    assert f"warning: the aim {UNREACHABLE_AIM} is not met: expected a threshold" in done.stderr
    assert "unlearnable.csv:" not in done.stderr
    done = run_fit(tmp_path, unlearnable, "--aim", UNREACHABLE_AIM)
    assert f"the aim {UNREACHABLE_AIM} is not met" in join_lines(done.stdout)


def test_fit_other_aim_after_unreachable_aim_starts_from_the_checkpoint(
    unlearnable, tmp_path, monkeypatch
):
    checkpoint = tmp_path / "run.npz"
    done = run_fit(tmp_path, unlearnable, "--aim", UNREACHABLE_AIM, "--checkpoint", str(checkpoint))
    hint = f"run again with another --aim; with --checkpoint {checkpoint}, which is kept"
    assert hint in done.stderr
    monkeypatch.setattr(UpdateRule, "step", None)  # any training step would fail
    run_fit(
        tmp_path,
        unlearnable,
        "--aim",
        "f1",
        "--calibrate",
        "--positive",
        "0",
        "--checkpoint",
        str(checkpoint),
    )
    assert not checkpoint.exists()
    first, second = (Bundle.open(tmp_path / "models" / "m" / n).manifest for n in "12")
    assert second.training.epochs_run == first.training.epochs_run
    assert second.aim_unmet is None
    assert second.positive_class == 0


def test_compress_model_with_unreachable_aim_keeps_the_threshold(unlearnable, tmp_path):
    run_fit(tmp_path, unlearnable, "--aim", UNREACHABLE_AIM)
    done = CliRunner().invoke(
        main,
        [
            "compress",
            str(tmp_path / "models" / "m"),
            "--max-drop",
            "0.9",
            "--prune",
            "none",
            "--no-int8",
            "--sparse",
            "0.2",
            "--epochs",
            "1",
            "--json",
        ],
    )
    assert done.exit_code == 0, done.output
    manifest = Bundle.open(Path(json.loads(done.stdout.splitlines()[-1])["bundle"])).manifest
    assert {v.threshold for v in manifest.variants.values()} == {0.5}
    assert manifest.aim_unmet is not None


class InterruptedTrainingError(Exception):
    pass


class KillInThirdEpoch(Callback):
    """Ends a training in its third epoch, as if the process had been killed."""

    def on_epoch(self, run):
        if len(run.history) == 3:
            raise InterruptedTrainingError


def interrupt_training(config, path):
    """Train until the third epoch, and leave a checkpoint."""
    with pytest.raises(InterruptedTrainingError):
        train(config, np.random.default_rng(0), callbacks=[KillInThirdEpoch()], checkpoint=path)


@pytest.mark.parametrize(
    "changes",
    [
        {"aim": "f1"},
        {"calibrate": True},
        {"positive": "1"},
        {"skip_baselines": True},
        {"name": "other"},
    ],
    ids=str,
)
def test_checkpoint_option_without_effect_on_weights_resumes(unlearnable, tmp_path, changes):
    config = Config(preset="fast", data=unlearnable, hidden=(3,), epochs=6)
    path = tmp_path / "run.npz"
    interrupt_training(config, path)
    resumed = train(config.model_copy(update=changes), np.random.default_rng(0), checkpoint=path)
    whole = train(config, np.random.default_rng(0))
    np.testing.assert_array_equal(resumed.model.network.parameters, whole.model.network.parameters)


@pytest.mark.parametrize(
    "changes", [{"rare": 2}, {"class_weight": "balanced"}, {"seed": 1}], ids=str
)
def test_checkpoint_option_with_effect_on_weights_is_refused(unlearnable, tmp_path, changes):
    config = Config(preset="fast", data=unlearnable, hidden=(3,), epochs=6)
    path = tmp_path / "run.npz"
    interrupt_training(config, path)
    with pytest.raises(CheckpointError, match="expected a checkpoint of this run"):
        train(config.model_copy(update=changes), np.random.default_rng(0), checkpoint=path)


@pytest.mark.parametrize("aim", ["f1", "accuracy"])
def test_checkpoint_of_earlier_version_resumes(tmp_path, monkeypatch, aim):
    for name in ("plain.csv", "plain_checkpoint.npz"):
        shutil.copy(SCHEMA_1_FOLDER / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    config = Config(
        preset="fast",  # the defaults of that version
        data="plain.csv",
        category=("zone",),
        hidden=(4,),
        epochs=12,
        seed=3,
        rare=1,
        positive="good",
        aim=aim,
        skip_baselines=True,
    )
    bundle, trained = fit(config, checkpoint=Path("plain_checkpoint.npz"))
    answers = trained.model.answers(trained.table.records)
    with (SCHEMA_1_FOLDER / "plain_scored.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = [[float(row[f"probability_{c}"]) for c in bundle.manifest.classes] for row in rows]
    np.testing.assert_allclose(answers["probabilities"], expected, rtol=1e-4, atol=1e-6)
    if aim == "f1":
        assert answers["label"].astype(str).tolist() == [row["prediction"] for row in rows]
