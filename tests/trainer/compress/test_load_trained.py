import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest

from serving.bundle import Bundle, BundleError
from tests.variants import compute_sha256
from trainer.compress.load_trained import DENSE, load_trained
from trainer.compress.to_dense import dense_layers, to_dense
from trainer.config import Config
from trainer.data.tables import DataError
from trainer.export.onnx_graph import build_graph
from trainer.pipeline import fit

QUICK = {"hidden": (8, 6), "epochs": 3, "skip_baselines": True}


def write_numbers(path, columns, rng, n=120):
    """A table of numbers with columns of those names, and a class that follows the first."""
    lines = [",".join([*columns, "kind"])]
    for _ in range(n):
        row = rng.normal(size=len(columns))
        lines.append(",".join([*(f"{x:.3f}" for x in row), "pos" if row[0] > 0 else "neg"]))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def write_words(path, columns, rng, n=150):
    """Likewise, with a category in front that is embedded."""
    lines = [",".join(["E1_0", *columns, "kind"])]
    for _ in range(n):
        row, word = rng.normal(size=len(columns)), rng.integers(6)
        lines.append(",".join([f"w{word}", *(f"{x:.3f}" for x in row), f"k{word % 3}"]))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def same_model(opened, trained):
    """Whether it is the model that was trained: number by number, and in what it answers."""
    mine, theirs = opened.model, trained.model
    wanted = to_dense(theirs.network)
    np.testing.assert_array_equal(mine.network.parameters, wanted.parameters)
    assert [layer.activation.name for layer in dense_layers(mine.network)] == [
        layer.activation.name for layer in dense_layers(wanted)
    ]
    assert (mine.threshold, mine.temperature) == (theirs.threshold, theirs.temperature)
    assert (mine.positive, mine.logit_bias) == (theirs.positive, theirs.logit_bias)
    assert (mine.task, mine.logarithmic) == (theirs.task, theirs.logarithmic)
    records = trained.table.records.take(trained.parts.test)
    answers, expected = mine.answers(records), replace(theirs, network=wanted).answers(records)
    for name, array in expected.items():
        np.testing.assert_array_equal(answers[name], array)
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(opened.parts, part), getattr(trained.parts, part))
    assert opened.table.fingerprint() == trained.table.fingerprint()
    return True


@pytest.mark.parametrize("kind", ["digits", "iris", "tumours", "progress", "wages"])
def test_a_bundle_gives_back_the_model_it_is_of(kind, made, reopened):
    assert same_model(reopened(kind), made(kind).trained)
    assert build_graph(reopened(kind).model) == made(kind).bundle.read_graph(DENSE)


def test_threshold_and_temperature_are_those_that_were_chosen(reopened):
    model = reopened("tumours").model
    assert model.threshold != 0.5
    assert model.temperature != 1
    assert model.logit_bias is not None
    assert model.positive_class == "malignant"


@pytest.mark.parametrize(
    ("data", "choices"),
    [
        ("wine", {"batch_norm": True, "dropout": 0.2, "input_dropout": 0.1}),
        ("wine", {"activation": ("gelu", "leaky_relu"), "label_smoothing": 0.1}),
        ("wine", {"hidden": (), "class_weight": "balanced"}),
        ("diabetes", {"target_scaling": "log", "loss": "huber", "scaling": "quantile"}),
        ("linnerud", {"loss": "poisson", "clip_norm": 1.0, "average": 0.9}),
    ],
)
def test_whatever_it_was_trained_with_it_comes_back(data, choices, tmp_path):
    bundle, trained = fit(Config(data=data, models=tmp_path, **(QUICK | choices)))
    assert same_model(load_trained(bundle), trained)


@pytest.mark.parametrize("write", [write_numbers, write_words])
@pytest.mark.parametrize("columns", [("W1", "b1"), ("W2", "W2_", "b3"), ("logits", "scale")])
def test_columns_may_have_the_names_of_weights(columns, write, tmp_path, rng):
    data = write(tmp_path / "t.csv", columns, rng)
    bundle, trained = fit(Config(data=data, models=tmp_path / "m", one_hot=3, **QUICK))
    assert same_model(load_trained(bundle), trained)


