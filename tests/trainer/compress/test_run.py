import json
import math
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from serving import create_app
from serving.bundle import Bundle, BundleError, Manifest
from serving.runtime import GraphSession, run_self_test
from tests.repositories import load_repository
from trainer.compress import run
from trainer.compress.compression_config import CompressionConfig, CompressionConfigError
from trainer.compress.run import compress
from trainer.config import Config
from trainer.evaluate import Evaluation
from trainer.export.parity import ParityError
from trainer.pipeline import fit

QUICK = {"epochs": 3, "batch_size": 64}
GOALS = {  # what all of these kinds keep every variant with
    "digits": {"max_drop": 0.15, "prune": 0.5, "sparse": 0.5},
    "tumours": {"max_drop": 0.2, "prune": 0.5},
    "progress": {"max_drop": 0.6, "prune": 0.5},
    "wages": {"max_drop": 0.3, "prune": 0.5},
}


def done(bundle, **choices):
    """A compression, and the trials it told of."""
    told = []
    return compress(bundle, CompressionConfig(**(QUICK | choices)), tell=told.append), told


@pytest.fixture(scope="module")
def compressed(made, tmp_path_factory):
    """Compresses a model of a kind, once; its dense bundle, what came of it, and the trials."""
    known = {}

    def get(kind):
        if kind not in known:
            place = tmp_path_factory.mktemp("m") / "models" / kind / "1"
            place.parent.mkdir(parents=True)
            place.symlink_to(made(kind).bundle.path)
            dense = Bundle.open(place)
            known[kind] = (dense, *done(dense, **GOALS[kind]))
        return known[kind]

    return get


def numbers_of(content):
    graph = onnx.load_from_string(content).graph
    return {c.name: numpy_helper.to_array(c) for c in graph.initializer}


@pytest.mark.slow
@pytest.mark.parametrize("kind", GOALS)
def test_the_new_version_holds_what_there_was_and_what_was_kept(kind, compressed):
    dense, found, told = compressed(kind)
    bundle, tried = found.bundle, found.compression.tried
    assert bundle.path.name == "2"
    assert bundle.read_graph("fp32") == dense.read_graph("fp32")
    kept = [candidate for candidate in tried if candidate.kept]
    assert len(kept) >= 2
    assert list(bundle.manifest.variants) == [candidate.name for candidate in kept]
    for candidate in kept:
        assert candidate.drop <= found.compression.max_drop
        variant = bundle.manifest.variants[candidate.name]
        assert (variant.bits, variant.size_bytes) == (candidate.bits, candidate.size_bytes)
        contents = [t.content for t in told if t.name == candidate.name]
        assert bundle.read_graph(candidate.name) in contents
    files = {path.name for path in bundle.path.iterdir()}
    assert files == {"bundle.json", *bundle.checksums}


@pytest.mark.parametrize("kind", GOALS)
def test_every_variant_proves_itself_and_is_told_of_as_it_answers(kind, compressed, reopened):
    _, found, _ = compressed(kind)
    table, parts = reopened(kind).table, reopened(kind).parts
    selftest = found.bundle.read_selftest()
    assert set(selftest.expected) == set(found.bundle.manifest.variants)
    records, truth = table.records.take(parts.test), table.target[parts.test]
    for name, variant in found.bundle.manifest.variants.items():
        assert run_self_test(found.bundle, name).passed
        answers = GraphSession(found.bundle.read_graph(name)).run(records.inputs())
        model = reopened(kind).model
        judged = Evaluation(model.task, truth, answers, model.classes).compute_metrics()
        assert variant.metrics == pytest.approx(judged, abs=1e-4)


@pytest.mark.parametrize("kind", GOALS)
def test_what_it_says_outlasts_being_written(kind, compressed):
    dense, found, _ = compressed(kind)
    text = (found.bundle.path / "bundle.json").read_text()
    manifest = Manifest.model_validate_json(text)
    assert manifest == found.bundle.manifest
    assert manifest.compression == found.compression
    same = {
        "inputs",
        "classes",
        "positive",
        "threshold",
        "temperature",
        "logit_bias",
        "training",
        "metrics",
        "intervals",
        "baselines",
        "data",
        "example",
        "parameters",
        "task",
        "aim",
        "aim_unmet",
        "class_shares",
    }
    before = dense.manifest.model_dump()
    assert all(manifest.model_dump()[name] == before[name] for name in same)
    assert manifest.files["reference.json"] == dense.manifest.files["reference.json"]


