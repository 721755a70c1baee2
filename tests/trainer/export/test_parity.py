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
    """The shipped network in plain NumPy, from nothing but the weights in the file."""
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
def test_digits_differ_by_a_millionth_at_most_with_every_label_equal(size, shipped, digits):
    graph = Bundle.open(shipped / "digits" / "1").read_graph("fp32")
    session, rows = GraphSession(graph), digits[0]
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    got = [session.run({"features": batch}) for batch in batches]
    label, probabilities = numpy_forward(graph, rows)
    assert probabilities.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([g["label"] for g in got]), label)
    delta = np.abs(np.concatenate([g["probabilities"] for g in got]) - probabilities)
    assert delta.max() <= 1e-6


def test_no_digits_have_no_answers(shipped):
    got = GraphSession(Bundle.open(shipped / "digits" / "1").read_graph("fp32")).run(
        {"features": np.empty((0, 64), np.float32)}
    )
    assert got["label"].shape == (0,)
    assert got["probabilities"].shape == (0, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_export_passes(kind, export, rng):
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


def nudged_weight(model):
    model.network.parameters[3] += 1e-3
    return model


def nudged_bias(model):
    model.network.layers[-1].b[0] += 1e-4
    return model


def shifted_mean(model):
    numbers = model.encoder.numbers
    scaler = numbers.scaler
    moved = replace(scaler, offset=scaler.offset + np.float32(1e-3) * scaler.scale)
    encoder = replace(model.encoder, numbers=replace(numbers, scaler=moved))
    return replace(model, encoder=encoder)


def other_activation(model):
    layers = [Dense(layer.units, "relu") for layer in model.network.layers[:-1]]
    last = Dense(model.network.n_outputs)
    network = Network(model.network.n_inputs, [*layers, last], rng=np.random.default_rng(0))
    network.parameters[...] = model.network.parameters
    return replace(model, network=network)


def swapped_classes(model):
    return replace(model, classes=model.classes[::-1].copy())


def moved_threshold(model):
    return replace(model, threshold=0.9)


@pytest.mark.parametrize(
    "fault",
    [nudged_weight, nudged_bias, shifted_mean, other_activation, swapped_classes, moved_threshold],
)
def test_a_faulty_export_is_caught(fault, export, rng):
    exported = export("binary")
    sound = exported.model
    parameters = sound.network.parameters.copy()
    try:
        faulty = GraphSession(build_graph(fault(sound)))
    finally:
        sound.network.parameters[...] = parameters
    with pytest.raises(ParityError, match="expected the exported graph to answer"):
        check_parity(sound, faulty, exported.table.records, create_synthetic_records(sound, rng))


def check_spoiled(exported, rng, spoil):
    """Check the parity of a graph whose answers `spoil` has its way with."""

    class Spoiled(GraphSession):
        def run(self, inputs):
            return spoil(inputs["features"], super().run(inputs))

    records = create_synthetic_records(exported.model, rng)
    check_parity(exported.model, Spoiled(exported.graph), exported.table.records, records)


def test_a_label_may_tip_where_rounding_can_tip_it_and_nowhere_else(export):
    exported = export("binary")
    first, second = exported.model.classes
    last = exported.model.network.layers[-1]
    W, b = last.W.copy(), last.b.copy()

    class Tipped(GraphSession):
        def run(self, inputs):
            outputs = super().run(inputs)
            outputs["label"] = np.where(outputs["label"] == first, second, first)
            return outputs

    rows = exported.table.records
    none = rows.take(slice(0))
    try:
        last.W[...], last.b[...] = 0, 1e-8  # every row is as good as undecided
        found = check_parity(exported.model, Tipped(build_graph(exported.model)), rows, none)
        assert found.label_agreement == 0  # and it is said
        last.b[...] = 1e-3
        with pytest.raises(ParityError, match=r"labels equal 0\.0"):
            check_parity(exported.model, Tipped(build_graph(exported.model)), rows, none)
    finally:
        last.W[...], last.b[...] = W, b


@pytest.mark.parametrize("worst", [1, 7, 256])
def test_parity_reports_the_worst_of_all_batch_sizes(worst, export):
    exported = export("binary")
    first, second = exported.model.classes
    last = exported.model.network.layers[-1]
    W, b = last.W.copy(), last.b.copy()
    rows = exported.table.records.take(slice(256))
    step = 2.0**-24  # what float32 tells apart from 1/2 on

    class Differing(GraphSession):
        """Off by a step, by two where batches are of the worst size; there labels are others."""

        def run(self, inputs):
            outputs = super().run(inputs)
            is_worst = len(inputs["features"]) == worst
            outputs["probabilities"] += np.float32(step * (1 + is_worst))
            if is_worst:
                outputs["label"][:] = first
            return outputs

    try:
        last.W[...], last.b[...] = 0, 1e-8  # every row is 1/2, and as good as undecided
        graph = build_graph(exported.model)
        assert (GraphSession(graph).run(rows.inputs())["label"] == second).all()
        found = check_parity(exported.model, Differing(graph), rows, rows.take(slice(0)))
    finally:
        last.W[...], last.b[...] = W, b
    assert found.rows == 256
    assert found.max_abs == 2 * step
    assert found.max_rel == 4 * step
    assert found.label_agreement == (4 / 256 if worst == 7 else 0)  # the last batch has 4 rows


def test_a_tie_excuses_only_the_classes_that_are_level(export):
    exported = export("multiclass")
    last = exported.model.network.layers[-1]
    W, b = last.W.copy(), last.b.copy()
    rows = exported.table.records.take(slice(50))
    none = rows.take(slice(0))

    def session(label):
        class Otherwise(GraphSession):
            def run(self, inputs):
                outputs = super().run(inputs)
                outputs["label"] = np.full_like(outputs["label"], label)
                return outputs

        return Otherwise(build_graph(exported.model))

    try:
        last.W[...], last.b[...] = 0, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]  # the first two are level
        assert check_parity(exported.model, session(1), rows, none).label_agreement == 0
        for wrong in (2, 11, -1):
            with pytest.raises(ParityError):
                check_parity(exported.model, session(wrong), rows, none)
    finally:
        last.W[...], last.b[...] = W, b


