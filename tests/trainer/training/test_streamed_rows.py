import numpy as np
import pytest

from trainer.nn import SGD, Dense, MeanSquaredError, Network
from trainer.training import streamed_rows
from trainer.training.batches import TrainingRows
from trainer.training.loop import TrainingRun
from trainer.training.streamed_rows import BLOCK_ROWS, StreamedRows
from trainer.training.update import UpdateRule


def make_source(n, size, row_bytes=4):
    """Return a source of rows whose feature is their index, and the indices of each fetch."""
    fetches = []

    def fetch(indices):
        fetches.append(indices.copy())
        column = indices[:, None].astype(np.float32)
        return TrainingRows(column, column.copy())

    return StreamedRows(n, fetch, size, row_bytes=row_bytes), fetches


@pytest.fixture
def small_buffer(monkeypatch):
    monkeypatch.setattr(streamed_rows, "BUFFER_BYTES", 3 * BLOCK_ROWS * 4)


@pytest.mark.parametrize(
    "n", [1, 5, BLOCK_ROWS, 10 * BLOCK_ROWS, 10 * BLOCK_ROWS + 1, 7 * BLOCK_ROWS + 300]
)
@pytest.mark.parametrize("size", [1, 32, 1000])
def test_streamed_rows_epoch_has_each_row_once_in_len_batches(n, size, rng, small_buffer):
    source, _ = make_source(n, size)
    for _ in range(2):
        batches = [x[:, 0].copy() for x, _, _ in source.iterate_epoch(rng)]
        assert len(batches) == len(source)
        assert max(map(len, batches)) <= size + 1
        np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(n))


def test_streamed_rows_two_epochs_have_different_orders_of_distant_rows(rng, small_buffer):
    source, _ = make_source(30 * BLOCK_ROWS, 64)
    first, second = (
        np.concatenate([x[:, 0].copy() for x, _, _ in source.iterate_epoch(rng)]) for _ in range(2)
    )
    assert (first != second).mean() > 0.99
    spread = [np.ptp(first[start : start + 64]) for start in range(0, len(first), 64)]
    assert np.median(spread) > BLOCK_ROWS  # a batch has rows of several blocks


def test_streamed_rows_epoch_fetches_blocks_in_ascending_order(rng, small_buffer):
    source, fetches = make_source(20 * BLOCK_ROWS, 64)
    list(source.iterate_epoch(rng))
    for indices in fetches:
        assert (np.diff(indices) > 0).all()
        assert (np.diff(indices) == 1).mean() > 0.99
        assert len(indices) <= source._buffer_rows


def test_streamed_rows_skip_leaves_other_batches_unchanged(small_buffer):
    source, _ = make_source(8 * BLOCK_ROWS, 100)
    whole = [x.copy() for x, _, _ in source.iterate_epoch(np.random.default_rng(5))]
    for skip in (1, 30, len(whole) - 1):
        rest = [x.copy() for x, _, _ in source.iterate_epoch(np.random.default_rng(5), skip=skip)]
        np.testing.assert_array_equal(np.concatenate(rest), np.concatenate(whole[skip:]))


def test_training_run_streamed_rows_lowers_loss(rng, small_buffer):
    x = rng.normal(size=(9 * BLOCK_ROWS, 3)).astype(np.float32)
    y = (x @ np.array([[1.0], [-2.0], [0.5]])).astype(np.float32)
    source = StreamedRows(
        len(x), lambda indices: TrainingRows(x[indices], y[indices]), 64, row_bytes=12
    )
    network = Network(3, [Dense(1)], rng=rng)
    run = TrainingRun(
        network, MeanSquaredError(), UpdateRule(SGD(0.05)), source, epochs=2, batch_size=64, rng=rng
    )
    assert run.count_planned_steps() == 2 * len(source)
    assert run.run()[-1].train_loss < 1e-3


def test_streamed_rows_sample_spans_all_rows(small_buffer):
    source, _ = make_source(50 * BLOCK_ROWS, 64)
    indices = source.sample().features[:, 0]
    assert indices.min() == 0
    assert indices.max() == 50 * BLOCK_ROWS - 1


def test_streamed_rows_large_rows_buffer_holds_four_batches():
    large, _ = make_source(10 * BLOCK_ROWS, 1000, row_bytes=2**30)
    assert len(large.sample()) == 4 * BLOCK_ROWS  # four batches, rounded up to whole blocks
    small, _ = make_source(10 * BLOCK_ROWS, 10, row_bytes=2**30)
    assert len(small.sample()) == BLOCK_ROWS