@pytest.mark.parametrize("kind", GOALS)
def test_the_test_rows_confirm_it(kind, compressed, reopened):
    _, found, _ = compressed(kind)
    metric, variants = found.compression.metric, found.bundle.manifest.variants
    for candidate in found.compression.tried[1:]:
        tested = candidate.tested
        assert (candidate.kept or found.compression.classify(candidate) == "refuted") == bool(
            tested
        )
        if tested is None:
            continue
        assert tested.interval[0] <= tested.interval[1]
        assert (tested.interval[0] <= found.compression.max_drop) == candidate.kept
        if candidate.kept:
            fall = variants["fp32"].metrics[metric] - variants[candidate.name].metrics[metric]
            assert tested.drop == pytest.approx(fall)


@pytest.mark.parametrize("kind", GOALS)
def test_a_server_takes_it_and_lists_its_variants(kind, compressed):
    _, found, _ = compressed(kind)
    models = found.bundle.path.parent.parent
    repository = load_repository(models)
    assert repository.refusal_reasons == {}
    assert repository.live_models[kind].manifest.version == 2
    told = create_app(models=models).test_client().get(f"/models/{kind}").get_json()
    assert set(told["variants"]) == set(found.bundle.manifest.variants)
    assert all(variant["passed"] for variant in told["variants"].values())


def in_integers(numbers, x):
    """Probabilities by nothing but what lies in the file, in Python's whole numbers."""
    q = (
        x / numbers["s1_in"]
        if "offset" not in numbers
        else ((x - numbers["offset"]) / numbers["scale"] / numbers["s1_in"])
    )
    q = np.rint(q).astype(np.int64) + int(numbers["o1_in"])
    values = q.clip(0, 255) - int(numbers["o1_in"])
    for layer in (1, 2, 3):
        W, b = numbers[f"W{layer}"], numbers[f"b{layer}"]
        if W.dtype == np.float32:  # the last, if that pays
            z = values * np.float64(numbers["s2"]) @ W + b
            break
        sums = values.astype(object) @ W.astype(object) + b.astype(object)
        z = sums.astype(np.float64) * np.float64(numbers[f"st{layer}"])
        if layer < 3:
            values = np.rint(z / numbers[f"s{layer}"]).clip(0, 255).astype(np.int64)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_a_request_to_bytes_is_answered_as_whole_numbers_say(compressed, reopened):
    _, found, _ = compressed("digits")
    numbers = numbers_of(found.bundle.read_graph("int8"))
    opened = reopened("digits")
    rows = opened.table.records.take(opened.parts.test[:60]).numbers
    app = create_app(models=found.bundle.path.parent.parent, variant="int8").test_client()
    body = {"instances": rows.tolist()}
    told = app.post("/predict", json=body).get_json()
    assert app.get("/models/digits").get_json()["variant"] == "int8"
    wanted = in_integers(numbers, rows)
    off = np.abs(np.array(told["probabilities"]) - wanted).max(axis=1)
    assert np.mean(off < 1e-5) > 0.97  # all but what lies between two bytes
    assert told["predictions"] == wanted.argmax(axis=1).tolist()


def test_a_compressed_bundle_can_be_compressed_again(compressed, tmp_path):
    dense, found, _ = compressed("wages")
    shutil.copytree(found.bundle.path, tmp_path / "wages" / "2")
    again, _ = done(Bundle.open(tmp_path / "wages" / "2"), prune="none", max_drop=0.3)
    assert again.bundle.path == tmp_path / "wages" / "3"
    assert set(again.bundle.manifest.variants) == {"fp32", "int8"}
    assert again.bundle.read_graph("fp32") == dense.read_graph("fp32")
    assert again.compression.tried[0].drop == 0


@pytest.mark.slow
def test_a_seed_decides_every_file_but_the_manifest(copied):
    bundle = copied("digits")
    first, second = (
        done(bundle, epochs=1, prune=0.5, max_drop=0.9, seed=1)[0].bundle for _ in range(2)
    )
    assert first.checksums == second.checksums
    assert len(first.manifest.variants) >= 3


@pytest.mark.slow
def test_where_nothing_holds_nothing_is_written(copied, monkeypatch):
    bundle = copied("digits")
    monkeypatch.setattr(
        "trainer.compress.variant_search.VariantSearch.holds", lambda _, t: t.name == "fp32"
    )
    before = sorted(bundle.path.parent.rglob("*"))
    found, told = done(bundle, prune=0.9)
    assert found.bundle is None
    assert sorted(bundle.path.parent.rglob("*")) == before
    assert [c.name for c in found.compression.tried] == [trial.name for trial in told]
    assert [c.kept for c in found.compression.tried] == [True] + [False] * (len(told) - 1)


