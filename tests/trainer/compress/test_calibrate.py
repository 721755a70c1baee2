import numpy as np
import pytest
from scipy.stats import entropy as compute_divergence

from trainer.compress.calibrate import (
    CALIBRATION_METHODS,
    calibrate,
    find_entropy_range,
    get_full_range,
    get_percentile_range,
)
from trainer.compress.qat import QuantizedDense, insert_quantization
from trainer.nn import Dense, Embedding, FeatureSelect, Network, Quantization


def draw_values(rng, n=100_000):
    """Return values with heavy tails, float32 `(n,)`."""
    return rng.standard_t(2, n).astype(np.float32)


def test_min_max_range_holds_all_values(rng):
    values = draw_values(rng)
    assert get_full_range(values) == (values.min(), values.max())


def test_percentile_range_clips_one_in_ten_thousand_at_each_end(rng):
    values = draw_values(rng)
    low, high = get_percentile_range(values)
    assert (values < low).sum() == pytest.approx(10, abs=1)
    assert (values > high).sum() == pytest.approx(10, abs=1)
    ascending = np.sort(values)
    assert ascending[9] <= low <= ascending[10]
    assert ascending[-11] <= high <= ascending[-10]
    assert high < 0.6 * values.max()


def test_entropy_range_clips_outliers(rng):
    values = np.append(np.abs(rng.normal(size=50_000)), [40, 41]).astype(np.float32)
    low, high = find_entropy_range(values)
    assert low == 0
    assert 4 < high < 12


@pytest.mark.parametrize("low, high", [(0, 6), (-2, 6), (-3, 0), (2, 6)])
def test_entropy_range_of_uniform_values_holds_all(low, high, rng):
    values = rng.uniform(low, high, 100_000).astype(np.float32)
    assert find_entropy_range(values) == (min(values.min(), 0), max(values.max(), 0))


@pytest.mark.slow
def test_entropy_range_has_the_smallest_divergence(rng):
    # The reference computes the histograms in loops and the divergence with scipy.
    values = np.append(rng.exponential(size=20_000), 30).astype(np.float32)
    counts, edges = np.histogram(values, 2048, (0, values.max()))
    ends = float(values.max()) * np.geomspace(1, 1 / 8, 24)

    def compute_range_divergence(end):
        centers = [(edges[i] + edges[i + 1]) / 2 for i in range(2048)]
        bins = [i for i in range(2048) if centers[i] <= end]
        unclipped = [float(counts[i]) for i in bins]
        p = [*unclipped[:-1], unclipped[-1] + counts[len(bins) :].sum()]
        levels = [int(centers[i] / end * 256) for i in bins]
        q = []
        for i, level in enumerate(levels):
            shared = [j for j, other in enumerate(levels) if other == level and p[j]]
            q.append(sum(unclipped[j] for j in shared) / len(shared) if p[i] else 0)
        return compute_divergence(p, np.maximum(np.array(q) / sum(q), 1e-12))

    divergences = [compute_range_divergence(end) for end in ends]
    _, high = find_entropy_range(values)
    assert high == pytest.approx(ends[int(np.argmin(divergences))])
    assert high < ends[0]


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
@pytest.mark.parametrize("constant", [0, 3, -2])
def test_calibration_of_a_constant_represents_it(constant, method):
    low, high = CALIBRATION_METHODS[method](np.full(1000, constant, np.float32))
    quantization = Quantization.from_range(low, high)
    x = np.array([constant], np.float32)
    np.testing.assert_allclose(quantization.dequantize(quantization.quantize(x)), x, rtol=1e-6)


def test_calibrate_uses_the_outputs_of_the_quantized_layers_before(rng):
    network = Network(
        4,
        [Embedding([5], [2]), FeatureSelect(np.array([0, 2, 4])), Dense(5, "relu"), Dense(2)],
        rng=rng,
    )
    x = np.column_stack([rng.normal(size=(300, 3)), rng.integers(0, 5, 300)]).astype(np.float32)
    quantized = insert_quantization(network, [4, 8])
    calibrate(quantized, x, "min-max")
    first, second = (layer for layer in quantized.layers if isinstance(layer, QuantizedDense))
    vectors = network.layers[0].tables[0][x[:, 3].astype(int)]
    selected = np.column_stack([x[:, 0], x[:, 2], vectors[:, 1]])
    np.testing.assert_array_equal(first.input_range, [selected.min(), selected.max()])
    outputs = first.forward(selected, training=False)
    np.testing.assert_array_equal(second.input_range, [outputs.min(), outputs.max()])
    dense = [layer for layer in network.layers if isinstance(layer, Dense)]
    assert second.input_range[1] != dense[0].forward(selected, training=False).max()
