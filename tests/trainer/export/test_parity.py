from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from serving.bundle import Bundle
from serving.runtime import GraphError, GraphSession, compare_outputs
from trainer.data.preprocess import Scaler
from trainer.data.records import Records
from trainer.export.onnx_graph import build_graph
from trainer.export.parity import ParityError, check_parity
from trainer.export.self_test import create_self_test, create_synthetic_records
from trainer.export.tolerances import compute_tolerances
from trainer.nn import Dense, IntegerDense, Network, Quantization

KINDS = [
    "multiclass",
    "binary",
    "text classes",
    "regression",
    "several targets",
    "no hidden layer",
    "counts",
    "batch norm",
    "gelu batch norm",
]


def numpy_forward(graph, x):
    """Compute the shipped network in NumPy, from the weights in the file alone."""
    weights = {
        t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(graph).graph.initializer
    }
    a = (x - weights["offset"]) / weights["scale"]
    a = np.maximum(a @ weights["W1"] + weights["b1"], 0)
    z = a @ weights["W2"] + weights["b2"]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return weights["classes"][p.argmax(axis=1)], p


@pytest.mark.parametrize("size", [1, 7, 256, 1797])
def test_shipped_digits_bundle_differs_by_a_millionth_at_most(size, shipped, digits):
    graph = Bundle.open(shipped / "digits" / "1").read_graph("fp32")
    session, rows = GraphSession(graph), digits[0]
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    got = [session.run({"features": batch}) for batch in batches]
    label, probabilities = numpy_forward(graph, rows)
    assert probabilities.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([g["label"] for g in got]), label)
    delta = np.abs(np.concatenate([g["probabilities"] for g in got]) - probabilities)
    assert delta.max() <= 1e-6


def test_shipped_digits_bundle_no_rows_has_no_answers(shipped):
    got = GraphSession(Bundle.open(shipped / "digits" / "1").read_graph("fp32")).run(
        {"features": np.empty((0, 64), np.float32)}
    )
    assert got["label"].shape == (0,)
    assert got["probabilities"].shape == (0, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_check_parity_correct_graph_passes(kind, export, rng):
    exported = export(kind)
    found = check_parity(
        exported.model,
        exported.session,
        exported.table.records,
        create_synthetic_records(exported.model, rng),
    )
    assert found.rows == len(exported.table)
    assert found.label_agreement == (None if exported.model.task == "regression" else 1.0)
    if exported.model.task != "regression":
        assert 0 < found.max_abs <= 1e-6


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
    last = Dense(model.network.n_outputs)
    network = Network(model.network.n_inputs, [*layers, last], rng=np.random.default_rng(0))
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
    last = exported.model.network.layers[-1]
    W, b = last.W.copy(), last.b.copy()

    class SwappingSession(GraphSession):
        def run(self, inputs):
            outputs = super().run(inputs)
            outputs["label"] = np.where(outputs["label"] == first, second, first)
            return outputs

    rows = exported.table.records
    no_rows = rows.take(slice(0))
    try:
        last.W[...], last.b[...] = 0, 1e-8  # every row is undecided within rounding
        found = check_parity(
            exported.model, SwappingSession(build_graph(exported.model)), rows, no_rows
        )
        assert found.label_agreement == 0
        last.b[...] = 1e-3
        with pytest.raises(ParityError, match=r"labels equal 0\.0"):
            check_parity(
                exported.model, SwappingSession(build_graph(exported.model)), rows, no_rows
            )
    finally:
        last.W[...], last.b[...] = W, b


@pytest.mark.parametrize("worst", [1, 7, 256])
def test_check_parity_reports_the_worst_batch_size(worst, export):
    exported = export("binary")
    first, second = exported.model.classes
    last = exported.model.network.layers[-1]
    W, b = last.W.copy(), last.b.copy()
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
        last.W[...], last.b[...] = 0, 1e-8  # every row is 1/2 and undecided within rounding
        graph = build_graph(exported.model)
        assert (GraphSession(graph).run(rows.inputs())["label"] == second).all()
        found = check_parity(exported.model, DifferingSession(graph), rows, rows.take(slice(0)))
    finally:
        last.W[...], last.b[...] = W, b
    assert found.rows == 256
    assert found.max_abs == 2 * step
    assert found.max_rel == 4 * step
    assert found.label_agreement == (4 / 256 if worst == 7 else 0)  # the last batch has 4 rows


def test_check_parity_tie_excuses_only_the_tied_classes(export):
    exported = export("multiclass")
    last = exported.model.network.layers[-1]
    W, b = last.W.copy(), last.b.copy()
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
        last.W[...], last.b[...] = 0, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]  # the first two are tied
        assert check_parity(exported.model, session(1), rows, no_rows).label_agreement == 0
        for wrong in (2, 11, -1):
            with pytest.raises(ParityError):
                check_parity(exported.model, session(wrong), rows, no_rows)
    finally:
        last.W[...], last.b[...] = W, b


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
    scale = exported.model.targets.scale

    def alter(rows, outputs):
        outputs["value"] += 1e-5 * scale  # far less than any metric shows
        return outputs

    with pytest.raises(ParityError):
        check_parity_of_altered_answers(exported, rng, alter)


