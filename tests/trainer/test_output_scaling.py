"""What is chosen on validation rows after training: the calibration, and a threshold for an aim."""

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
from trainer import pipeline
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

SCHEMA_1 = Path(__file__).parents[1] / "bundles" / "schema_1"
SHARE = 0.05


def rare(path, n=2000, names=("fraud", "good")):
    """Rows of which some 5 % are of the first class, and most of the last."""
    rng = np.random.default_rng(0)
    shares = [SHARE, *[0.15] * (len(names) - 2)]
    place = rng.choice(len(names), n, p=[*shares, 1 - sum(shares)])
    x = rng.normal(size=(n, 3))
    x[:, 0] += 1.5 * (place < len(names) - 1)
    x[:, 1] -= 2.0 * (place == 0)
    lines = [
        ",".join(f"{v:.4f}" for v in row) + f",{names[k]}" for row, k in zip(x, place, strict=True)
    ]
    path.write_text("\n".join(["a,b,c,kind", *lines]) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """What networks make of a rare class: unweighted, weighted, weighted and calibrated."""
    data = rare(tmp_path_factory.mktemp("rare") / "rare.csv")
    plain = {"data": data, "positive": "fraud", "hidden": (4,), "epochs": 12, "learning_rate": 0.01}
    weighted = plain | {"class_weight": "balanced"}
    found = {}
    for name, choices in {
        "plain": plain,
        "weighted": weighted,
        "calibrated": weighted | {"calibrate": True},
    }.items():
        trained = train(Config(**choices), np.random.default_rng(0))
        found[name] = (
            trained,
            Evaluation.from_model(trained.model, trained.table, trained.parts.test),
        )
    return found


def test_calibration_undoes_the_weights_of_the_classes(judged):
    losses, means = {}, {}
    for name, (_, found) in judged.items():
        p = found.answers["probabilities"].astype(np.float64)
        losses[name] = log_loss(found.truth == "fraud", p[:, 0] / p.sum(axis=1))
        means[name] = p[:, 0].mean()
    assert losses["weighted"] > 1.5 * losses["plain"]
    assert losses["calibrated"] < 1.15 * losses["plain"]
    assert means["weighted"] > 3 * SHARE
    assert means["calibrated"] == pytest.approx(SHARE, abs=0.02)
    errors = {
        n: found.compute_metrics()["classwise_calibration_error"]
        for n, (_, found) in judged.items()
    }
    assert errors["calibrated"] < 0.3 * errors["weighted"]


def test_a_calibrated_rare_class_is_answered_from_its_share_of_the_rows_up(judged):
    trained, _ = judged["calibrated"]
    share = np.mean(trained.table.target[trained.parts.train] == "fraud")
    assert trained.model.threshold == pytest.approx(share)
    recall = {
        n: np.mean(f.answers["label"][f.truth == "fraud"] == "fraud")
        for n, (_, f) in judged.items()
    }
    assert recall["calibrated"] > 0.6 > recall["plain"]
    assert recall["calibrated"] == pytest.approx(recall["weighted"], abs=0.1)


def test_settle_many_logits_calibrates_on_as_many_rows_as_memory_and_time_allow(
    judged, monkeypatch
):
    trained, _ = judged["calibrated"]
    config = Config(**trained.summary.config)
    shapes = []

    def seen(logits, places, *args, **options):
        shapes.append((logits.shape, places.shape))
        return fit_calibration(logits, places, *args, **options)

    monkeypatch.setattr(pipeline, "fit_calibration", seen)
    monkeypatch.setattr(pipeline, "MOST_LOGITS", 100)
    pipeline.fit_output_scaling(trained.model, trained.table, trained.parts, config)
    assert shapes == [((50, 1), (50,))]  # of two classes


def test_an_aim_wins_over_the_share(judged):
    trained, _ = judged["calibrated"]
    config = Config(**trained.summary.config)
    again = pipeline.fit_output_scaling(
        trained.model, trained.table, trained.parts, config.model_copy(update={"aim": "accuracy"})
    )
    assert again.model.threshold > 2 * trained.model.threshold


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_the_graph_divides_by_the_temperature_and_adds_the_bias(task, tmp_path):
    names = ("a", "b") if task == "binary" else ("a", "b", "c")
    data = rare(tmp_path / "t.csv", n=400, names=names)
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


def test_what_was_fitted_is_in_the_bundle_and_in_the_summary(tmp_path):
    data = rare(tmp_path / "t.csv", n=600, names=("a", "b", "c"))
    told = invoke(tmp_path, data, "--calibrate", "--class-weight", "balanced")
    manifest = Bundle.open(tmp_path / "models" / "m" / "1").manifest
    assert len(manifest.logit_bias) == 3
    assert manifest.logit_bias[2] == max(manifest.logit_bias)  # of the common class
    assert "likeliest classes by the calibrated" in flat(told.stdout)


def test_weighted_probabilities_are_said_not_to_be_true(tmp_path):
    data = rare(tmp_path / "t.csv", n=400)
    told = invoke(tmp_path, data, "--class-weight", "balanced")
    assert "not to be taken at its word; --calibrate corrects it" in flat(told.stdout)


def flat(text):
    return " ".join(text.split())


def invoke(folder, data, *options):
    told = CliRunner().invoke(
        main,
        [
            "fit",
            data,
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
    assert told.exit_code == 0, told.output
    return told


OUT_OF_REACH = "recall@precision=1"


@pytest.fixture
def hopeless(tmp_path):
    """Rows among which nothing tells the classes apart."""
    rng = np.random.default_rng(0)
    lines = [f"{rng.integers(3)},{k % 2}" for k in range(300)]
    path = tmp_path / "hopeless.csv"
    path.write_text("\n".join(["a,y", *lines]) + "\n")
    return str(path)


def test_an_aim_that_cannot_be_met_leaves_a_model_that_says_so(hopeless, tmp_path):
    told = invoke(tmp_path, hopeless, "--aim", OUT_OF_REACH, "--json")
    said = json.loads(told.stdout.splitlines()[-1])
    manifest = Bundle.open(tmp_path / "models" / "m" / "1").manifest
    assert manifest.threshold == said["threshold"] == 0.5
    assert manifest.aim == said["aim"] == OUT_OF_REACH
    assert manifest.aim_unmet == said["aim_unmet"]
    assert manifest.aim_unmet.startswith("expected a threshold with a precision of at least 1")
    assert f"warning: the aim {OUT_OF_REACH} is not met: expected a threshold" in told.stderr
    assert "hopeless.csv:" not in told.stderr
    told = invoke(tmp_path, hopeless, "--aim", OUT_OF_REACH)
    assert f"the aim {OUT_OF_REACH} is not met" in flat(told.stdout)


def test_a_finished_training_takes_another_aim_from_its_checkpoint(hopeless, tmp_path, monkeypatch):
    kept = tmp_path / "run.npz"
    told = invoke(tmp_path, hopeless, "--aim", OUT_OF_REACH, "--checkpoint", str(kept))
    assert f"run again with another --aim from {kept}, which is kept" in told.stderr
    monkeypatch.setattr(UpdateRule, "step", None)  # what learned anything would need it
    invoke(
        tmp_path,
        hopeless,
        "--aim",
        "f1",
        "--calibrate",
        "--positive",
        "0",
        "--checkpoint",
        str(kept),
    )
    assert not kept.exists()
    first, second = (Bundle.open(tmp_path / "models" / "m" / n).manifest for n in "12")
    assert second.training.epochs_run == first.training.epochs_run
    assert second.aim_unmet is None
    assert second.positive_class == 0


def test_compression_of_a_model_whose_aim_was_not_met_keeps_its_threshold(hopeless, tmp_path):
    invoke(tmp_path, hopeless, "--aim", OUT_OF_REACH)
    told = CliRunner().invoke(
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
    assert told.exit_code == 0, told.output
    manifest = Bundle.open(Path(json.loads(told.stdout.splitlines()[-1])["bundle"])).manifest
    assert {v.threshold for v in manifest.variants.values()} == {0.5}
    assert manifest.aim_unmet is not None


class KilledError(Exception):
    pass


class KillAtThird(Callback):
    """Ends a training in its third epoch, as if it had been killed."""

    def on_epoch(self, run):
        if len(run.history) == 3:
            raise KilledError


def interrupted(config, path):
    with pytest.raises(KilledError):
        train(config, np.random.default_rng(0), callbacks=[KillAtThird()], checkpoint=path)


@pytest.mark.parametrize(
    "changed",
    [
        {"aim": "f1"},
        {"calibrate": True},
        {"positive": "1"},
        {"skip_baselines": True},
        {"name": "other"},
    ],
    ids=str,
)
def test_choices_without_a_trace_do_not_part_a_checkpoint_from_its_run(hopeless, tmp_path, changed):
    config, path = Config(data=hopeless, hidden=(3,), epochs=6), tmp_path / "run.npz"
    interrupted(config, path)
    resumed = train(config.model_copy(update=changed), np.random.default_rng(0), checkpoint=path)
    whole = train(config, np.random.default_rng(0))
    np.testing.assert_array_equal(resumed.model.network.parameters, whole.model.network.parameters)


@pytest.mark.parametrize(
    "changed", [{"rare": 2}, {"class_weight": "balanced"}, {"seed": 1}], ids=str
)
def test_choices_that_leave_a_trace_are_refused(hopeless, tmp_path, changed):
    config, path = Config(data=hopeless, hidden=(3,), epochs=6), tmp_path / "run.npz"
    interrupted(config, path)
    with pytest.raises(CheckpointError, match="expected a checkpoint of this run"):
        train(config.model_copy(update=changed), np.random.default_rng(0), checkpoint=path)


@pytest.mark.parametrize("aim", ["f1", "accuracy"])
def test_a_checkpoint_of_an_earlier_version_goes_on(tmp_path, monkeypatch, aim):
    for name in ("plain.csv", "plain_checkpoint.npz"):
        shutil.copy(SCHEMA_1 / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    config = Config(
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
    with (SCHEMA_1 / "plain_scored.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = [[float(row[f"probability_{c}"]) for c in bundle.manifest.classes] for row in rows]
    np.testing.assert_allclose(answers["probabilities"], expected, rtol=1e-4, atol=1e-6)
    if aim == "f1":
        assert answers["label"].astype(str).tolist() == [row["prediction"] for row in rows]
