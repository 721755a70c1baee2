from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from serving.bundle import Bundle
from serving.runtime import GraphError, GraphSession
from trainer.export.onnx_graph import build_graph
from trainer.export.parity import ParityError, check_parity
from trainer.export.self_test import create_synthetic_records
from trainer.nn import Dense, Network

KINDS = [
    "multiclass",
    "binary",
    "text classes",
    "regression",
    "several targets",
    "no hidden layer",
    "counts",
    "batch norm",
    "members",
    "members, regression",
    "members, no hidden layer",
    "gelu batch norm",
]


def numpy_forward(graph, x):
    """Compute the shipped network in NumPy, from the weights in the file alone."""
    weights = {
        t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(graph).graph.initializer
    }
    a = (x - weights["offset"]) / weights["scale"]
    for layer in (1, 2, 3):
        z = a @ weights[f"W{layer}"] + weights[f"b{layer}"]
        a = z / (1 + np.exp(-z))
    z = (a @ weights["W4"] + weights["b4"]) / weights["temperature"]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return weights["classes"][p.argmax(axis=1)], p


@pytest.mark.parametrize("size", [1, 7, 256, 1797])
def test_shipped_digits_bundle_differs_by_a_millionth_at_most(size, shipped, digits):
    graph = Bundle.open(shipped / "digits" / "1").read_graph("fp32")
    session, rows = GraphSession(graph), digits[0]
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    outputs = [session.run({"features": batch}) for batch in batches]
    label, probabilities = numpy_forward(graph, rows)
    assert probabilities.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([g["label"] for g in outputs]), label)
    delta = np.abs(np.concatenate([g["probabilities"] for g in outputs]) - probabilities)
    assert delta.max() <= 1e-6