@pytest.mark.parametrize("seed", range(20))
def test_compute_tolerances_random_networks_are_within(seed, export):
    # Random networks with rows thousands of standard deviations from the mean.
    rng = np.random.default_rng(seed)
    exported = export("multiclass" if seed % 2 else "regression")
    model = exported.model
    width = model.network.n_inputs
    depth = rng.integers(0, 4)
    layers = [Dense(int(rng.integers(1, 300)), "relu") for _ in range(depth)]
    network = Network(width, [*layers, Dense(model.network.n_outputs)], rng=rng)
    model = replace(model, network=network)
    spread = rng.choice([1, 10, 1000], size=(200, 1))
    scaler = model.encoder.numbers.scaler
    rows = rng.normal(scaler.offset, spread * scaler.scale, size=(200, width))
    records = Records(model.encoder.columns, rows.astype(np.float32))
    got, expected = GraphSession(build_graph(model)).run(records.inputs()), model.answers(records)
    for name, tolerance in compute_tolerances(model, records).items():
        assert (np.abs(got[name] - expected[name]) <= tolerance).all()


@pytest.mark.parametrize("kind", ["multiclass", "binary"])
def test_compute_tolerances_ordinary_rows_are_tight(kind, export):
    exported = export(kind)
    tolerances = compute_tolerances(exported.model, exported.table.records)["probabilities"]
    assert np.median(tolerances) < 5e-6
    assert tolerances.max() < 2e-5


# Integer layers


def remove_scaling(model):
    """Return the model without scaling of its numbers."""
    width, numbers = model.network.n_inputs, model.encoder.numbers
    scaler = Scaler(np.zeros(width, np.float32), np.ones(width, np.float32))
    return replace(model, encoder=replace(model.encoder, numbers=replace(numbers, scaler=scaler)))


def compute_distance_to_rounding_boundary(model, records):
    """Return the smallest distance of a value to a rounding boundary, in steps, `(n,)`.

    The network has integer layers and ReLU only.
    """
    a = model.encoder.transform(records).astype(np.float64)
    distances = np.full(len(a), np.inf)
    for layer in model.network.layers:
        scale, zero_point = layer.source
        steps = (a / np.float64(scale) + zero_point).clip(0, 255)
        distances = np.minimum(distances, np.abs(steps - np.floor(steps) - 0.5).min(axis=1))
        a = (np.rint(steps) - zero_point) @ layer.W.astype(np.float64) + layer.b
        a *= np.float64(scale) * layer.scales
        if layer.activation.name == "relu":
            a = np.maximum(a, 0)
    return distances


@pytest.mark.parametrize("bits", [4, 7, 8])
@pytest.mark.parametrize("kind", ["multiclass", "binary"])
def test_compute_tolerances_integer_layers_without_boundary_values_are_tight(
    kind, bits, export, create_integer_model, rng
):
    exported = export(kind)
    rows = exported.table.records
    model = create_integer_model(exported.model, rows, rng, bits=bits)
    is_clear = compute_distance_to_rounding_boundary(model, rows) > 1e-3
    assert is_clear.mean() > 0.5
    tolerances = compute_tolerances(model, rows)["probabilities"][is_clear]
    assert np.median(tolerances) < 5e-6  # rounding of the logits and of the softmax
    assert tolerances.max() < 2e-5


def test_compute_tolerances_boundary_value_allows_one_step(export):
    model = remove_scaling(export("regression").model)
    width = model.network.n_inputs
    even = Quantization(np.float32(2), 0)
    first = np.zeros((width, 1), np.int8)
    first[0] = 1
    layers = [  # round the first input to an integer, and that to an even integer
        IntegerDense(
            first,
            np.zeros(1, np.int32),
            np.ones(1, np.float32),
            source=Quantization(np.float32(1), 0),
            target=even,
            activation="relu",
        ),
        IntegerDense(
            np.ones((1, 1), np.int8), np.zeros(1, np.int32), np.ones(1, np.float32), source=even
        ),
    ]
    model = replace(model, network=Network(width, layers, rng=np.random.default_rng(0)))
    x = np.zeros((8, width), np.float32)
    x[:, 0] = 4, 4.25, 254.4, -9, 3, 2.5, 5, 400  # the last one is clipped to 255
    records = Records(model.encoder.columns, x)
    values = model.answers(records)["value"][:, 0]
    tolerances = compute_tolerances(model, records)["value"][:, 0]
    scale, offset = model.targets.scale[0], model.targets.offset[0]
    np.testing.assert_allclose((values - offset) / scale, [4, 4, 254, 0, 4, 2, 4, 256], atol=1e-5)
    step = 2 * scale
    is_boundary = np.repeat([False, True], 4)
    assert (tolerances[~is_boundary] <= 1e-5 * (step + np.abs(values[~is_boundary]))).all()
    assert (tolerances[is_boundary] >= step).all()
    assert (tolerances[is_boundary] <= 10 * step).all()  # the safety factor is 8


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


