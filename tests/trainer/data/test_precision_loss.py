import numpy as np
import pytest

from trainer.data.precision_loss import DistinctNumbers, measure_precision_losses


def measure_loss(values, max_values=2**14, batch=1000):
    counter = DistinctNumbers(max_values)
    for start in range(0, len(values), batch):
        counter.add(values[start : start + batch])
    return counter.loss("x")


def compute_lost_share(values):
    distinct = np.unique(values)
    return 1 - len(np.unique(distinct.astype(np.float32))) / len(distinct)


def test_distinct_numbers_few_values_are_counted_exactly():
    loss = measure_loss(5812345 + np.arange(1000) / 1000)
    assert (loss.distinct, loss.lost, loss.exactness) == (1000, 997, "")
    assert loss.needs_float64
    assert loss.description == "x (1,000 different values, of which 997 lost)"


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
def test_distinct_numbers_values_that_differ_in_float32_lose_nothing(values):
    assert measure_loss(values).lost == 0


def test_distinct_numbers_many_values_are_estimated():
    rng = np.random.default_rng(0)
    values = np.round(1.6e12 + rng.uniform(0, 3e10, 100_000))
    loss = measure_loss(values, max_values=2**12)
    assert loss.exactness == "about "
    assert loss.distinct == pytest.approx(100_000, rel=0.05)
    assert loss.share == pytest.approx(compute_lost_share(values), abs=0.03)
    assert loss.needs_float64


def test_distinct_numbers_fractions_only_in_last_rows_are_counted():
    values = np.concatenate([1e9 + 64.0 * np.arange(60_000), 1e9 + np.arange(20_000) / 20_000])
    assert measure_loss(values, max_values=2**12).share == pytest.approx(
        compute_lost_share(values), abs=0.05
    )


def test_distinct_numbers_crowded_values_settle_early():
    loss = measure_loss(5812345 + np.random.default_rng(0).random(100_000), max_values=2**12)
    assert (loss.exactness, loss.needs_float64) == ("at least ", True)
    assert loss.share > 0.99


def test_distinct_numbers_values_merged_by_chance_need_no_float64():
    # Of a million numbers drawn from [0, 1), 2 % meet in float32, and as many after scaling.
    values = np.random.default_rng(0).random(1_000_000)
    assert compute_lost_share(values) > 0.01
    assert not measure_loss(values, batch=50_000).needs_float64


def test_measure_precision_losses_returns_only_columns_that_lose():
    rows = np.stack([np.arange(100.0), 5e8 + np.arange(100.0)], axis=1)
    assert list(measure_precision_losses(["a", "b"], rows)) == ["b"]
    assert measure_precision_losses(["a", "b"], rows.astype(np.float32)) == {}