@pytest.mark.parametrize("size", [1, 7, 256])
def test_an_answer_that_depends_on_its_batch_is_caught(size, export, rng):
    def spoil(rows, outputs):
        outputs["probabilities"] += 1e-3 * (len(rows) == size)
        return outputs

    with pytest.raises(ParityError, match=f"in batches of {size};"):
        check_spoiled(export("binary"), rng, spoil)


def test_an_answer_that_is_wrong_for_outliers_only_is_caught(export, rng):
    exported = export("binary")
    scaler = exported.model.encoder.numbers.scaler
    far = 40 * scaler.scale

    def spoil(rows, outputs):
        outlying = (np.abs(rows - scaler.offset) > far).any(axis=1)
        outputs["probabilities"][outlying] = 0.5
        return outputs

    with pytest.raises(ParityError):
        check_spoiled(exported, rng, spoil)


def test_an_answer_that_is_wrong_for_held_out_rows_only_is_caught(export, rng):
    exported = export("binary")
    known = {row.tobytes() for row in exported.table.records.numbers}

    def spoil(rows, outputs):
        outputs["probabilities"][[row.tobytes() in known for row in rows]] += 1e-3
        return outputs

    with pytest.raises(ParityError):
        check_spoiled(exported, rng, spoil)


def test_a_graph_that_fails_on_no_rows_is_caught(export, rng):
    def spoil(rows, outputs):
        return outputs if len(rows) else {name: np.zeros((1, 2), "f4") for name in outputs}

    with pytest.raises(GraphError, match="expected label"):
        check_spoiled(export("binary"), rng, spoil)


@pytest.mark.parametrize("kind", ["regression", "several targets"])
def test_a_faulty_regressor_is_caught(kind, export, rng):
    exported = export(kind)
    scale = exported.model.targets.scale

    def spoil(rows, outputs):
        outputs["value"] += 1e-5 * scale  # far less than any metric would show
        return outputs

    with pytest.raises(ParityError):
        check_spoiled(exported, rng, spoil)


