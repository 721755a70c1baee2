import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest

from serving.bundle import Bundle, BundleError
from tests.variants import compute_sha256
from trainer.compress.load_trained import FP32, load_trained
from trainer.compress.to_dense import list_dense_layers, simplify_members, to_dense
from trainer.config import Config
from trainer.data.tables import DataError
from trainer.export.onnx_graph import build_graph
from trainer.nn import PeriodicEmbedding
from trainer.pipeline import fit

QUICK = {"hidden": (8, 6), "epochs": 3, "skip_baselines": True}


def write_numbers(path, columns, rng, n=120):
    """Write a table with columns of numbers, and a class that depends on the first of them."""
    lines = [",".join([*columns, "kind"])]
    for _ in range(n):
        row = rng.normal(size=len(columns))
        lines.append(",".join([*(f"{x:.3f}" for x in row), "pos" if row[0] > 0 else "neg"]))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def write_categories(path, columns, rng, n=150):
    """Write a table with a category that is embedded, columns of numbers, and a class."""
    lines = [",".join(["E1_0", *columns, "kind"])]
    for _ in range(n):
        row, word = rng.normal(size=len(columns)), rng.integers(6)
        lines.append(",".join([f"w{word}", *(f"{x:.3f}" for x in row), f"k{word % 3}"]))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def assert_same_model(loaded, training):
    """Assert that a loaded model has the numbers and gives the answers of the trained one."""
    model, expected = loaded.model, training.model
    simplified = simplify_members(expected.network)
    np.testing.assert_array_equal(model.network.parameters, simplified.parameters)
    assert [layer.activation.name for layer in list_dense_layers(to_dense(model.network))] == [
        layer.activation.name for layer in list_dense_layers(to_dense(expected.network))
    ]
    assert (model.threshold, model.temperature) == (expected.threshold, expected.temperature)
    assert model.positive_index == expected.positive_index
    np.testing.assert_equal(model.logit_bias, expected.logit_bias)
    np.testing.assert_equal(model.value_range, expected.value_range)
    assert (model.task, model.has_log_target) == (expected.task, expected.has_log_target)
    records = training.table.records.take(training.split.test)
    answers = model.answers(records)
    for name, array in replace(expected, network=simplified).answers(records).items():
        np.testing.assert_array_equal(answers[name], array)
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(loaded.split, part), getattr(training.split, part))
    assert loaded.table.fingerprint() == training.table.fingerprint()


@pytest.mark.parametrize(
    "kind", ["digits", "iris", "tumours", "progress", "wages", "members", "wages-members"]
)
def test_load_trained_returns_the_trained_model(kind, train_bundle, load_model):
    assert_same_model(load_model(kind), train_bundle(kind).training)
    assert build_graph(load_model(kind).model) == train_bundle(kind).bundle.read_graph(FP32)


def test_load_trained_restores_threshold_and_temperature(load_model):
    model = load_model("tumours").model
    assert model.threshold != 0.5
    assert model.temperature != 1
    assert model.positive_class == "malignant"


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("wine", {"batch_norm": True, "dropout": 0.2, "input_dropout": 0.1}),
        ("wine", {"activation": ("gelu", "leaky_relu"), "label_smoothing": 0.1}),
        ("wine", {"hidden": (), "class_weight": "balanced"}),
        ("breast_cancer", {"preset": "fast", "class_weight": "balanced", "calibrate": True}),
        ("diabetes", {"target_scaling": "log", "loss": "huber", "scaling": "quantile"}),
        ("linnerud", {"loss": "poisson", "clip_norm": 1.0, "average": 0.9}),
        ("wine", {"members": 3, "dropout": 0.2, "input_dropout": 0.1}),
        ("diabetes", {"members": 2, "hidden": (), "target_scaling": "log"}),
        ("wine", {"numbers": "pbld", "input_dropout": 0.1}),
        ("diabetes", {"preset": "best"}),
    ],
)
def test_load_trained_any_training_options_are_restored(data, options, tmp_path):
    bundle, training = fit(Config(data=data, models=tmp_path, **(QUICK | options)))
    assert_same_model(load_trained(bundle), training)
    # Without biases only if the classes have equal weights, or there are none.
    assert (training.model.logit_bias is not None) == ("class_weight" in options)


@pytest.mark.parametrize("write", [write_numbers, write_categories])
@pytest.mark.parametrize("columns", [("W1", "b1"), ("W2", "W2_", "b3"), ("logits", "scale")])
def test_load_trained_columns_with_names_of_constants_are_no_problem(columns, write, tmp_path, rng):
    data = write(tmp_path / "t.csv", columns, rng)
    bundle, training = fit(Config(data=data, models=tmp_path / "m", one_hot=3, **QUICK))
    assert_same_model(load_trained(bundle), training)


