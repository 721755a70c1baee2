"""The positive class, from the option to every place that speaks of it."""

import json
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
    ("classes", "place"),
    [
        ([0, 1], 1),
        (["0", "1"], 1),
        (["false", "true"], 1),
        (["no", "yes"], 1),
        (["N", "Y"], 1),
        (["F", "T"], 1),
        (["off", "on"], 1),
        (["Yes", "no"], 0),  # as they are sorted
        (["ON", "off"], 0),
        (["fraud", "good"], None),
        ([1, 2], None),
        (["no", "true"], None),
        (["a", "b", "yes"], None),
    ],
)
def test_names_that_mean_yes_and_no_say_which_class_is_positive(classes, place):
    assert find_positive_index(classes) == place


def test_what_is_said_wins_over_what_names_mean():
    assert find_positive_index(["no", "yes"], "no") == 0
    assert find_positive_index([0, 1], "0") == 0


@pytest.mark.parametrize(
    ("classes", "said", "place"),
    [
        ([0, 1], "1.0", 1),  # as a column of floats is written, whose classes are whole numbers
        ([-1, 1], "-1.00", 0),
        (["zut", "\u00e9clat"], "e\u0301clat", 1),  # NFD, as macOS types it
        (["fraud", "good"], " fraud ", 0),
        (["1", "1.0"], "1.0", 1),  # of bundles that told them apart
    ],
)
def test_positive_index_class_spelled_as_in_the_data_is_that_class(classes, said, place):
    assert find_positive_index(classes, said) == place


@pytest.mark.parametrize(("said", "like"), [("Fraud", "fraud"), ("god", "good")])
def test_a_positive_class_that_is_none_is_refused_with_the_classes(said, like):
    with pytest.raises(ValueError, match=rf"fraud, good; got '{said}'; did you mean '{like}'\?"):
        find_positive_index(["fraud", "good"], said)


def transactions(path, *, names=("fraud", "good"), n=800):
    """A file of overlapping transactions, a fifth of them of the first name."""
    rng = np.random.default_rng(0)
    rare = rng.random(n) < 0.2
    x = rng.normal(size=(n, 2)) + 1.2 * rare[:, None]
    lines = [f"{a:.4f},{b:.4f},{names[0 if r else 1]}" for (a, b), r in zip(x, rare, strict=True)]
    path.write_text("\n".join(["amount,hour,kind", *lines]) + "\n")
    return str(path)


FAST = {"hidden": (4,), "epochs": 8, "learning_rate": 0.02, "validation": 0.3}


def missed(config):
    """Frauds among the test rows that are answered as good, and how many there are."""
    trained = train(config, np.random.default_rng(0))
    model, test = trained.model, trained.parts.test
    truth = trained.table.target[test]
    label = model.answers(trained.table.records.take(test))["label"]
    frauds = np.char.endswith(truth, "fraud")
    return int(np.sum(label[frauds] != truth[frauds])), int(frauds.sum())


def test_an_aim_finds_as_many_frauds_wherever_their_name_is_in_the_alphabet(tmp_path):
    first = transactions(tmp_path / "first.csv")
    last = transactions(tmp_path / "last.csv", names=("zfraud", "good"))
    config = Config(data=first, positive="fraud", aim="cost=1:30", **FAST)
    few, frauds = missed(config)
    assert few <= frauds * 0.1
    lost, _ = missed(config.model_copy(update={"data": last, "positive": "zfraud"}))
    assert lost <= frauds * 0.1
    wrongly, _ = missed(config.model_copy(update={"positive": "good"}))
    assert wrongly > frauds * 0.5


def test_an_aim_without_a_positive_class_is_refused_before_training(tmp_path):
    data = transactions(tmp_path / "t.csv")
    watched = []
    with pytest.raises(DataError, match=r"aim f1.*fraud and good.*--positive fraud"):
        train(Config(data=data, aim="f1", **FAST), np.random.default_rng(0), callbacks=watched)


@pytest.mark.parametrize(
    ("data", "choices", "message"),
    [
        ("breast_cancer", {"positive": "malign"}, r"benign, malignant.*did you mean 'malignant'"),
        ("iris", {"positive": "setosa"}, r"two classes for the positive class setosa"),
        ("diabetes", {"positive": "1"}, r"two classes for the positive class 1"),
    ],
)
def test_a_positive_class_that_cannot_be_is_refused(data, choices, message):
    with pytest.raises(DataError, match=message):
        train(Config(data=data, **choices, **FAST), np.random.default_rng(0))


@pytest.mark.parametrize(("written", "read"), [(1, "1"), (True, "true"), ("a", "a")])
def test_a_positive_class_may_be_a_number_or_a_truth_value_in_toml(written, read):
    assert Config(data="x", positive=written).positive == read