@pytest.mark.parametrize("seed", range(20))
def test_rounding_stays_within_the_tolerance(seed, export):
    # Random networks, rows up to thousands of deviations out: never a false alarm.
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
def test_ordinary_rows_have_tight_tolerances(kind, export):
    exported = export(kind)
    allowed = compute_tolerances(exported.model, exported.table.records)["probabilities"]
    assert np.median(allowed) < 5e-6
    assert allowed.max() < 2e-5


# Whole numbers


def unscaled(model):
    """The model with numbers that come to the network as they are."""
    width, numbers = model.network.n_inputs, model.encoder.numbers
    scaler = Scaler(np.zeros(width, np.float32), np.ones(width, np.float32))
    return replace(model, encoder=replace(model.encoder, numbers=replace(numbers, scaler=scaler)))


def from_the_middle(model, records):
    """How near any value of a ReLU network is to the middle of two bytes, in steps: `(n,)`."""
    a = model.encoder.transform(records).astype(np.float64)
    nearest = np.full(len(a), np.inf)
    for layer in model.network.layers:
        scale, zero_point = layer.source
        steps = (a / np.float64(scale) + zero_point).clip(0, 255)
        nearest = np.minimum(nearest, np.abs(steps - np.floor(steps) - 0.5).min(axis=1))
        a = (np.rint(steps) - zero_point) @ layer.W.astype(np.float64) + layer.b
        a *= np.float64(scale) * layer.scales
        if layer.activation.name == "relu":
            a = np.maximum(a, 0)
    return nearest


@pytest.mark.parametrize("bits", [4, 7, 8])
@pytest.mark.parametrize("kind", ["multiclass", "binary"])
def test_whole_numbers_are_exact_where_none_lies_between_two_bytes(
    kind, bits, export, in_bytes, rng
):
    exported = export(kind)
    rows = exported.table.records
    model = in_bytes(exported.model, rows, rng, bits=bits)
    clear = from_the_middle(model, rows) > 1e-3
    assert clear.mean() > 0.5
    allowed = compute_tolerances(model, rows)["probabilities"][clear]
    assert np.median(allowed) < 5e-6  # of what the logits and the softmax round
    assert allowed.max() < 2e-5


def test_what_lies_between_two_bytes_may_be_a_step_off_and_no_more(export):
    model = unscaled(export("regression").model)
    width = model.network.n_inputs
    halved = Quantization(np.float32(2), 0)
    first = np.zeros((width, 1), np.int8)
    first[0] = 1
    layers = [  # the first input, rounded to a whole number, and that to an even one
        IntegerDense(
            first,
            np.zeros(1, np.int32),
            np.ones(1, np.float32),
            source=Quantization(np.float32(1), 0),
            target=halved,
            activation="relu",
        ),
        IntegerDense(
            np.ones((1, 1), np.int8), np.zeros(1, np.int32), np.ones(1, np.float32), source=halved
        ),
    ]
    model = replace(model, network=Network(width, layers, rng=np.random.default_rng(0)))
    x = np.zeros((8, width), np.float32)
    x[:, 0] = 4, 4.25, 254.4, -9, 3, 2.5, 5, 400  # the last one is cut to 255
    records = Records(model.encoder.columns, x)
    values = model.answers(records)["value"][:, 0]
    allowed = compute_tolerances(model, records)["value"][:, 0]
    scale, offset = model.targets.scale[0], model.targets.offset[0]
    np.testing.assert_allclose((values - offset) / scale, [4, 4, 254, 0, 4, 2, 4, 256], atol=1e-5)
    step = 2 * scale
    between = np.repeat([False, True], 4)
    assert (allowed[~between] <= 1e-5 * (step + np.abs(values[~between]))).all()
    assert (allowed[between] >= step).all()
    assert (allowed[between] <= 10 * step).all()  # SAFETY is 8


