import numpy as np
import pytest
from scipy.stats import entropy as divergence

from trainer.compress.calibrate import CALIBRATIONS, calibrate, entropy, min_max, percentile
from trainer.compress.qat import QuantizedDense, insert_quantization
from trainer.nn import Dense, Embedding, FeatureSelect, Network, Quantization


def values(rng, n=100_000):
    return rng.standard_t(2, n).astype(np.float32)


def test_min_max_is_all_there_is(rng):
    found = values(rng)
    assert min_max(found) == (found.min(), found.max())


def test_percentiles_leave_out_one_in_ten_thousand_on_each_side(rng):
    found = values(rng)
    low, high = percentile(found)
    assert (found < low).sum() == pytest.approx(10, abs=1)
    assert (found > high).sum() == pytest.approx(10, abs=1)
    low, high = percentile(found)
    ordered = np.sort(found)
    assert ordered[9] <= low <= ordered[10]
    assert ordered[-11] <= high <= ordered[-10]
    assert high < 0.6 * found.max()


def test_entropy_cuts_far_outliers_off(rng):
    found = np.append(np.abs(rng.normal(size=50_000)), [40, 41]).astype(np.float32)
    low, high = entropy(found)
    assert low == 0
    assert 4 < high < 12


@pytest.mark.parametrize("low, high", [(0, 6), (-2, 6), (-3, 0), (2, 6)])
def test_entropy_keeps_a_uniform_range(low, high, rng):
    found = rng.uniform(low, high, 100_000).astype(np.float32)
    assert entropy(found) == (min(found.min(), 0), max(found.max(), 0))


@pytest.mark.slow
def test_entropy_is_that_of_the_range_whose_bytes_tell_most(rng):
    # Of all that are tried, with histograms made by hand and scipy's divergence.
    found = np.append(rng.exponential(size=20_000), 30).astype(np.float32)
    fine, edges = np.histogram(found, 2048, (0, found.max()))
    ends = float(found.max()) * np.geomspace(1, 1 / 8, 24)

    def lost(end):
        kept = [place for place in range(2048) if (edges[place] + edges[place + 1]) / 2 <= end]
        inside = [float(fine[place]) for place in kept]
        p = [*inside[:-1], inside[-1] + fine[len(kept) :].sum()]
        bytes_of = [int((edges[at] + edges[at + 1]) / 2 / end * 256) for at in kept]
        q = []
        for place, byte in enumerate(bytes_of):
            mates = [other for other, its in enumerate(bytes_of) if its == byte and p[other]]
            q.append(sum(inside[other] for other in mates) / len(mates) if p[place] else 0)
        return divergence(p, np.maximum(np.array(q) / sum(q), 1e-12))

    divergences = [lost(end) for end in ends]
    _, high = entropy(found)
    assert high == pytest.approx(ends[int(np.argmin(divergences))])
    assert high < ends[0]


@pytest.mark.parametrize("method", CALIBRATIONS)
@pytest.mark.parametrize("constant", [0, 3, -2])
def test_what_is_always_the_same_has_a_byte(constant, method):
    low, high = CALIBRATIONS[method](np.full(1000, constant, np.float32))
    quantization = Quantization.from_range(low, high)
    x = np.array([constant], np.float32)
    np.testing.assert_allclose(quantization.dequantize(quantization.quantize(x)), x, rtol=1e-6)


def test_each_layer_is_calibrated_on_what_the_rounded_ones_before_it_make(rng):
    network = Network(
        4,
        [Embedding([5], [2]), FeatureSelect(np.array([0, 2, 4])), Dense(5, "relu"), Dense(2)],
        rng=rng,
    )
    x = np.column_stack([rng.normal(size=(300, 3)), rng.integers(0, 5, 300)]).astype(np.float32)
    rounds = insert_quantization(network, [4, 8])
    calibrate(rounds, x, "min-max")
    first, second = (layer for layer in rounds.layers if isinstance(layer, QuantizedDense))
    vectors = network.layers[0].tables[0][x[:, 3].astype(int)]
    looked_at = np.column_stack([x[:, 0], x[:, 2], vectors[:, 1]])
    np.testing.assert_array_equal(first.range, [looked_at.min(), looked_at.max()])
    fed = first.forward(looked_at, training=False)
    np.testing.assert_array_equal(second.range, [fed.min(), fed.max()])
    dense = [layer for layer in network.layers if isinstance(layer, Dense)]
    assert second.range[1] != dense[0].forward(looked_at, training=False).max()