@pytest.fixture(scope="module")
def fraud(tmp_path_factory):
    """A bundle whose positive class is the first one, by the command line, and what was printed."""
    folder = tmp_path_factory.mktemp("fraud")
    data = transactions(folder / "t.csv")
    told = CliRunner().invoke(
        main,
        [
            "fit",
            data,
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
    assert told.exit_code == 0, told.output
    return Bundle.open(folder / "models" / "fraud" / "1"), told.output, folder


def test_the_bundle_records_the_positive_class_and_keeps_the_order_of_classes(fraud):
    manifest, output = fraud[0].manifest, fraud[1]
    assert manifest.classes == ["fraud", "good"]
    assert manifest.positive == manifest.positive_class == "fraud"
    assert manifest.threshold < 0.5
    assert "fraud from a probability of" in output


def test_the_graph_answers_the_first_class_from_its_threshold_up(fraud):
    bundle = fraud[0]
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(500, 2)).astype(np.float32)
    got = GraphSession(bundle.read_graph("fp32")).run({"features": rows})
    above = got["probabilities"][:, 0] >= np.float32(bundle.manifest.threshold)
    assert 0 < above.sum() < 500
    assert got["label"].tolist() == np.where(above, "fraud", "good").tolist()


def test_numpy_and_graph_agree_at_the_border_of_a_positive_first_class(fraud):
    model = load_trained(fraud[0]).model
    rows = np.random.default_rng(2).normal(size=(40, 2)).astype(np.float32)
    records = Records(model.encoder.columns, rows)
    p = GraphSession(build_graph(model)).run({"features": rows})["probabilities"][:, 0]
    same = model.answers(records)["probabilities"][:, 0] == p
    assert same.sum() > 5  # where both compute the very same number, both must answer the same
    for row in np.flatnonzero(same)[:5]:
        for threshold, label in ((p[row], "fraud"), (np.nextafter(p[row], np.float32(1)), "good")):
            at = replace(model, threshold=float(threshold))
            session = GraphSession(build_graph(at))
            assert at.answers(records)["label"][row] == label
            assert session.run({"features": rows})["label"][row] == label


def test_reopening_keeps_the_positive_class(fraud):
    assert load_trained(fraud[0]).model.positive_class == "fraud"


def test_compression_keeps_the_positive_class_in_every_variant(fraud, tmp_path):
    own = shutil.copytree(fraud[0].path, tmp_path / "fraud" / "1")  # other tests read the folder
    told = CliRunner().invoke(
        main,
        [
            "compress",
            str(own),
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
    smaller = Bundle.open(Path(json.loads(told.stdout.splitlines()[-1])["bundle"]))
    assert smaller.manifest.positive_class == "fraud"
    rows = np.random.default_rng(4).normal(size=(500, 2)).astype(np.float32)
    for name, variant in smaller.manifest.variants.items():
        got = GraphSession(smaller.read_graph(name)).run({"features": rows})
        above = got["probabilities"][:, 0] >= np.float32(variant.threshold)
        assert got["label"].tolist() == np.where(above, "fraud", "good").tolist()


def test_the_positive_class_of_a_bundle_of_version_1_is_its_second():
    bundle = Bundle.open(Path(__file__).parents[1] / "bundles" / "schema_1" / "visits" / "1")
    assert bundle.manifest.positive is None
    assert bundle.manifest.positive_class == bundle.manifest.classes[1]


@pytest.mark.slow
def test_the_report_names_the_class_it_speaks_of(fraud, tmp_path):
    bundle, _, folder = fraud
    told = CliRunner().invoke(
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
    assert told.exit_code == 0, told.output
    page = (tmp_path / "r.html").read_text()
    for words in (
        "Given one row that is “fraud”",
        "It answers “fraud” from a probability of",
        "ROC AUC of “fraud”",
        "PR AUC of “fraud”",
        "fewer rows are answered “fraud”",
    ):
        assert words in page
    assert "“good”" not in page


def test_a_server_says_which_class_its_threshold_is_of(fraud):
    bundle, _, folder = fraud
    client = create_app(models=folder / "models").test_client()
    said = client.get("/models/fraud").get_json()
    assert (said["classes"], said["positive"]) == (["fraud", "good"], "fraud")
    assert said["threshold"] == bundle.manifest.threshold
    parameters = client.get("/v2/models/fraud/config").get_json()["parameters"]
    assert parameters["positive"] == {"string_value": "fraud"}
    assert float(parameters["threshold"]["string_value"]) == bundle.manifest.threshold
    schemas = client.get("/openapi.json").get_json()["components"]["schemas"]
    labels = schemas["fraud.answers"]["properties"]["predictions"]["items"]
    assert labels["description"].startswith("fraud if its probability reaches the threshold")


def test_areas_are_of_the_positive_class():
    rng = np.random.default_rng(3)
    truth = np.where(rng.random(200) < 0.2, "a", "b")
    score = rng.random(200) + (truth == "a") * 0.4
    p = np.stack([score / 2, 1 - score / 2], axis=1).astype(np.float32)
    answers = {"label": truth, "probabilities": p}
    classes = np.array(["a", "b"])
    expected = [average_precision_score(truth == name, p[:, k]) for k, name in enumerate(classes)]
    assert abs(expected[0] - expected[1]) > 0.1
    for positive in (0, 1):
        found = compute_metrics("binary", truth, answers, classes, positive)
        assert found["pr_auc"] == pytest.approx(expected[positive], rel=1e-6)
        once = np.ones((200, 1), np.int32)
        again = create_resampled_metrics("binary", truth, answers, classes, positive)(once)
        assert again["pr_auc"][0] == pytest.approx(found["pr_auc"], rel=1e-9)


def test_a_manifest_whose_positive_class_is_no_class_is_refused(fraud):
    content = fraud[0].manifest.model_dump()
    with pytest.raises(ValidationError, match="expected a positive class out of the classes"):
        Manifest.model_validate({**content, "positive": "theft"})


def test_a_manifest_that_says_none_means_the_second_class(fraud):
    content = fraud[0].manifest.model_dump()
    assert Manifest.model_validate({**content, "positive": None}).positive_class == "good"
