import numpy as np
import pytest

from trainer.data.precision_loss import DistinctNumbers, measure_precision_losses


def loss_of(values, most=2**14, batch=1000):
    counter = DistinctNumbers(most)
    for start in range(0, len(values), batch):
        counter.add(values[start : start + batch])
    return counter.loss("x")


def true_share(values):
    different = np.unique(values)
    return 1 - len(np.unique(different.astype(np.float32))) / len(different)


def test_few_values_are_counted_exactly():
    loss = loss_of(5812345 + np.arange(1000) / 1000)
    assert (loss.distinct, loss.lost, loss.exactness) == (1000, 997, "")
    assert loss.needs_float64
    assert loss.in_words == "x (1,000 different values, of which 997 lost)"


@pytest.mark.parametrize(
    "values",
    [
        np.arange(2000.0),
        np.arange(1000) / 7,
        1e9 + 64.0 * np.arange(1000),
        np.array([np.nan, np.inf, 1.0]),
        np.zeros(0),
    ],
)
def test_values_that_float32_tells_apart_lose_nothing(values):
    assert loss_of(values).lost == 0


def test_more_values_than_are_held_are_estimated():
    rng = np.random.default_rng(0)
    values = np.round(1.6e12 + rng.uniform(0, 3e10, 100_000))
    loss = loss_of(values, most=2**12)
    assert loss.exactness == "about "
    assert loss.distinct == pytest.approx(100_000, rel=0.05)
    assert loss.share == pytest.approx(true_share(values), abs=0.03)
    assert loss.needs_float64


def test_fractions_in_the_last_rows_alone_are_seen():
    values = np.concatenate([1e9 + 64.0 * np.arange(60_000), 1e9 + np.arange(20_000) / 20_000])
    assert loss_of(values, most=2**12).share == pytest.approx(true_share(values), abs=0.05)


def test_a_crowd_is_known_before_all_of_it_was_seen():
    loss = loss_of(5812345 + np.random.default_rng(0).random(100_000), most=2**12)
    assert (loss.exactness, loss.needs_float64) == ("at least ", True)
    assert loss.share > 0.99


def test_values_that_meet_by_chance_need_no_float64():
    # Of a million numbers drawn from [0, 1), 2 % meet in float32, and as many after scaling.
    values = np.random.default_rng(0).random(1_000_000)
    assert true_share(values) > 0.01
    assert not loss_of(values, batch=50_000).needs_float64


def test_losses_are_of_the_columns_that_lose():
    rows = np.stack([np.arange(100.0), 5e8 + np.arange(100.0)], axis=1)
    assert list(measure_precision_losses(["a", "b"], rows)) == ["b"]
    assert measure_precision_losses(["a", "b"], rows.astype(np.float32)) == {}