@pytest.fixture
def a_file(tmp_path, rng, monkeypatch):
    """A model of a file in the folder it was trained in, told of by its name alone."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    write_numbers(home / "t.csv", ("a", "b"), rng)
    bundle, trained = fit(Config(data="t.csv", models=tmp_path / "m", **QUICK))
    return home / "t.csv", bundle, trained


def test_from_another_folder_the_data_have_to_be_named(a_file, tmp_path, monkeypatch):
    data, bundle, trained = a_file
    assert same_model(load_trained(bundle), trained)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"t\.csv.*--data"):
        load_trained(bundle)
    assert same_model(load_trained(bundle, str(data)), trained)


def test_other_data_are_refused(a_file):
    data, bundle, _ = a_file
    text = data.read_text()
    for other in (text.replace("pos", "pro"), "\n".join(text.splitlines()[:-1])):
        data.write_text(other)
        with pytest.raises(
            BundleError, match=r"data it was trained on.*others from t\.csv; .*--data"
        ):
            load_trained(bundle)
    data.write_text(text.replace("pos", "pro", 1))  # which cannot even be trained on
    with pytest.raises(DataError, match=r"data it was trained on, .*; .* fewer of pro; .*--data"):
        load_trained(bundle)


def test_data_of_another_kind_are_refused(a_file):
    _, bundle, _ = a_file
    with pytest.raises(BundleError, match="got others from iris"):
        load_trained(bundle, "iris")


def changed(bundle, folder, change):
    """A copy whose graph was changed, and its manifest with it."""
    place = folder / bundle.manifest.name / "1"
    shutil.copytree(bundle.path, place)
    proto = onnx.load_from_string(bundle.read_graph(DENSE))
    change(proto)
    content = proto.SerializeToString(deterministic=True)
    (place / "model.onnx").write_bytes(content)
    variant = bundle.manifest.variants[DENSE]
    variants = {DENSE: variant.model_copy(update={"sha256": compute_sha256(content)})}
    manifest = bundle.manifest.model_copy(update={"variants": variants})
    (place / "bundle.json").write_text(manifest.model_dump_json())
    return Bundle.open(place)


def other_maker(proto):
    proto.producer_name = "another"


def without_a_weight(proto):
    del proto.graph.initializer[0]


def of_another_shape(proto):
    place = next(i for i, c in enumerate(proto.graph.initializer) if c.name == "W1")
    weights = onnx.numpy_helper.to_array(proto.graph.initializer[place])[:, :-1]
    proto.graph.initializer[place].CopyFrom(onnx.numpy_helper.from_array(weights, "W1"))


@pytest.mark.parametrize("change", [other_maker, without_a_weight, of_another_shape])
def test_a_graph_of_another_make_is_refused(change, made, tmp_path):
    bundle = changed(made("iris").bundle, tmp_path, change)
    with pytest.raises(BundleError, match="this version of forwardpass makes.*train the model ag"):
        load_trained(bundle)


def test_a_graph_that_is_damaged_is_refused(copied):
    bundle = copied("iris")
    (bundle.path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"model\.onnx was altered after export"):
        load_trained(bundle)


def test_choices_that_no_one_knows_are_refused(copied):
    bundle = copied("iris")
    training = bundle.manifest.training
    told = training.model_copy(update={"config": training.config | {"colour": "red"}})
    other = replace(bundle, manifest=bundle.manifest.model_copy(update={"training": told}))
    with pytest.raises(BundleError, match="expected the choices of a training run.*colour"):
        load_trained(other)


def test_a_bundle_without_what_was_trained_is_refused(copied):
    bundle = copied("iris")
    variants = {"int8": bundle.manifest.variants["fp32"]}
    other = replace(bundle, manifest=bundle.manifest.model_copy(update={"variants": variants}))
    with pytest.raises(BundleError, match="expected a variant fp32, as it was trained; got int8"):
        load_trained(other)


def test_a_graph_that_is_none_is_refused(copied, monkeypatch):
    monkeypatch.setattr(Bundle, "read_graph", lambda *_: b"no graph at all")
    with pytest.raises(BundleError, match="expected an ONNX graph in fp32; .*; train the model"):
        load_trained(copied("iris"))
