"""The positive class: the option, the bundle, the graph, the report and the server."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import ValidationError
from sklearn.metrics import average_precision_score

from serving import create_app
from serving.bundle import Bundle, Manifest, find_positive_index
from serving.runtime import GraphSession
from trainer.cli import main
from trainer.compress.load_trained import load_trained
from trainer.config import Config
from trainer.data.records import Records
from trainer.data.tables import DataError
from trainer.evaluate.metrics import compute_metrics
from trainer.evaluate.resampled_metrics import create_resampled_metrics
from trainer.export.onnx_graph import build_graph
from trainer.pipeline import train


@pytest.mark.parametrize(
    ("classes", "index"),
    [
        ([0, 1], 1),
        (["0", "1"], 1),
        (["false", "true"], 1),
        (["no", "yes"], 1),
        (["N", "Y"], 1),
        (["F", "T"], 1),
        (["off", "on"], 1),
        (["Yes", "no"], 0),  # in sorted order
        (["ON", "off"], 0),
        (["fraud", "good"], None),
        ([1, 2], None),
        (["no", "true"], None),
        (["a", "b", "yes"], None),
    ],
)
def test_positive_index_names_for_yes_and_no_is_yes(classes, index):
    assert find_positive_index(classes) == index


def test_positive_index_given_class_takes_precedence_over_names():
    assert find_positive_index(["no", "yes"], "no") == 0
    assert find_positive_index([0, 1], "0") == 0


@pytest.mark.parametrize(
    ("classes", "positive", "index"),
    [
        ([0, 1], "1.0", 1),  # a column of floats whose classes are whole numbers
        ([-1, 1], "-1.00", 0),
        (["zut", "\u00e9clat"], "e\u0301clat", 1),  # in NFD, as macOS writes it
        (["fraud", "good"], " fraud ", 0),
        (["1", "1.0"], "1.0", 1),  # in bundles that distinguish them
    ],
)
def test_positive_index_other_spelling_of_a_class_is_that_class(classes, positive, index):
    assert find_positive_index(classes, positive) == index


@pytest.mark.parametrize(("positive", "suggestion"), [("Fraud", "fraud"), ("god", "good")])
def test_positive_index_unknown_class_is_refused_with_a_suggestion(positive, suggestion):
    message = rf"fraud, good; got '{positive}'; did you mean '{suggestion}'\?"
    with pytest.raises(ValueError, match=message):
        find_positive_index(["fraud", "good"], positive)


def write_transactions(path, *, names=("fraud", "good"), n=800):
    """Write a file of which about a fifth of the rows have the first class; return its path."""
    rng = np.random.default_rng(0)
    is_first = rng.random(n) < 0.2
    x = rng.normal(size=(n, 2)) + 1.2 * is_first[:, None]
    lines = [
        f"{a:.4f},{b:.4f},{names[0 if first else 1]}"
        for (a, b), first in zip(x, is_first, strict=True)
    ]
    path.write_text("\n".join(["amount,hour,kind", *lines]) + "\n")
    return str(path)


QUICK_OPTIONS = {"hidden": (4,), "epochs": 8, "learning_rate": 0.02, "validation": 0.3}
QUICK_OPTIONS |= {"preset": "fast"}


def count_missed_frauds(config):
    """Train, and return the number of test rows of frauds that are missed, and of all frauds."""
    trained = train(config, np.random.default_rng(0))
    model, test = trained.model, trained.split.test
    truth = trained.table.target[test]
    label = model.answers(trained.table.records.take(test))["label"]
    is_fraud = np.char.endswith(truth, "fraud")
    return int(np.sum(label[is_fraud] != truth[is_fraud])), int(is_fraud.sum())


def test_train_aim_refers_to_the_positive_class_in_any_order(tmp_path):
    first = write_transactions(tmp_path / "first.csv")
    last = write_transactions(tmp_path / "last.csv", names=("zfraud", "good"))
    config = Config(data=first, positive="fraud", aim="cost=1:30", **QUICK_OPTIONS)
    missed, frauds = count_missed_frauds(config)
    assert missed <= frauds * 0.1
    missed, _ = count_missed_frauds(config.model_copy(update={"data": last, "positive": "zfraud"}))
    assert missed <= frauds * 0.1
    missed, _ = count_missed_frauds(config.model_copy(update={"positive": "good"}))
    assert missed > frauds * 0.5


def test_train_aim_without_positive_class_is_refused(tmp_path):
    data = write_transactions(tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"aim f1.*fraud and good.*--positive fraud"):
        train(Config(data=data, aim="f1", **QUICK_OPTIONS), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("breast_cancer", {"positive": "malign"}, r"benign, malignant.*did you mean 'malignant'"),
        ("iris", {"positive": "setosa"}, r"two classes for the positive class setosa"),
        ("diabetes", {"positive": "1"}, r"two classes for the positive class 1"),
    ],
)
def test_train_unknown_positive_class_is_refused(data, options, message):
    with pytest.raises(DataError, match=message):
        train(Config(data=data, **options, **QUICK_OPTIONS), np.random.default_rng(0))


@pytest.mark.parametrize(("value", "positive"), [(1, "1"), (True, "true"), ("a", "a")])
def test_config_positive_number_or_boolean_is_a_text(value, positive):
    assert Config(data="x", positive=value).positive == positive


@pytest.fixture(scope="module")
def fraud(tmp_path_factory):
    """A bundle whose positive class is the first one, the output of `fit`, and their folder."""
    folder = tmp_path_factory.mktemp("fraud")
    data = write_transactions(folder / "t.csv")
    done = CliRunner().invoke(
        main,
        [
            "fit",
            data,
            "--preset",
            "fast",
            "--validation",
            "0.3",
            "--positive",
            "fraud",
            "--aim",
            "cost=1:30",
            "--hidden",
            "4",
            "--epochs",
            "8",
            "--learning-rate",
            "0.02",
            "--models",
            str(folder / "models"),
            "--name",
            "fraud",
            "--runs",
            str(folder / "runs"),
            "--skip-baselines",
        ],
    )
    assert done.exit_code == 0, done.output
    return Bundle.open(folder / "models" / "fraud" / "1"), done.output, folder


def test_fit_first_class_positive_manifest_keeps_the_order_of_classes(fraud):
    manifest, output = fraud[0].manifest, fraud[1]
    assert manifest.classes == ["fraud", "good"]
    assert manifest.positive == manifest.positive_class == "fraud"
    assert manifest.threshold < 0.5
    assert "fraud from a probability of" in output


def test_graph_first_class_positive_is_predicted_from_the_threshold(fraud):
    bundle = fraud[0]
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(500, 2)).astype(np.float32)
    outputs = GraphSession(bundle.read_graph("fp32")).run({"features": rows})
    is_above = outputs["probabilities"][:, 0] >= np.float32(bundle.manifest.threshold)
    assert 0 < is_above.sum() < 500
    assert outputs["label"].tolist() == np.where(is_above, "fraud", "good").tolist()


def test_graph_probability_at_the_threshold_equals_numpy(fraud):
    model = load_trained(fraud[0]).model
    rows = np.random.default_rng(2).normal(size=(40, 2)).astype(np.float32)
    records = Records(model.encoder.columns, rows)
    p = GraphSession(build_graph(model)).run({"features": rows})["probabilities"][:, 0]
    # Where both compute the same probability, their labels must be the same, too.
    is_equal = model.answers(records)["probabilities"][:, 0] == p
    assert is_equal.sum() > 5
    for row in np.flatnonzero(is_equal)[:5]:
        for threshold, label in ((p[row], "fraud"), (np.nextafter(p[row], np.float32(1)), "good")):
            changed = replace(model, threshold=float(threshold))
            session = GraphSession(build_graph(changed))
            assert changed.answers(records)["label"][row] == label
            assert session.run({"features": rows})["label"][row] == label


def test_load_trained_first_class_positive_keeps_it(fraud):
    assert load_trained(fraud[0]).model.positive_class == "fraud"


def test_compress_first_class_positive_keeps_it_in_each_variant(fraud, tmp_path):
    folder = shutil.copytree(fraud[0].path, tmp_path / "fraud" / "1")  # only read by others
    done = CliRunner().invoke(
        main,
        [
            "compress",
            str(folder),
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
    compressed = Bundle.open(Path(json.loads(done.stdout.splitlines()[-1])["bundle"]))
    assert compressed.manifest.positive_class == "fraud"
    rows = np.random.default_rng(4).normal(size=(500, 2)).astype(np.float32)
    for name, variant in compressed.manifest.variants.items():
        outputs = GraphSession(compressed.read_graph(name)).run({"features": rows})
        is_above = outputs["probabilities"][:, 0] >= np.float32(variant.threshold)
        assert outputs["label"].tolist() == np.where(is_above, "fraud", "good").tolist()


def test_positive_class_bundle_of_schema_1_is_the_second():
    bundle = Bundle.open(Path(__file__).parents[1] / "bundles" / "schema_1" / "visits" / "1")
    assert bundle.manifest.positive is None
    assert bundle.manifest.positive_class == bundle.manifest.classes[1]


@pytest.mark.slow
def test_report_first_class_positive_names_it(fraud, tmp_path):
    bundle, _, folder = fraud
    done = CliRunner().invoke(
        main,
        [
            "report",
            str(bundle.path),
            "--runs",
            str(folder / "runs"),
            "-o",
            str(tmp_path / "r.html"),
        ],
    )
    assert done.exit_code == 0, done.output
    page = (tmp_path / "r.html").read_text()
    for words in (
        "Given one row that is “fraud”",
        "The model predicts “fraud” if its probability is",
        "ROC AUC of “fraud”",
        "PR AUC of “fraud”",
        "A higher threshold predicts “fraud” for fewer rows",
    ):
        assert words in page
    # “good” is named as a class only: its share, and the answer of a constant prediction.
    assert not re.search("(of|is|are|predicts) “good”", page)


def test_server_first_class_positive_is_in_its_descriptions(fraud):
    bundle, _, folder = fraud
    client = create_app(models=folder / "models").test_client()
    details = client.get("/models/fraud").get_json()
    assert (details["classes"], details["positive"]) == (["fraud", "good"], "fraud")
    assert details["threshold"] == bundle.manifest.threshold
    parameters = client.get("/v2/models/fraud/config").get_json()["parameters"]
    assert parameters["positive"] == {"string_value": "fraud"}
    assert float(parameters["threshold"]["string_value"]) == bundle.manifest.threshold
    schemas = client.get("/openapi.json").get_json()["components"]["schemas"]
    labels = schemas["fraud.answers"]["properties"]["predictions"]["items"]
    assert labels["description"].startswith("fraud if its probability reaches the threshold")


def test_pr_auc_is_that_of_the_positive_class():
    rng = np.random.default_rng(3)
    truth = np.where(rng.random(200) < 0.2, "a", "b")
    score = rng.random(200) + (truth == "a") * 0.4
    p = np.stack([score / 2, 1 - score / 2], axis=1).astype(np.float32)
    answers = {"label": truth, "probabilities": p}
    classes = np.array(["a", "b"])
    expected = [average_precision_score(truth == name, p[:, k]) for k, name in enumerate(classes)]
    assert abs(expected[0] - expected[1]) > 0.1
    for positive in (0, 1):
        metrics = compute_metrics("binary", truth, answers, classes, positive)
        assert metrics["pr_auc"] == pytest.approx(expected[positive], rel=1e-6)
        counts = np.ones((200, 1), np.int32)  # each row once
        resampled = create_resampled_metrics("binary", truth, answers, classes, positive)(counts)
        assert resampled["pr_auc"][0] == pytest.approx(metrics["pr_auc"], rel=1e-9)


def test_manifest_unknown_positive_class_is_refused(fraud):
    content = fraud[0].manifest.model_dump()
    with pytest.raises(ValidationError, match="expected a positive class out of the classes"):
        Manifest.model_validate({**content, "positive": "theft"})


def test_manifest_without_positive_class_is_the_second(fraud):
    content = fraud[0].manifest.model_dump()
    assert Manifest.model_validate({**content, "positive": None}).positive_class == "good"