def with_one_changed(graph, name, place, by):
    """The graph with one byte of a constant larger by so much."""
    proto = onnx.load_from_string(graph)
    (stored,) = (t for t in proto.graph.initializer if t.name == name)
    array = numpy_helper.to_array(stored).copy()
    array.flat[place] += by
    stored.CopyFrom(numpy_helper.from_array(array, name))
    return proto.SerializeToString()


@pytest.mark.parametrize(
    "bits, name, by",
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
def test_a_byte_that_is_not_as_it_should_be_is_caught(bits, name, by, export, in_bytes, rng):
    exported = export("binary")
    rows = exported.table.records
    model = in_bytes(exported.model, rows, rng, bits=bits, hidden=(80, 40))
    graph, synthetic = build_graph(model), create_synthetic_records(model, rng)
    check_parity(model, GraphSession(graph), rows, synthetic)
    # A place whose neighbours on either side leave room for one more.
    place = 0 if name.startswith("o") else 7
    with pytest.raises(ParityError, match="expected the exported graph to answer"):
        check_parity(model, GraphSession(with_one_changed(graph, name, place, by)), rows, synthetic)


class Saturating(IntegerDense):
    """On a CPU that adds products of bytes in pairs, in 16 bits that end where they end.

    As `vpmaddubsw` does, which AVX2 and AVX-512 have to make do with where there is no VNNI.
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
def test_the_selftest_tells_a_cpu_that_saturates(bits, sound, kind, export, in_bytes, rng):
    exported = export(kind)
    model = in_bytes(exported.model, exported.table.records, rng, bits=bits, runs_here=False)
    layers = [
        Saturating(
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
    here = GraphSession(build_graph(model)).run(selftest.inputs)
    if bits < 8:  # on any CPU
        assert compare_outputs(here, expected.outputs, expected.tolerances).is_within_tolerance


@pytest.mark.parametrize("activation", ["tanh", "swish"])
@pytest.mark.parametrize("seed", range(5))
def test_a_step_is_followed_through_narrow_layers(seed, activation, export, in_bytes):
    rng = np.random.default_rng(seed)
    model = unscaled(export("regression").model)
    columns, width = model.encoder.columns, model.network.n_inputs
    model = in_bytes(
        model,
        Records(columns, rng.normal(size=(50, width)).astype(np.float32)),
        rng,
        hidden=(2, 3, 2),
        activation=activation,
    )
    x = rng.normal(size=(1000, width)).astype(np.float32)
    # Each row has one number in the middle of two bytes, and is answered on either side of it.
    scale = model.network.layers[0].source.scale
    rows, places = np.arange(len(x)), rng.integers(0, width, len(x))
    x[rows, places] = (np.floor(x[rows, places] / scale) + np.float32(0.5)) * scale
    values = []
    for by in (1 - 1e-5, 1 + 1e-5):
        side = x.copy()
        side[rows, places] *= np.float32(by)
        values.append(model.answers(Records(columns, side))["value"])
    allowed = compute_tolerances(model, Records(columns, x))["value"]
    assert np.mean(values[0] != values[1]) > 0.1
    assert (np.abs(values[0] - values[1]) <= allowed).all()


@pytest.mark.parametrize("b", [0, -100])
def test_one_step_before_a_layer_may_be_many_behind_it(b, export):
    model = unscaled(export("regression").model)
    width, ones = model.network.n_inputs, np.ones(1, np.float32)
    whole = Quantization(np.float32(1), 0)
    first = np.zeros((width, 1), np.int8)
    first[0] = 127
    layers = [
        IntegerDense(
            first, np.array([b], np.int32), ones, source=whole, target=whole, activation="relu"
        ),
        IntegerDense(np.ones((1, 1), np.int8), np.zeros(1, np.int32), ones, source=whole),
    ]
    model = replace(model, network=Network(width, layers, rng=np.random.default_rng(0)))
    x = np.zeros((3, width), np.float32)
    x[:, 0] = 0.5, 0.499, 0.501
    records = Records(model.encoder.columns, x)
    values = model.answers(records)["value"]
    assert abs(values[1] - values[2]) / model.targets.scale == pytest.approx(127 + b, rel=1e-4)
    assert compute_tolerances(model, records)["value"][0] >= abs(values[1] - values[2])
