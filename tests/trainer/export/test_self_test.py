from dataclasses import replace

import numpy as np
import pytest

from serving.bundle import SelfTest
from serving.runtime import GraphSession, compare_outputs
from trainer.data.records import Records
from trainer.export.onnx_graph import build_graph
from trainer.export.parity import ParityError, find_decided_rows
from trainer.export.self_test import create_self_test, create_synthetic_records
from trainer.nn import IntegerDense, Network

KINDS = ["multiclass", "binary", "text classes", "regression", "several targets"]


@pytest.mark.parametrize("kind", KINDS)
def test_self_test_exported_graph_passes(kind, export, rng):
    exported = export(kind)
    selftest = SelfTest.from_bytes(create_self_test({"fp32": exported.model}, rng).to_bytes())
    expected = selftest.expected["fp32"]
    outputs = exported.session.run(selftest.inputs)
    difference = compare_outputs(outputs, expected.outputs, expected.tolerances)
    assert difference.is_within_tolerance
    assert difference.rows >= 100
    assert set(expected.outputs) == set(exported.session.outputs)


@pytest.mark.parametrize("kind", KINDS)
def test_synthetic_records_contain_no_training_row(kind, export, rng):
    exported = export(kind)
    rows = {row.tobytes() for row in exported.table.records.numbers}
    assert not any(
        row.tobytes() in rows for row in create_synthetic_records(exported.model, rng).numbers
    )


def test_self_test_covers_every_class_and_outliers(export, rng):
    exported = export("multiclass")
    selftest = create_self_test({"fp32": exported.model}, rng)
    assert set(selftest.expected["fp32"].outputs["label"]) == set(range(10))
    distances = np.abs(exported.model.encoder.numbers.transform(selftest.inputs["features"])).max(
        axis=1
    )
    for low, high in ((0, 5), (5, 20), (20, 150)):  # ordinary rows, outliers, extreme outliers
        assert np.count_nonzero((distances >= low) & (distances < high)) >= 20


def test_synthetic_records_undecided_labels_are_left_out(export, rng):
    exported = export("binary")
    # With zero output weights, every row is exactly undecided.
    last_layer = exported.model.network.layers[-1]
    W, b = last_layer.W.copy(), last_layer.b.copy()
    last_layer.W[...], last_layer.b[...] = 0, 0
    try:
        assert len(create_synthetic_records(exported.model, rng)) == 0
        last_layer.b[...] = 1e-6  # decided, but by less than rounding errors
        assert len(create_synthetic_records(exported.model, rng)) == 0
        with pytest.raises(ParityError, match="undecided on all but 0"):
            create_self_test({"fp32": exported.model}, rng)
    finally:
        last_layer.W[...], last_layer.b[...] = W, b


def scale_last_weights(model, factor):
    """Return the model with scaled weights in the last layer, as another variant."""
    network = model.network.astype(np.float32)
    network.layers[-1].W[...] *= factor
    return replace(model, network=network)


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
def test_self_test_several_variants_has_answers_of_each(kind, export, create_integer_model, rng):
    exported = export(kind)
    other = create_integer_model(exported.model, exported.table.records, rng)
    models = {
        "fp32": exported.model,
        "int8": other,
        "same": scale_last_weights(exported.model, 0.7),
    }
    self_test = SelfTest.from_bytes(create_self_test(models, rng).to_bytes())
    assert list(self_test.expected) == list(models)
    rows = len(self_test.inputs["features"])
    records = replace(
        exported.table.records,
        numbers=self_test.inputs["features"],
        dates=np.empty((rows, 0)),
        codes=np.empty((rows, 0), np.int32),
    )
    for name, model in models.items():
        for output, array in model.answers(records).items():
            np.testing.assert_array_equal(self_test.expected[name].outputs[output], array)
        if model.classes is not None:
            assert find_decided_rows(model, records).all()
    tolerances = [self_test.expected[name].tolerances for name in models]
    assert all(set(t) == {"value" if kind == "regression" else "probabilities"} for t in tolerances)


def test_self_test_rows_undecided_for_one_variant_are_left_out(export, rng):
    model = export("binary").model
    n_decided = len(create_self_test({"fp32": model}, np.random.default_rng(0)).inputs["features"])
    undecided = scale_last_weights(model, 1e-9)
    undecided.network.layers[-1].b[...] = 0
    assert isinstance(undecided.network, Network)
    with pytest.raises(ParityError, match="undecided on all but 0"):
        create_self_test({"fp32": model, "undecided": undecided}, rng)
    partly_decided = scale_last_weights(model, 2e-6)
    partly_decided.network.layers[-1].b[...] = 0
    fewer = create_self_test(
        {"fp32": model, "partly_decided": partly_decided}, np.random.default_rng(0)
    )
    assert 8 <= len(fewer.inputs["features"]) < n_decided


class SaturatingDense(IntegerDense):
    """A layer on a CPU that adds products in pairs, in 16 bits with saturation.

    The instruction `vpmaddubsw` does so, which AVX2 and AVX-512 use if there is no VNNI.
    """

    def forward(self, x, *, training):
        q, W = self.source.quantize(x).astype(np.int64), self.W.astype(np.int64)
        sums = self.b - self.source.zero_point * W.sum(axis=0)
        for k in range(0, len(W), 2):
            pair = q[:, k : k + 2] @ W[k : k + 2]
            sums = sums + pair.clip(-(2**15), 2**15 - 1)
        z = sums.astype(np.float32) * (self.source.scale * self.scales)
        if self.target is None:
            return z
        return self.target.dequantize(self.target.quantize(np.maximum(z, 0)))


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
@pytest.mark.parametrize("bits, sound", [(4, True), (7, True), (8, False)])
def test_self_test_saturating_cpu_is_detected(bits, sound, kind, export, create_integer_model, rng):
    exported = export(kind)
    model = create_integer_model(
        exported.model, exported.table.records, rng, bits=bits, runs_here=False
    )
    layers = [
        SaturatingDense(
            layer.W,
            layer.b,
            layer.scales,
            source=layer.source,
            target=layer.target,
            activation=layer.activation.name,
            bits=layer.bits,
        )
        for layer in model.network.layers
    ]
    network = Network(model.network.n_inputs, layers, rng=rng)
    selftest = create_self_test({"int8": model}, rng)
    golden = Records(model.encoder.columns, selftest.inputs["features"])
    outputs, expected = replace(model, network=network).answers(golden), selftest.expected["int8"]
    assert (
        compare_outputs(outputs, expected.outputs, expected.tolerances).is_within_tolerance is sound
    )
    outputs = GraphSession(build_graph(model)).run(selftest.inputs)
    if bits < 8:  # on any CPU
        assert compare_outputs(outputs, expected.outputs, expected.tolerances).is_within_tolerance
