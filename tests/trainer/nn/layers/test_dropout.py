import copy

import numpy as np
import pytest

from trainer.nn import Dense, Dropout, Network


def make_network(layers, n_in, rng, dtype=np.float64):
    return Network(n_in, layers, rng=rng, dtype=dtype)


def test_dropout_training_zeroes_rate_and_scales_rest(rng):
    layer = Dropout(0.3)
    net = make_network([layer, Dense(1)], 400, rng)
    x = np.ones((200, 400))
    out = layer.forward(x, training=True)
    share = round(0.3 * 2**16) / 2**16  # the rate in multiples of 2⁻¹⁶
    assert set(np.unique(out)) == {0, 1 / (1 - share)}
    assert (out == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert out.mean() == pytest.approx(1, abs=0.01)
    assert net.layers[0].forward(x, training=False) is x


@pytest.mark.parametrize("rate", [2**-16, 0.15, 0.5, 0.999])
@pytest.mark.parametrize("shape", [(1, 3), (7, 5), (128, 130)])
def test_dropout_zeroes_quarters_of_generator_words_below_rate(rate, shape, rng):
    layer = Dropout(rate)
    make_network([layer, Dense(1)], shape[1], rng)
    stream = np.random.PCG64()
    stream.state = layer.generators()[0].bit_generator.state
    n = shape[0] * shape[1]
    words = [int(stream.random_raw()) for _ in range(-(-n // 4))]
    quarters = np.array([word >> shift & 0xFFFF for word in words for shift in (0, 16, 32, 48)])
    out = layer.forward(np.ones(shape), training=True)
    np.testing.assert_array_equal(out.ravel() == 0, quarters[:n] < round(rate * 2**16))


@pytest.mark.parametrize("rate", [1e-9, 1 - 1e-9])
def test_dropout_rate_beyond_resolution_keeps_expected_output(rate, rng):
    layer = Dropout(rate)
    make_network([layer, Dense(1)], 1000, rng)
    total, n = 0.0, 300
    for _ in range(n):
        total += layer.forward(np.ones((100, 1000)), training=True).mean()
    assert total / n == pytest.approx(1, abs=0.2)  # 5 standard deviations of the higher rate


def test_dropout_rate_scale_changes_share_of_zeros(rng):
    layer = Dropout(0.4)
    make_network([layer, Dense(1)], 400, rng)
    for scale, share in ((1.0, 0.4), (0.5, 0.2), (0.0, 0.0)):
        layer.rate_scale = scale
        out = layer.forward(np.ones((200, 400)), training=True)
        assert (out == 0).mean() == pytest.approx(share, abs=0.01)


def test_dropout_parent_generator_of_32_bit_words_drops_rate():
    layer = Dropout(0.3)
    make_network([layer, Dense(1)], 400, np.random.Generator(np.random.MT19937(0)))
    out = layer.forward(np.ones((200, 400)), training=True)
    assert (out == 0).mean() == pytest.approx(0.3, abs=0.01)


def test_dropout_backward_uses_mask_of_forward(rng):
    layer = Dropout(0.5)
    make_network([layer, Dense(1)], 50, rng)
    snapshot = layer.forward(np.ones((4, 50)), training=True).copy()
    gradient = layer.backward(np.full((4, 50), 3.0), to_inputs=True)
    np.testing.assert_array_equal(gradient, 3 * snapshot)


def test_dropout_mask_changes_per_batch_and_repeats_by_seed():
    def draw_masks(seed):
        layer = Dropout(0.5)
        make_network([layer, Dense(1)], 30, np.random.default_rng(seed))
        return [layer.forward(np.ones((2, 30)), training=True).copy() for _ in range(2)]

    first, second = draw_masks(0)
    assert (first != second).any()
    np.testing.assert_array_equal(draw_masks(0), [first, second])
    assert (draw_masks(1)[0] != first).any()


def test_dropout_forward_leaves_input_unchanged(rng):
    layer, x = Dropout(0.5), rng.normal(size=(5, 6))
    make_network([layer, Dense(1)], 6, rng)
    before = x.copy()
    layer.forward(x, training=True)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5])
def test_dropout_invalid_rate_raises(rate):
    with pytest.raises(ValueError, match=r"rate in \[0, 1\)"):
        Dropout(rate)


@pytest.mark.parametrize(("scale", "rate"), [(1.0, 0.4), (0.5, 0.2), (0.0, 0.0)])
def test_dropout_rate_scale_scales_the_rate(scale, rate, rng):
    layer = Dropout(0.4)
    make_network([layer, Dense(1)], 400, rng)
    layer.rate_scale = scale
    out = layer.forward(np.ones((200, 400)), training=True).copy()
    assert (out == 0).mean() == pytest.approx(rate, abs=0.01)
    assert out.max() == pytest.approx(1 / (1 - rate), rel=2**-15)  # the rate has 16 bits
    assert out.mean() == pytest.approx(1, abs=0.01)
    gradient = layer.backward(np.full((200, 400), 3.0), to_inputs=True)
    np.testing.assert_array_equal(gradient, 3 * out)


def test_dropout_rate_scale_changed_after_forward_keeps_gradient_of_forward(rng):
    layer = Dropout(0.4)
    make_network([layer, Dense(1)], 50, rng)
    out = layer.forward(np.ones((4, 50)), training=True).copy()
    layer.rate_scale = 0.1
    np.testing.assert_array_equal(layer.backward(np.ones((4, 50)), to_inputs=True), out)


def test_dropout_copy_has_the_full_rate():
    layer = Dropout(0.4)
    layer.rate_scale = 0.25
    assert copy.deepcopy(layer).rate_scale == 1
    assert repr(layer) == "Dropout(0.4)"
