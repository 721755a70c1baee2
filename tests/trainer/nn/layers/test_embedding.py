import copy
import tracemalloc

import numpy as np
import pytest

from trainer.nn import (
    Adam,
    Branches,
    CategoricalCrossEntropy,
    Dense,
    Embedding,
    MaxNorm,
    MeanSquaredError,
    Network,
    Penalty,
    check_gradients,
    embedding_width,
)
from trainer.nn.layers import embedding

SIZES, UNITS = [7, 3], [4, 2]


def make_rows(rng, n, sizes=SIZES, n_numeric=3, dtype=np.float64):
    numbers = [rng.integers(0, size, n) for size in sizes]
    return np.column_stack([rng.normal(size=(n, n_numeric)), *numbers]).astype(dtype)


def make_network(rng, sizes=SIZES, units=UNITS, n_numeric=3, dtype=np.float64):
    layers = [Embedding(sizes, units), Dense(2)]
    return Network(n_numeric + len(sizes), layers, rng=rng, dtype=dtype)


def encode_one_hot(x, n_numeric, sizes):
    """Return the inputs with one-hot columns instead of category indices."""
    parts = [x[:, :n_numeric]]
    parts += [np.eye(size)[x[:, n_numeric + k].astype(int)] for k, size in enumerate(sizes)]
    return np.concatenate(parts, axis=1)


