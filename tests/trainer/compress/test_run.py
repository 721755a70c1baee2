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
# Limits within which every variant of each kind is accepted.
OPTIONS = {
    "digits": {"max_drop": 0.15, "prune": 0.5, "sparse": 0.5},
    "tumours": {"max_drop": 0.2, "prune": 0.5},
    "progress": {"max_drop": 0.6, "prune": 0.5},
    "wages": {"max_drop": 0.3, "prune": 0.5},
    "members": {"max_drop": 0.3, "prune": 0.5},
    "wages-members": {"max_drop": 0.3, "prune": 0.5},
}


def run_compression(bundle, **options):
    """Return the result of a compression and the trials that it reported."""
    reported = []
    config = CompressionConfig(**(QUICK | options))
    return compress(bundle, config, on_trial=reported.append), reported


@pytest.fixture(scope="module")
def compress_kind(train_bundle, tmp_path_factory):
    """Return a function that compresses a model of a kind, once.

    It returns the bundle that was compressed, the result and the reported trials.
    """
    results = {}

    def get_result(kind):
        if kind not in results:
            path = tmp_path_factory.mktemp("m") / "models" / kind / "1"
            path.parent.mkdir(parents=True)
            path.symlink_to(train_bundle(kind).bundle.path)
            bundle = Bundle.open(path)
            results[kind] = (bundle, *run_compression(bundle, **OPTIONS[kind]))
        return results[kind]

    return get_result


def read_constants(content):
    graph = onnx.load_from_string(content).graph
    return {c.name: numpy_helper.to_array(c) for c in graph.initializer}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OPTIONS)
def test_compress_new_version_has_the_original_and_the_kept_variants(kind, compress_kind):
    original, result, reported = compress_kind(kind)
    bundle, tried = result.bundle, result.compression.tried
    assert bundle.path.name == "2"
    assert bundle.read_graph("fp32") == original.read_graph("fp32")
    kept = [candidate for candidate in tried if candidate.kept]
    assert len(kept) >= 2
    assert list(bundle.manifest.variants) == [candidate.name for candidate in kept]
    for candidate in kept:
        assert candidate.drop <= result.compression.max_drop
        variant = bundle.manifest.variants[candidate.name]
        assert (variant.bits, variant.size_bytes) == (candidate.bits, candidate.size_bytes)
        contents = [trial.content for trial in reported if trial.name == candidate.name]
        assert bundle.read_graph(candidate.name) in contents
    files = {path.name for path in bundle.path.iterdir()}
    assert files == {"bundle.json", *bundle.checksums}


@pytest.mark.parametrize("kind", OPTIONS)
def test_compress_every_variant_passes_its_self_test_and_has_its_metrics(
    kind, compress_kind, load_model
):
    _, result, _ = compress_kind(kind)
    trained = load_model(kind)
    model, test_rows = trained.model, trained.split.test
    selftest = result.bundle.read_selftest()
    assert set(selftest.expected) == set(result.bundle.manifest.variants)
    records, truth = trained.table.records.take(test_rows), trained.table.target[test_rows]
    for name, variant in result.bundle.manifest.variants.items():
        assert run_self_test(result.bundle, name).passed
        answers = GraphSession(result.bundle.read_graph(name)).run(records.inputs())
        metrics = Evaluation(model.task, truth, answers, model.classes).compute_metrics()
        assert variant.metrics == pytest.approx(metrics, abs=1e-4)