@pytest.mark.parametrize("low, kept", [(0.3, False), (0.1, True)])
def test_what_test_rows_refute_is_left_out(low, kept, copied, monkeypatch):
    monkeypatch.setattr(Evaluation, "compute_drop_interval", lambda *_: (low, 0.4))
    found, _ = done(copied("digits"), prune="none", max_drop=0.2)
    assert (found.bundle is not None) == kept
    candidate = found.compression.tried[1]
    assert candidate.kept == kept
    assert candidate.tested.interval == (low, 0.4)
    assert found.compression.classify(candidate) == ("kept" if kept else "refuted")


def test_of_each_kind_the_test_rows_are_asked_of_one(compressed):
    _, found, _ = compressed("digits")
    asked = [c.name for c in found.compression.tried if c.tested is not None]
    assert len(asked) == len(set(asked))


def test_what_saves_neither_bytes_nor_weights_is_not_kept(copied):
    found, _ = done(copied("iris"), prune="none", max_drop=0.5)
    dense, int8 = found.compression.tried[:2]
    assert int8.size_bytes > dense.size_bytes  # of a network as small as that
    assert found.bundle is None
    assert found.compression.classify(int8) == "holds"


@pytest.mark.slow
def test_options_show_in_what_is_written(compressed, copied):
    _, found, _ = compressed("digits")
    sparse = numbers_of(found.bundle.read_graph("sparse"))
    zeros = [np.mean(a == 0) for a in sparse.values() if a.ndim == 2]
    assert np.average(zeros, weights=[64 * 32, 32 * 16, 160]) == pytest.approx(0.5, abs=0.01)
    reduced, _ = done(copied("digits"), prune="none", reduce_range=True, max_drop=0.5)
    assert reduced.bundle.manifest.variants["int8"].bits == 7
    whole = [
        a for a in numbers_of(reduced.bundle.read_graph("int8")).values() if a.dtype == np.int8
    ]
    assert max(int(np.abs(a.astype(int)).max()) for a in whole) <= 63


def test_compress_no_reduce_range_where_8_bits_overflow_refused(copied, monkeypatch):
    monkeypatch.setattr(run, "overflows_with_8_bits", lambda: True)
    monkeypatch.setattr(run, "reopen", None)
    with pytest.raises(CompressionConfigError, match="leave it out"):
        done(copied("iris"), reduce_range=False)


def test_a_place_that_cannot_be_written_to_is_named_before_the_work(copied, monkeypatch):
    bundle = copied("iris")
    monkeypatch.setattr(run, "reopen", None)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(PermissionError, match="not writable"):
        done(bundle)


@pytest.mark.slow
def test_a_version_that_does_not_prove_itself_is_not_left_behind(copied, monkeypatch):
    bundle = copied("digits")
    right = Bundle.read_selftest

    def spoiled(self):
        found = right(self)
        if "int8" in found.expected:
            found.expected["int8"].outputs["probabilities"] += 0.5
        return found

    monkeypatch.setattr(Bundle, "read_selftest", spoiled)
    with pytest.raises(ParityError, match="expected a bundle that passes its self-test; .*int8"):
        done(bundle, prune="none", max_drop=0.5)
    assert [path.name for path in bundle.path.parent.iterdir()] == ["1"]


def test_numbers_are_such_as_json_has_words_for(compressed):
    for kind in GOALS:
        told = json.loads(compressed(kind)[1].compression.model_dump_json())
        for candidate in told["tried"]:
            assert all(math.isfinite(v) for v in candidate.values() if isinstance(v, float))


def test_a_bundle_without_its_dense_graph_is_refused(copied):
    bundle = copied("iris")
    (bundle.path / "model.onnx").unlink()
    with pytest.raises(BundleError, match="expected a readable model.onnx"):
        done(bundle)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "choices"),
    [
        ("wine", {"hidden": (12, 8, 6), "activation": ("relu", "identity", "gelu")}),
        ("wine", {"hidden": (8,), "batch_norm": True, "dropout": 0.2}),
        ("wine", {"hidden": ()}),
        ("iris", {"hidden": (8, 4), "activation": "softplus", "scaling": "quantile"}),
        ("diabetes", {"hidden": (8,), "loss": "poisson", "clip_norm": 1.0}),
        ("diabetes", {"hidden": (16, 8), "target_scaling": "log", "loss": "mae"}),
        ("linnerud", {"hidden": (8,), "activation": "tanh"}),
    ],
)
def test_whatever_was_trained_can_be_compressed(data, choices, tmp_path):
    bundle, _ = fit(Config(data=data, models=tmp_path, epochs=5, skip_baselines=True, **choices))
    found, told = done(bundle, max_drop=0.95, prune=0.5, qat=True, sparse=0.5)
    assert len(told) == 9
    assert found.bundle is not None
    assert all(run_self_test(found.bundle, name).passed for name in found.bundle.manifest.variants)