def test_shipped_digits_bundle_no_rows_has_no_answers(shipped):
    outputs = GraphSession(Bundle.open(shipped / "digits" / "1").read_graph("fp32")).run(
        {"features": np.empty((0, 64), np.float32)}
    )
    assert outputs["label"].shape == (0,)
    assert outputs["probabilities"].shape == (0, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_check_parity_correct_graph_passes(kind, export, rng):
    exported = export(kind)
    parity = check_parity(
        exported.model,
        exported.session,
        exported.table.records,
        create_synthetic_records(exported.model, rng),
    )
    assert parity.rows == len(exported.table)
    assert parity.label_agreement == (None if exported.model.task == "regression" else 1.0)
    if exported.model.task != "regression":
        assert 0 < parity.max_abs <= 1e-6


def change_weight(model):
    model.network.parameters[3] += 1e-3
    return model


def change_bias(model):
    model.network.layers[-1].b[0] += 1e-4
    return model


def shift_offset(model):
    numbers = model.encoder.numbers
    scaler = numbers.scaler
    shifted = replace(scaler, offset=scaler.offset + np.float32(1e-3) * scaler.scale)
    encoder = replace(model.encoder, numbers=replace(numbers, scaler=shifted))
    return replace(model, encoder=encoder)


def replace_activation(model):
    layers = [Dense(layer.units, "relu") for layer in model.network.layers[:-1]]
    last_layer = Dense(model.network.n_outputs)
    network = Network(model.network.n_inputs, [*layers, last_layer], rng=np.random.default_rng(0))
    network.parameters[...] = model.network.parameters
    return replace(model, network=network)


def swap_classes(model):
    return replace(model, classes=model.classes[::-1].copy())


def change_threshold(model):
    return replace(model, threshold=0.9)


@pytest.mark.parametrize(
    "fault",
    [change_weight, change_bias, shift_offset, replace_activation, swap_classes, change_threshold],
)
def test_check_parity_faulty_graph_is_refused(fault, export, rng):
    exported = export("binary")
    sound = exported.model
    parameters = sound.network.parameters.copy()
    try:
        faulty = GraphSession(build_graph(fault(sound)))
    finally:
        sound.network.parameters[...] = parameters
    with pytest.raises(ParityError, match="expected the exported graph to answer"):
        check_parity(sound, faulty, exported.table.records, create_synthetic_records(sound, rng))


def check_parity_of_altered_answers(exported, rng, alter):
    """Check the parity of a graph whose answers are changed by `alter(inputs, outputs)`."""

    class AlteredSession(GraphSession):
        def run(self, inputs):
            return alter(inputs["features"], super().run(inputs))

    records = create_synthetic_records(exported.model, rng)
    check_parity(exported.model, AlteredSession(exported.graph), exported.table.records, records)


def test_check_parity_label_may_differ_only_if_rounding_decides(export):
    exported = export("binary")
    first, second = exported.model.classes
    last_layer = exported.model.network.layers[-1]
    W, b = last_layer.W.copy(), last_layer.b.copy()

    class SwappingSession(GraphSession):
        def run(self, inputs):
            outputs = super().run(inputs)
            outputs["label"] = np.where(outputs["label"] == first, second, first)
            return outputs

    rows = exported.table.records
    no_rows = rows.take(slice(0))
    try:
        last_layer.W[...], last_layer.b[...] = 0, 1e-8  # every row is undecided within rounding
        parity = check_parity(
            exported.model, SwappingSession(build_graph(exported.model)), rows, no_rows
        )
        assert parity.label_agreement == 0
        last_layer.b[...] = 1e-3
        with pytest.raises(ParityError, match=r"labels equal 0\.0"):
            check_parity(
                exported.model, SwappingSession(build_graph(exported.model)), rows, no_rows
            )
    finally:
        last_layer.W[...], last_layer.b[...] = W, b


@pytest.mark.parametrize("worst", [1, 7, 256])
def test_check_parity_reports_the_worst_batch_size(worst, export):
    exported = export("binary")
    first, second = exported.model.classes
    last_layer = exported.model.network.layers[-1]
    W, b = last_layer.W.copy(), last_layer.b.copy()
    rows = exported.table.records.take(slice(256))
    step = 2.0**-24  # spacing of float32 numbers from 1/2 to 1

    class DifferingSession(GraphSession):
        """Answers differ by one step; in batches of the worst size by two, with wrong labels."""

        def run(self, inputs):
            outputs = super().run(inputs)
            is_worst = len(inputs["features"]) == worst
            outputs["probabilities"] += np.float32(step * (1 + is_worst))
            if is_worst:
                outputs["label"][:] = first
            return outputs

    try:
        last_layer.W[...], last_layer.b[...] = (
            0,
            1e-8,
        )  # every row is 1/2 and undecided within rounding
        graph = build_graph(exported.model)
        assert (GraphSession(graph).run(rows.inputs())["label"] == second).all()
        parity = check_parity(exported.model, DifferingSession(graph), rows, rows.take(slice(0)))
    finally:
        last_layer.W[...], last_layer.b[...] = W, b
    assert parity.rows == 256
    assert parity.max_abs == 2 * step
    assert parity.max_rel == 4 * step
    assert parity.label_agreement == (4 / 256 if worst == 7 else 0)  # the last batch has 4 rows


def test_check_parity_tie_excuses_only_the_tied_classes(export):
    exported = export("multiclass")
    last_layer = exported.model.network.layers[-1]
    W, b = last_layer.W.copy(), last_layer.b.copy()
    rows = exported.table.records.take(slice(50))
    no_rows = rows.take(slice(0))

    def session(label):
        class FixedLabelSession(GraphSession):
            def run(self, inputs):
                outputs = super().run(inputs)
                outputs["label"] = np.full_like(outputs["label"], label)
                return outputs

        return FixedLabelSession(build_graph(exported.model))

    try:
        last_layer.W[...], last_layer.b[...] = (
            0,
            [1, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        )  # the first two are tied
        assert check_parity(exported.model, session(1), rows, no_rows).label_agreement == 0
        for wrong in (2, 11, -1):
            with pytest.raises(ParityError):
                check_parity(exported.model, session(wrong), rows, no_rows)
    finally:
        last_layer.W[...], last_layer.b[...] = W, b


@pytest.mark.parametrize("size", [1, 7, 256])
def test_check_parity_answer_depends_on_batch_is_refused(size, export, rng):
    def alter(rows, outputs):
        outputs["probabilities"] += 1e-3 * (len(rows) == size)
        return outputs

    with pytest.raises(ParityError, match=f"in batches of {size};"):
        check_parity_of_altered_answers(export("binary"), rng, alter)


def test_check_parity_wrong_for_outliers_only_is_refused(export, rng):
    exported = export("binary")
    scaler = exported.model.encoder.numbers.scaler
    limit = 40 * scaler.scale

    def alter(rows, outputs):
        is_outlier = (np.abs(rows - scaler.offset) > limit).any(axis=1)
        outputs["probabilities"][is_outlier] = 0.5
        return outputs

    with pytest.raises(ParityError):
        check_parity_of_altered_answers(exported, rng, alter)


def test_check_parity_wrong_for_held_out_rows_only_is_refused(export, rng):
    exported = export("binary")
    known = {row.tobytes() for row in exported.table.records.numbers}

    def alter(rows, outputs):
        outputs["probabilities"][[row.tobytes() in known for row in rows]] += 1e-3
        return outputs

    with pytest.raises(ParityError):
        check_parity_of_altered_answers(exported, rng, alter)


def test_check_parity_wrong_shape_for_no_rows_is_refused(export, rng):
    def alter(rows, outputs):
        return outputs if len(rows) else {name: np.zeros((1, 2), "f4") for name in outputs}

    with pytest.raises(GraphError, match="expected label"):
        check_parity_of_altered_answers(export("binary"), rng, alter)


@pytest.mark.parametrize("kind", ["regression", "several targets"])
def test_check_parity_wrong_value_is_refused(kind, export, rng):
    exported = export(kind)
    scale = exported.model.target_scaler.scale

    def alter(rows, outputs):
        outputs["value"] += 1e-5 * scale  # far less than any metric shows
        return outputs

    with pytest.raises(ParityError):
        check_parity_of_altered_answers(exported, rng, alter)


def change_constant(graph, name, index, difference):
    """Return the graph with a number added to one element of a constant."""
    proto = onnx.load_from_string(graph)
    (stored,) = (t for t in proto.graph.initializer if t.name == name)
    array = numpy_helper.to_array(stored).copy()
    array.flat[index] += difference
    stored.CopyFrom(numpy_helper.from_array(array, name))
    return proto.SerializeToString()


@pytest.mark.parametrize(
    "bits, name, difference",
    [
        (8, "W1", 1),
        (7, "W1", -1),
        (4, "W1_packed", 1),
        (4, "W1_packed", 16),
        (8, "W3", 1),
        (8, "b1", 400),
        (8, "o1_in", 1),
        (8, "o2_in", 1),
    ],
)
def test_check_parity_changed_integer_constant_is_refused(
    bits, name, difference, export, create_integer_model, rng
):
    exported = export("binary")
    rows = exported.table.records
    model = create_integer_model(exported.model, rows, rng, bits=bits, hidden=(80, 40))
    graph, synthetic = build_graph(model), create_synthetic_records(model, rng)
    check_parity(model, GraphSession(graph), rows, synthetic)
    # An element that can be changed without overflow.
    index = 0 if name.startswith("o") else 7
    with pytest.raises(ParityError, match="expected the exported graph to answer"):
        check_parity(
            model, GraphSession(change_constant(graph, name, index, difference)), rows, synthetic
        )