def make_block_diagonal(n_numeric, tables):
    blocks = [np.eye(n_numeric), *tables]
    out = np.zeros(np.sum([b.shape for b in blocks], axis=0))
    row = column = 0
    for block in blocks:
        out[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    return out


@pytest.mark.parametrize("n_numeric", [0, 3])
def test_embedding_forward_equals_dense_on_one_hot_columns(n_numeric, rng):
    net, x = make_network(rng, n_numeric=n_numeric), make_rows(rng, 20, n_numeric=n_numeric)
    layer = net.layers[0]
    dense = make_block_diagonal(n_numeric, layer.tables)
    out = layer.forward(x, training=True)
    np.testing.assert_allclose(out, encode_one_hot(x, n_numeric, SIZES) @ dense, rtol=1e-14)
    assert out.shape == (20, layer.outputs(n_numeric + 2)) == (20, n_numeric + 6)


@pytest.fixture
def methods(monkeypatch):
    """Return the recorded calls: method of summation and size of the table."""
    calls = []
    for name in ("product", "sorting"):
        original = getattr(Embedding, f"_add_by_{name}")

        def record_call(layer, categories, flow, dtable, name=name, original=original):
            calls.append((name, len(dtable)))
            original(layer, categories, flow, dtable)

        monkeypatch.setattr(Embedding, f"_add_by_{name}", record_call)
    return calls


@pytest.mark.parametrize("method, max_product", [("product", 10**9), ("sorting", 0)])
@pytest.mark.parametrize("n, sizes", [(20, [7, 3]), (200, [5, 2000]), (1, [20_000, 1])])
@pytest.mark.parametrize("dtype, close", [(np.float32, 2e-5), (np.float64, 1e-13)])
def test_embedding_backward_sums_gradients_of_each_category(
    n, sizes, method, max_product, dtype, close, rng, methods, monkeypatch
):
    monkeypatch.setattr(embedding, "MAX_PRODUCT_SIZE", max_product)
    net = make_network(rng, sizes=sizes, dtype=dtype)
    layer = net.layers[0]
    for has_last in (False, True):  # the second batch must not see the first
        x = make_rows(rng, n, sizes, dtype=dtype)
        # Category 0 twice and, in the second batch, the last category.
        x[:2, 3:] = 0
        x[-1, 3:] = np.array(sizes) - 1 if has_last else 0
        layer.forward(x, training=True)
        flow = rng.normal(size=(n, 9)).astype(dtype)
        layer.backward(flow.copy(), to_inputs=False)
    assert methods == [(method, size) for size in sizes] * 2
    for k, columns in enumerate((slice(3, 7), slice(7, 9))):
        expected = np.zeros((sizes[k], UNITS[k]))
        np.add.at(expected, x[:, 3 + k].astype(int), flow[:, columns].astype(np.float64))
        assert expected[-1].any()
        np.testing.assert_allclose(layer.dtables[k], expected, rtol=close, atol=close)


def test_embedding_backward_table_size_chooses_product_or_sorting(rng, methods, monkeypatch):
    monkeypatch.setattr(embedding, "MAX_PRODUCT_SIZE", 20 * 7)
    net = make_network(rng, sizes=[7, 8])
    x = make_rows(rng, 20, [7, 8])
    net.loss_and_gradients(x, np.zeros((20, 2)), MeanSquaredError())
    assert methods == [("product", 7), ("sorting", 8)]


def test_embedding_unknown_category_is_trained(rng):
    net = make_network(rng, dtype=np.float32)
    x = make_rows(rng, 4, dtype=np.float32)
    x[:, 3:] = 0
    adam = Adam(0.01)
    net.loss_and_gradients(x, np.ones((4, 2), np.float32), MeanSquaredError())
    adam.step(net.parameters, net.gradients)
    assert all(table[0].all() for table in net.layers[0].tables)


def test_embedding_backward_returns_gradient_of_numeric_inputs_only(rng):
    net, x = make_network(rng), make_rows(rng, 5)
    flow = rng.normal(size=(5, 9))
    net.layers[0].forward(x, training=True)
    dx = net.layers[0].backward(flow.copy(), to_inputs=True)
    np.testing.assert_array_equal(dx[:, :3], flow[:, :3])
    np.testing.assert_array_equal(dx[:, 3:], 0)
    assert net.layers[0].backward(flow.copy(), to_inputs=False) is None


@pytest.mark.parametrize("method, limit", [("central", 1e-6), ("complex", 1e-11)])
def test_embedding_gradients_match_numeric_derivative(method, limit, rng):
    below = Branches((2, [Dense(3, "tanh")]), (2, []))
    net = Network(
        4, [below, Embedding(SIZES, UNITS), Dense(5, "tanh"), Dense(3)], rng=rng, dtype=np.float64
    )
    x = make_rows(rng, 15, n_numeric=2)
    errors = check_gradients(
        net, x, rng.integers(0, 3, 15), CategoricalCrossEntropy(), method=method
    )
    assert [e.parameter for e in errors[:4]] == ["W", "b", "table_0", "table_1"]
    assert max(e.relative for e in errors) <= limit


def test_embedding_initialize_unknown_is_zero_others_small(rng):
    layer = make_network(rng, sizes=[500, 300], units=[40, 30]).layers[0]
    for table in layer.tables:
        assert (table[0] == 0).all()
        assert table[1:].std() == pytest.approx(0.05, rel=0.03)
        assert table[1:].mean() == pytest.approx(0, abs=0.002)


def test_embedding_tables_are_not_regularized(rng):
    net = make_network(rng)
    layer, x = net.layers[0], make_rows(rng, 9)
    y, loss = rng.normal(size=(9, 2)), MeanSquaredError()
    net.loss_and_gradients(x, y, loss)
    plain = [d.copy() for d in layer.dtables]
    net.loss_and_gradients(x, y, loss, penalty=Penalty(l1=1.0, l2=1.0))
    for dtable, before in zip(layer.dtables, plain, strict=True):
        np.testing.assert_array_equal(dtable, before)
    net.parameters[...] = 7
    MaxNorm(0.1).apply(net.weights())
    assert all((table == 7).all() for table in layer.tables)


def test_embedding_index_too_large_reads_last_row(rng):
    net = make_network(rng)
    last, far = make_rows(rng, 1), make_rows(rng, 1)
    last[0], far[0] = [1, 1, 1, 6, 2], [1, 1, 1, 99, 99]
    np.testing.assert_array_equal(net.logits(far), net.logits(last))


def test_embedding_smaller_and_empty_batches_are_right(rng):
    net, x = make_network(rng), make_rows(rng, 30)
    together = net.logits(x)
    np.testing.assert_allclose(net.logits(x[:4]), together[:4], rtol=1e-12)
    assert net.logits(x[:0]).shape == (0, 2)


def test_embedding_copy_gives_same_logits(rng):
    net, x = make_network(rng), make_rows(rng, 9)
    other = copy.deepcopy(net)
    np.testing.assert_array_equal(other.logits(x), net.logits(x))
    assert repr(other.layers[0]) == "Embedding([7, 3], [4, 2])"


def test_embedding_learns_nonmonotonic_category_effects(rng):
    x = make_rows(rng, 300, sizes=[30], n_numeric=1)
    means = rng.normal(size=30)
    y = means[x[:, 1].astype(int)][:, None]
    net = Network(2, [Embedding([30], [4]), Dense(1)], rng=rng, dtype=np.float64)
    adam, loss = Adam(0.02), MeanSquaredError()
    for _ in range(400):
        value = net.loss_and_gradients(x, y, loss)
        adam.step(net.parameters, net.gradients)
    assert value < 1e-3 * y.var()


@pytest.mark.parametrize("sizes", [[100, 60], [50_000, 60]])
def test_embedding_step_allocates_no_table_sized_array(sizes, rng):
    net = make_network(rng, sizes=sizes, units=[50, 30], n_numeric=100, dtype=np.float32)
    x, y = (
        make_rows(rng, 1024, sizes, n_numeric=100, dtype=np.float32),
        np.ones((1024, 2), np.float32),
    )
    loss = MeanSquaredError()

    def step():
        net.loss_and_gradients(x, y, loss)

    step()
    step()
    tracemalloc.start()
    step()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(5):
        step()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 100_000  # the layer's output has 700 KB, the larger table 10 MB
    assert after - before < 10_000


@pytest.mark.parametrize("sizes, units", [([], []), ([3], [2, 2]), ([0], [2]), ([3], [0])])
def test_embedding_invalid_sizes_raises(sizes, units):
    with pytest.raises(ValueError, match="each of at least 1 category and 1 unit; got sizes"):
        Embedding(sizes, units)


def test_embedding_too_few_inputs_raises(rng):
    with pytest.raises(
        ValueError, match="at least 2 inputs, one for each column of categories; got 1"
    ):
        Network(1, [Embedding(SIZES, UNITS)], rng=rng)


def test_embedding_width_grows_to_its_maximum():
    widths = [embedding_width(size) for size in (1, 2, 10, 100, 10_000)]
    assert widths == [2, 3, 6, 22, 50]
