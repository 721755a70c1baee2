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


def rows(rng, n, sizes=SIZES, passed=3, dtype=np.float64):
    numbers = [rng.integers(0, size, n) for size in sizes]
    return np.column_stack([rng.normal(size=(n, passed)), *numbers]).astype(dtype)


def network(rng, sizes=SIZES, units=UNITS, passed=3, dtype=np.float64):
    layers = [Embedding(sizes, units), Dense(2)]
    return Network(passed + len(sizes), layers, rng=rng, dtype=dtype)


def one_hot(x, passed, sizes):
    """The columns one would feed a dense layer instead."""
    parts = [x[:, :passed]]
    parts += [np.eye(size)[x[:, passed + k].astype(int)] for k, size in enumerate(sizes)]
    return np.concatenate(parts, axis=1)


def block_diagonal(passed, tables):
    blocks = [np.eye(passed), *tables]
    out = np.zeros(np.sum([b.shape for b in blocks], axis=0))
    row = column = 0
    for block in blocks:
        out[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    return out


@pytest.mark.parametrize("passed", [0, 3])
def test_it_is_a_dense_layer_without_biases_on_one_hot_columns(passed, rng):
    net, x = network(rng, passed=passed), rows(rng, 20, passed=passed)
    layer = net.layers[0]
    dense = block_diagonal(passed, layer.tables)
    out = layer.forward(x, training=True)
    np.testing.assert_allclose(out, one_hot(x, passed, SIZES) @ dense, rtol=1e-14)
    assert out.shape == (20, layer.outputs(passed + 2)) == (20, passed + 6)


@pytest.fixture
def ways(monkeypatch):
    """The ways in which gradients were added up, with the sizes of their tables."""
    taken = []
    for way in ("product", "sorting"):
        method = getattr(Embedding, f"_add_by_{way}")

        def spied(layer, chosen, flow, dtable, way=way, method=method):
            taken.append((way, len(dtable)))
            method(layer, chosen, flow, dtable)

        monkeypatch.setattr(Embedding, f"_add_by_{way}", spied)
    return taken


@pytest.mark.parametrize("way, most", [("product", 10**9), ("sorting", 0)])
@pytest.mark.parametrize("n, sizes", [(20, [7, 3]), (200, [5, 2000]), (1, [20_000, 1])])
@pytest.mark.parametrize("dtype, close", [(np.float32, 2e-5), (np.float64, 1e-13)])
def test_its_gradient_sums_the_rows_of_each_category(
    n, sizes, way, most, dtype, close, rng, ways, monkeypatch
):
    monkeypatch.setattr(embedding, "MAX_PRODUCT_SIZE", most)
    net = network(rng, sizes=sizes, dtype=dtype)
    layer = net.layers[0]
    for last in (False, True):  # nothing is left of the batch before
        x = rows(rng, n, sizes, dtype=dtype)
        # The unknown, twice, and the last category are there, too.
        x[:2, 3:] = 0
        x[-1, 3:] = np.array(sizes) - 1 if last else 0
        layer.forward(x, training=True)
        flow = rng.normal(size=(n, 9)).astype(dtype)
        layer.backward(flow.copy(), to_inputs=False)
    assert ways == [(way, size) for size in sizes] * 2
    for k, columns in enumerate((slice(3, 7), slice(7, 9))):
        expected = np.zeros((sizes[k], UNITS[k]))
        np.add.at(expected, x[:, 3 + k].astype(int), flow[:, columns].astype(np.float64))
        assert expected[-1].any()
        np.testing.assert_allclose(layer.dtables[k], expected, rtol=close, atol=close)


def test_small_tables_are_added_up_by_products_and_large_ones_by_sorting(rng, ways, monkeypatch):
    monkeypatch.setattr(embedding, "MAX_PRODUCT_SIZE", 20 * 7)
    net = network(rng, sizes=[7, 8])
    x = rows(rng, 20, [7, 8])
    net.loss_and_gradients(x, np.zeros((20, 2)), MeanSquaredError())
    assert ways == [("product", 7), ("sorting", 8)]


def test_the_unknown_category_is_learned_as_any_other(rng):
    net = network(rng, dtype=np.float32)
    x = rows(rng, 4, dtype=np.float32)
    x[:, 3:] = 0
    adam = Adam(0.01)
    net.loss_and_gradients(x, np.ones((4, 2), np.float32), MeanSquaredError())
    adam.step(net.parameters, net.gradients)
    assert all(table[0].all() for table in net.layers[0].tables)


def test_inputs_that_pass_through_get_their_gradient_and_categories_none(rng):
    net, x = network(rng), rows(rng, 5)
    flow = rng.normal(size=(5, 9))
    net.layers[0].forward(x, training=True)
    dx = net.layers[0].backward(flow.copy(), to_inputs=True)
    np.testing.assert_array_equal(dx[:, :3], flow[:, :3])
    np.testing.assert_array_equal(dx[:, 3:], 0)
    assert net.layers[0].backward(flow.copy(), to_inputs=False) is None


@pytest.mark.parametrize("method, limit", [("central", 1e-6), ("complex", 1e-11)])
def test_the_gradients_of_its_tables_and_of_the_layer_below_are_right(method, limit, rng):
    below = Branches((2, [Dense(3, "tanh")]), (2, []))
    net = Network(
        4, [below, Embedding(SIZES, UNITS), Dense(5, "tanh"), Dense(3)], rng=rng, dtype=np.float64
    )
    x = rows(rng, 15, passed=2)
    errors = check_gradients(
        net, x, rng.integers(0, 3, 15), CategoricalCrossEntropy(), method=method
    )
    assert [e.parameter for e in errors[:4]] == ["W", "b", "table_0", "table_1"]
    assert max(e.relative for e in errors) <= limit


def test_unknown_starts_at_zero_and_the_others_small(rng):
    layer = network(rng, sizes=[500, 300], units=[40, 30]).layers[0]
    for table in layer.tables:
        assert (table[0] == 0).all()
        assert table[1:].std() == pytest.approx(0.05, rel=0.03)
        assert table[1:].mean() == pytest.approx(0, abs=0.002)


def test_tables_are_views_that_penalties_and_norms_leave_alone(rng):
    net = network(rng)
    layer, x = net.layers[0], rows(rng, 9)
    y, loss = rng.normal(size=(9, 2)), MeanSquaredError()
    net.loss_and_gradients(x, y, loss)
    plain = [d.copy() for d in layer.dtables]
    net.loss_and_gradients(x, y, loss, penalty=Penalty(l1=1.0, l2=1.0))
    for dtable, before in zip(layer.dtables, plain, strict=True):
        np.testing.assert_array_equal(dtable, before)
    net.parameters[...] = 7
    MaxNorm(0.1).apply(net.weights())
    assert all((table == 7).all() for table in layer.tables)


def test_a_number_beyond_the_table_reads_nothing_else(rng):
    net = network(rng)
    last, far = rows(rng, 1), rows(rng, 1)
    last[0], far[0] = [1, 1, 1, 6, 2], [1, 1, 1, 99, 99]
    np.testing.assert_array_equal(net.logits(far), net.logits(last))


def test_smaller_batches_after_larger_ones_and_no_rows_at_all(rng):
    net, x = network(rng), rows(rng, 30)
    together = net.logits(x)
    np.testing.assert_allclose(net.logits(x[:4]), together[:4], rtol=1e-12)
    assert net.logits(x[:0]).shape == (0, 2)


def test_a_copy_goes_on_alike(rng):
    net, x = network(rng), rows(rng, 9)
    other = copy.deepcopy(net)
    np.testing.assert_array_equal(other.logits(x), net.logits(x))
    assert repr(other.layers[0]) == "Embedding([7, 3], [4, 2])"


def test_it_learns_what_no_line_through_the_numbers_could(rng):
    x = rows(rng, 300, sizes=[30], passed=1)
    means = rng.normal(size=30)
    y = means[x[:, 1].astype(int)][:, None]
    net = Network(2, [Embedding([30], [4]), Dense(1)], rng=rng, dtype=np.float64)
    adam, loss = Adam(0.02), MeanSquaredError()
    for _ in range(400):
        value = net.loss_and_gradients(x, y, loss)
        adam.step(net.parameters, net.gradients)
    assert value < 1e-3 * y.var()


@pytest.mark.parametrize("sizes", [[100, 60], [50_000, 60]])
def test_a_step_allocates_nothing_that_grows_with_the_table(sizes, rng):
    net = network(rng, sizes=sizes, units=[50, 30], passed=100, dtype=np.float32)
    x, y = rows(rng, 1024, sizes, passed=100, dtype=np.float32), np.ones((1024, 2), np.float32)
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
def test_impossible_tables_are_refused(sizes, units):
    with pytest.raises(ValueError, match="each of at least 1 category and 1 unit; got sizes"):
        Embedding(sizes, units)


def test_too_few_inputs_are_refused(rng):
    with pytest.raises(
        ValueError, match="at least 2 inputs, one for each column of categories; got 1"
    ):
        Network(1, [Embedding(SIZES, UNITS)], rng=rng)


def test_the_default_width_grows_slowly_and_has_an_end():
    widths = [embedding_width(size) for size in (1, 2, 10, 100, 10_000)]
    assert widths == [2, 3, 6, 22, 50]
