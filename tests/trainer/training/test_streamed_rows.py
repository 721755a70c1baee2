import numpy as np
import pytest

from trainer.nn import SGD, Dense, MeanSquaredError, Network
from trainer.training import streamed_rows
from trainer.training.batches import TrainingRows
from trainer.training.loop import TrainingRun
from trainer.training.streamed_rows import BLOCK, StreamedRows
from trainer.training.update import UpdateRule


def numbered(n, size, row_bytes=4):
    """Rows whose feature is their own number, and what was asked for."""
    asked = []

    def fetch(places):
        asked.append(places.copy())
        return TrainingRows(places[:, None].astype(np.float32), places[:, None].astype(np.float32))

    return StreamedRows(n, fetch, size, row_bytes=row_bytes), asked


@pytest.fixture
def small_buffer(monkeypatch):
    monkeypatch.setattr(streamed_rows, "BUFFER", 3 * BLOCK * 4)


@pytest.mark.parametrize("n", [1, 5, BLOCK, 10 * BLOCK, 10 * BLOCK + 1, 7 * BLOCK + 300])
@pytest.mark.parametrize("size", [1, 32, 1000])
def test_every_row_comes_once_in_as_many_batches_as_said(n, size, rng, small_buffer):
    source, _ = numbered(n, size)
    for _ in range(2):
        batches = [x[:, 0].copy() for x, _, _ in source.epoch(rng)]
        assert len(batches) == len(source)
        assert max(map(len, batches)) <= size + 1
        np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(n))


def test_each_epoch_has_an_order_of_its_own_and_mixes_places_far_apart(rng, small_buffer):
    source, _ = numbered(30 * BLOCK, 64)
    first, second = (
        np.concatenate([x[:, 0].copy() for x, _, _ in source.epoch(rng)]) for _ in "ab"
    )
    assert (first != second).mean() > 0.99
    spread = [np.ptp(first[start : start + 64]) for start in range(0, len(first), 64)]
    assert np.median(spread) > BLOCK  # a batch is no block


def test_files_are_read_forwards_a_block_at_a_time(rng, small_buffer):
    source, asked = numbered(20 * BLOCK, 64)
    list(source.epoch(rng))
    for places in asked:
        assert (np.diff(places) > 0).all()
        assert (np.diff(places) == 1).mean() > 0.99
        assert len(places) <= source._buffer


def test_an_epoch_goes_on_where_it_was_left(small_buffer):
    source, _ = numbered(8 * BLOCK, 100)
    whole = [x.copy() for x, _, _ in source.epoch(np.random.default_rng(5))]
    for skip in (1, 30, len(whole) - 1):
        rest = [x.copy() for x, _, _ in source.epoch(np.random.default_rng(5), skip=skip)]
        np.testing.assert_array_equal(np.concatenate(rest), np.concatenate(whole[skip:]))


def test_a_run_learns_from_it_with_a_schedule(rng, small_buffer):
    x = rng.normal(size=(9 * BLOCK, 3)).astype(np.float32)
    y = (x @ np.array([[1.0], [-2.0], [0.5]])).astype(np.float32)
    source = StreamedRows(
        len(x), lambda places: TrainingRows(x[places], y[places]), 64, row_bytes=12
    )
    network = Network(3, [Dense(1)], rng=rng)
    run = TrainingRun(
        network, MeanSquaredError(), UpdateRule(SGD(0.05)), source, epochs=2, batch_size=64, rng=rng
    )
    assert run.steps_planned() == 2 * len(source)
    assert run.run()[-1].train_loss < 1e-3


def test_a_sample_comes_from_all_over(small_buffer):
    source, _ = numbered(50 * BLOCK, 64)
    places = source.sample().features[:, 0]
    assert places.min() == 0
    assert places.max() == 50 * BLOCK - 1


def test_a_buffer_holds_four_batches_however_long_their_rows_are():
    long, _ = numbered(10 * BLOCK, 1000, row_bytes=2**30)
    assert len(long.sample()) == 4 * BLOCK  # whole blocks, of 1024 rows
    small, _ = numbered(10 * BLOCK, 10, row_bytes=2**30)
    assert len(small.sample()) == BLOCK