class SaturatingDense(IntegerDense):
    """A layer on a CPU that adds products in pairs, in 16 bits with saturation.

    The instruction `vpmaddubsw` does so, which AVX2 and AVX-512 use if there is no VNNI.
    """

    def forward(self, x, *, training):
        q, W = self.source.bytes_of(x).astype(np.int64), self.W.astype(np.int64)
        sums = self.b - self.source.zero_point * W.sum(axis=0)
        for k in range(0, len(W), 2):
            pair = q[:, k : k + 2] @ W[k : k + 2]
            sums = sums + pair.clip(-(2**15), 2**15 - 1)
        z = sums.astype(np.float32) * (self.source.scale * self.scales)
        if self.target is None:
            return z
        return self.target.numbers_of(self.target.bytes_of(np.maximum(z, 0)))


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
@pytest.mark.parametrize("bits, sound", [(4, True), (7, True), (8, False)])
def test_self_test_saturating_cpu_is_detected(bits, sound, kind, export, create_integer_model, rng):
    exported = export(kind)
    model = create_integer_model(
        exported.model, exported.table.records, rng, bits=bits, runs_here=False
    )
    layers = [
        SaturatingDense(
            own.W,
            own.b,
            own.scales,
            source=own.source,
            target=own.target,
            activation=own.activation.name,
            bits=own.bits,
        )
        for own in model.network.layers
    ]
    network = Network(model.network.n_inputs, layers, rng=rng)
    selftest = create_self_test({"int8": model}, rng)
    golden = Records(model.encoder.columns, selftest.inputs["features"])
    got, expected = replace(model, network=network).answers(golden), selftest.expected["int8"]
    assert compare_outputs(got, expected.outputs, expected.tolerances).is_within_tolerance is sound
    outputs = GraphSession(build_graph(model)).run(selftest.inputs)
    if bits < 8:  # on any CPU
        assert compare_outputs(outputs, expected.outputs, expected.tolerances).is_within_tolerance


@pytest.mark.parametrize("activation", ["tanh", "swish"])
@pytest.mark.parametrize("seed", range(5))
def test_compute_tolerances_step_in_narrow_network_is_within(
    seed, activation, export, create_integer_model
):
    rng = np.random.default_rng(seed)
    model = remove_scaling(export("regression").model)
    columns, width = model.encoder.columns, model.network.n_inputs
    model = create_integer_model(
        model,
        Records(columns, rng.normal(size=(50, width)).astype(np.float32)),
        rng,
        hidden=(2, 3, 2),
        activation=activation,
    )
    x = rng.normal(size=(1000, width)).astype(np.float32)
    # Each row has one number at a rounding boundary, and is answered on both sides of it.
    scale = model.network.layers[0].source.scale
    rows, columns_to_change = np.arange(len(x)), rng.integers(0, width, len(x))
    x[rows, columns_to_change] = (
        np.floor(x[rows, columns_to_change] / scale) + np.float32(0.5)
    ) * scale
    values = []
    for factor in (1 - 1e-5, 1 + 1e-5):
        side = x.copy()
        side[rows, columns_to_change] *= np.float32(factor)
        values.append(model.answers(Records(columns, side))["value"])
    tolerances = compute_tolerances(model, Records(columns, x))["value"]
    assert np.mean(values[0] != values[1]) > 0.1
    assert (np.abs(values[0] - values[1]) <= tolerances).all()


@pytest.mark.parametrize("b", [0, -100])
def test_compute_tolerances_one_step_may_become_many(b, export):
    model = remove_scaling(export("regression").model)
    width, ones = model.network.n_inputs, np.ones(1, np.float32)
    unit = Quantization(np.float32(1), 0)
    first = np.zeros((width, 1), np.int8)
    first[0] = 127
    layers = [
        IntegerDense(
            first, np.array([b], np.int32), ones, source=unit, target=unit, activation="relu"
        ),
        IntegerDense(np.ones((1, 1), np.int8), np.zeros(1, np.int32), ones, source=unit),
    ]
    model = replace(model, network=Network(width, layers, rng=np.random.default_rng(0)))
    x = np.zeros((3, width), np.float32)
    x[:, 0] = 0.5, 0.499, 0.501
    records = Records(model.encoder.columns, x)
    values = model.answers(records)["value"]
    assert abs(values[1] - values[2]) / model.targets.scale == pytest.approx(127 + b, rel=1e-4)
    assert compute_tolerances(model, records)["value"][0] >= abs(values[1] - values[2])