@pytest.mark.parametrize("write", [write_numbers, write_categories])
@pytest.mark.parametrize("columns", [("W1", "b1"), ("F1", "P1", "b2"), ("tau1", "z1", "W1_")])
def test_load_trained_embedded_numbers_are_restored(columns, write, tmp_path, rng):
    data = write(tmp_path / "t.csv", columns, rng)
    config = Config(data=data, models=tmp_path / "m", one_hot=3, numbers="pbld", **QUICK)
    bundle, training = fit(config)
    assert isinstance(training.model.network.layers[0], PeriodicEmbedding)
    assert_same_model(load_trained(bundle), training)


@pytest.fixture
def model_of_file(tmp_path, rng, monkeypatch):
    """Return the path of a file, a bundle that was trained on it in its folder, and the result.

    The training was given the name of the file without its folder.
    """
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_numbers(folder / "t.csv", ("a", "b"), rng)
    bundle, training = fit(Config(data="t.csv", models=tmp_path / "m", **QUICK))
    return folder / "t.csv", bundle, training


def test_load_trained_in_another_folder_needs_the_path_of_the_data(
    model_of_file, tmp_path, monkeypatch
):
    data, bundle, training = model_of_file
    assert_same_model(load_trained(bundle), training)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"t\.csv.*--data"):
        load_trained(bundle)
    assert_same_model(load_trained(bundle, str(data)), training)


def test_load_trained_changed_data_are_refused(model_of_file):
    data, bundle, _ = model_of_file
    text = data.read_text()
    for changed in (text.replace("pos", "pro"), "\n".join(text.splitlines()[:-1])):
        data.write_text(changed)
        with pytest.raises(
            BundleError, match=r"data it was trained on.*other data from t\.csv; .*--data"
        ):
            load_trained(bundle)
    # One class has a single row now, so that these data cannot be trained on.
    data.write_text(text.replace("pos", "pro", 1))
    with pytest.raises(DataError, match=r"data it was trained on, .*; .* fewer of pro; .*--data"):
        load_trained(bundle)


def test_load_trained_other_data_are_refused(model_of_file):
    _, bundle, _ = model_of_file
    with pytest.raises(BundleError, match="got other data from iris"):
        load_trained(bundle, "iris")


def change_graph(bundle, folder, change):
    """Return a copy of a bundle with a changed graph, and the right checksum in its manifest."""
    path = folder / bundle.manifest.name / "1"
    shutil.copytree(bundle.path, path)
    proto = onnx.load_from_string(bundle.read_graph(FP32))
    change(proto)
    content = proto.SerializeToString(deterministic=True)
    (path / "model.onnx").write_bytes(content)
    variant = bundle.manifest.variants[FP32]
    variants = {FP32: variant.model_copy(update={"sha256": compute_sha256(content)})}
    manifest = bundle.manifest.model_copy(update={"variants": variants})
    (path / "bundle.json").write_text(manifest.model_dump_json())
    return Bundle.open(path)


def change_producer(proto):
    proto.producer_name = "another"


def remove_constant(proto):
    del proto.graph.initializer[0]


def change_shape(proto):
    index = next(i for i, c in enumerate(proto.graph.initializer) if c.name == "W1")
    weights = onnx.numpy_helper.to_array(proto.graph.initializer[index])[:, :-1]
    proto.graph.initializer[index].CopyFrom(onnx.numpy_helper.from_array(weights, "W1"))


@pytest.mark.parametrize("change", [change_producer, remove_constant, change_shape])
def test_load_trained_graph_of_another_version_is_refused(change, train_bundle, tmp_path):
    bundle = change_graph(train_bundle("iris").bundle, tmp_path, change)
    with pytest.raises(BundleError, match="this version of forwardpass builds.*train the model ag"):
        load_trained(bundle)


def test_load_trained_damaged_graph_is_refused(copy_bundle):
    bundle = copy_bundle("iris")
    (bundle.path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"model\.onnx was altered after export"):
        load_trained(bundle)


def test_load_trained_unknown_option_is_refused(copy_bundle):
    bundle = copy_bundle("iris")
    training = bundle.manifest.training
    options = training.config | {"colour": "red"}
    manifest = bundle.manifest.model_copy(
        update={"training": training.model_copy(update={"config": options})}
    )
    with pytest.raises(BundleError, match="expected the options of a training run.*colour"):
        load_trained(replace(bundle, manifest=manifest))


def test_load_trained_bundle_without_fp32_is_refused(copy_bundle):
    bundle = copy_bundle("iris")
    variants = {"int8": bundle.manifest.variants["fp32"]}
    manifest = bundle.manifest.model_copy(update={"variants": variants})
    with pytest.raises(BundleError, match="expected a variant fp32, as it was trained; got int8"):
        load_trained(replace(bundle, manifest=manifest))


def test_load_trained_content_that_is_no_graph_is_refused(copy_bundle, monkeypatch):
    monkeypatch.setattr(Bundle, "read_graph", lambda *_: b"no graph at all")
    with pytest.raises(BundleError, match="expected an ONNX graph in fp32; .*; train the model"):
        load_trained(copy_bundle("iris"))