@pytest.mark.parametrize("kind", OPTIONS)
def test_compress_manifest_has_the_compression_and_the_original_facts(kind, compress_kind):
    original, result, _ = compress_kind(kind)
    text = (result.bundle.path / "bundle.json").read_text()
    manifest = Manifest.model_validate_json(text)
    assert manifest == result.bundle.manifest
    assert manifest.compression == result.compression
    unchanged = {
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
    before = original.manifest.model_dump()
    assert all(manifest.model_dump()[name] == before[name] for name in unchanged)
    assert manifest.files["reference.json"] == original.manifest.files["reference.json"]


@pytest.mark.parametrize("kind", OPTIONS)
def test_compress_kept_variants_are_confirmed_on_the_test_rows(kind, compress_kind):
    _, result, _ = compress_kind(kind)
    metric, variants = result.compression.metric, result.bundle.manifest.variants
    for candidate in result.compression.tried[1:]:
        tested = candidate.tested
        is_refuted = result.compression.classify(candidate) == "refuted"
        assert (candidate.kept or is_refuted) == bool(tested)
        if tested is None:
            continue
        assert tested.interval[0] <= tested.interval[1]
        assert (tested.interval[0] <= result.compression.max_drop) == candidate.kept
        if candidate.kept:
            drop = variants["fp32"].metrics[metric] - variants[candidate.name].metrics[metric]
            assert tested.drop == pytest.approx(drop)


@pytest.mark.parametrize("kind", OPTIONS)
def test_compress_server_loads_the_version_and_lists_its_variants(kind, compress_kind):
    _, result, _ = compress_kind(kind)
    models = result.bundle.path.parent.parent
    repository = load_repository(models)
    assert repository.refusal_reasons == {}
    assert repository.live_models[kind].manifest.version == 2
    metadata = create_app(models=models).test_client().get(f"/models/{kind}").get_json()
    assert set(metadata["variants"]) == set(result.bundle.manifest.variants)
    assert all(variant["passed"] for variant in metadata["variants"].values())


def compute_with_integers(constants, x):
    """Return the probabilities that the constants of a file give, in Python's integers."""
    values = x
    if "offset" in constants:
        values = (x - constants["offset"]) / constants["scale"]
    zero_point = int(constants["o1_in"])
    q = np.rint(values / constants["s1_in"]).astype(np.int64) + zero_point
    values = q.clip(0, 255) - zero_point
    for layer in (1, 2, 3):
        W, b = constants[f"W{layer}"], constants[f"b{layer}"]
        if W.dtype == np.float32:  # The last layer can have float32 weights.
            z = values * np.float64(constants["s2"]) @ W + b
            break
        sums = values.astype(object) @ W.astype(object) + b.astype(object)
        z = sums.astype(np.float64) * np.float64(constants[f"st{layer}"])
        if layer < 3:
            values = np.rint(z / constants[f"s{layer}"]).clip(0, 255).astype(np.int64)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_compress_request_to_int8_has_the_answer_of_integer_arithmetic(compress_kind, load_model):
    _, result, _ = compress_kind("digits")
    constants = read_constants(result.bundle.read_graph("int8"))
    trained = load_model("digits")
    rows = trained.table.records.take(trained.split.test[:60]).numbers
    client = create_app(models=result.bundle.path.parent.parent, variant="int8").test_client()
    body = {"instances": rows.tolist()}
    answer = client.post("/predict", json=body).get_json()
    assert client.get("/models/digits").get_json()["variant"] == "int8"
    expected = compute_with_integers(constants, rows)
    errors = np.abs(np.array(answer["probabilities"]) - expected).max(axis=1)
    # A value between two integers may round either way.
    assert np.mean(errors < 1e-5) > 0.97
    assert answer["predictions"] == expected.argmax(axis=1).tolist()


def test_compress_compressed_bundle_can_be_compressed_again(compress_kind, tmp_path):
    original, result, _ = compress_kind("wages")
    shutil.copytree(result.bundle.path, tmp_path / "wages" / "2")
    second, _ = run_compression(Bundle.open(tmp_path / "wages" / "2"), prune="none", max_drop=0.3)
    assert second.bundle.path == tmp_path / "wages" / "3"
    assert set(second.bundle.manifest.variants) == {"fp32", "int8"}
    assert second.bundle.read_graph("fp32") == original.read_graph("fp32")
    assert second.compression.tried[0].drop == 0


@pytest.mark.slow
def test_compress_same_seed_writes_the_same_files(copy_bundle):
    bundle = copy_bundle("digits")
    first, second = (
        run_compression(bundle, epochs=1, prune=0.5, max_drop=0.9, seed=1)[0].bundle
        for _ in range(2)
    )
    assert first.checksums == second.checksums
    assert len(first.manifest.variants) >= 3


@pytest.mark.slow
def test_compress_no_accepted_variant_writes_nothing(copy_bundle, monkeypatch):
    bundle = copy_bundle("digits")
    monkeypatch.setattr(
        "trainer.compress.acceptance.is_within_max_drop", lambda trial, _: trial.name == "fp32"
    )
    before = sorted(bundle.path.parent.rglob("*"))
    result, reported = run_compression(bundle, prune=0.9)
    assert result.bundle is None
    assert sorted(bundle.path.parent.rglob("*")) == before
    tried = result.compression.tried
    assert [candidate.name for candidate in tried] == [trial.name for trial in reported]
    assert [candidate.kept for candidate in tried] == [True] + [False] * (len(reported) - 1)


@pytest.mark.parametrize("low, is_kept", [(0.3, False), (0.1, True)])
def test_compress_variant_refuted_by_the_test_rows_is_left_out(
    low, is_kept, copy_bundle, monkeypatch
):
    monkeypatch.setattr(Evaluation, "compute_drop_interval", lambda *_: (low, 0.4))
    result, _ = run_compression(copy_bundle("digits"), prune="none", max_drop=0.2)
    assert (result.bundle is not None) == is_kept
    candidate = result.compression.tried[1]
    assert candidate.kept == is_kept
    assert candidate.tested.interval == (low, 0.4)
    assert result.compression.classify(candidate) == ("kept" if is_kept else "refuted")


def test_compress_one_variant_of_each_name_is_evaluated_on_the_test_rows(compress_kind):
    _, result, _ = compress_kind("digits")
    names = [c.name for c in result.compression.tried if c.tested is not None]
    assert len(names) == len(set(names))


def test_compress_variant_that_saves_neither_bytes_nor_weights_is_not_kept(copy_bundle):
    result, _ = run_compression(copy_bundle("iris"), prune="none", max_drop=0.5)
    original, int8 = result.compression.tried[:2]
    assert int8.size_bytes > original.size_bytes  # since the network is so small
    assert result.bundle is None
    assert result.compression.classify(int8) == "holds"


@pytest.mark.slow
def test_compress_sparse_and_reduce_range_show_in_the_files(compress_kind, copy_bundle):
    _, result, _ = compress_kind("digits")
    sparse = read_constants(result.bundle.read_graph("sparse"))
    zero_shares = [np.mean(array == 0) for array in sparse.values() if array.ndim == 2]
    zero_share = np.average(zero_shares, weights=[64 * 32, 32 * 16, 160])
    assert zero_share == pytest.approx(0.5, abs=0.01)
    reduced, _ = run_compression(
        copy_bundle("digits"), prune="none", reduce_range=True, max_drop=0.5
    )
    assert reduced.bundle.manifest.variants["int8"].bits == 7
    arrays = read_constants(reduced.bundle.read_graph("int8")).values()
    int8_arrays = [array.astype(int) for array in arrays if array.dtype == np.int8]
    assert max(int(np.abs(array).max()) for array in int8_arrays) <= 63


def test_compress_no_reduce_range_where_8_bits_overflow_refused(copy_bundle, monkeypatch):
    monkeypatch.setattr(run, "has_int8_overflow", lambda: True)
    monkeypatch.setattr(run, "load_trained", None)
    with pytest.raises(CompressionConfigError, match="leave it out"):
        run_compression(copy_bundle("iris"), reduce_range=False)


def test_compress_folder_that_is_not_writable_is_refused_before_the_work(copy_bundle, monkeypatch):
    bundle = copy_bundle("iris")
    monkeypatch.setattr(run, "load_trained", None)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(PermissionError, match="not writable"):
        run_compression(bundle)


@pytest.mark.slow
def test_compress_version_that_fails_its_self_test_is_deleted(copy_bundle, monkeypatch):
    bundle = copy_bundle("digits")
    read_selftest = Bundle.read_selftest

    def read_wrong_selftest(self):
        selftest = read_selftest(self)
        if "int8" in selftest.expected:
            selftest.expected["int8"].outputs["probabilities"] += 0.5
        return selftest

    monkeypatch.setattr(Bundle, "read_selftest", read_wrong_selftest)
    with pytest.raises(ParityError, match="expected a bundle that passes its self-test; .*int8"):
        run_compression(bundle, prune="none", max_drop=0.5)
    assert [path.name for path in bundle.path.parent.iterdir()] == ["1"]


def test_compress_summary_has_finite_numbers_only(compress_kind):
    for kind in OPTIONS:
        summary = json.loads(compress_kind(kind)[1].compression.model_dump_json())
        for candidate in summary["tried"]:
            assert all(math.isfinite(v) for v in candidate.values() if isinstance(v, float))


def test_compress_bundle_without_its_fp32_file_is_refused(copy_bundle):
    bundle = copy_bundle("iris")
    (bundle.path / "model.onnx").unlink()
    with pytest.raises(BundleError, match="expected a readable model.onnx"):
        run_compression(bundle)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("wine", {"hidden": (12, 8, 6), "activation": ("relu", "identity", "gelu")}),
        ("wine", {"hidden": (8,), "batch_norm": True, "dropout": 0.2}),
        ("wine", {"hidden": ()}),
        ("iris", {"hidden": (8, 4), "activation": "softplus", "scaling": "quantile"}),
        ("diabetes", {"hidden": (8,), "loss": "poisson", "clip_norm": 1.0}),
        ("diabetes", {"hidden": (16, 8), "target_scaling": "log", "loss": "mae"}),
        ("linnerud", {"hidden": (8,), "activation": "tanh"}),
        ("wine", {"hidden": (8, 6), "numbers": "pbld"}),
    ],
)
def test_compress_any_training_options_are_supported(data, options, tmp_path):
    bundle, _ = fit(Config(data=data, models=tmp_path, epochs=5, skip_baselines=True, **options))
    result, reported = run_compression(bundle, max_drop=0.95, prune=0.5, qat=True, sparse=0.5)
    assert len(reported) == 9
    assert result.bundle is not None
    variants = result.bundle.manifest.variants
    assert all(run_self_test(result.bundle, name).passed for name in variants)
