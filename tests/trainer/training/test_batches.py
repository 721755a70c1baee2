from itertools import chain

import numpy as np
import pytest

from trainer.nn import CategoricalCrossEntropy, MeanSquaredError
from trainer.training.batches import ShuffledBatches, TrainingRows


def make_rows(n=10, weights=None):
    x = np.arange(n * 2, dtype=np.float32).reshape(n, 2)
    return TrainingRows(x, np.arange(n), weights)


def list_targets(batches):
    """Return the targets of each batch, which are the indices of its rows."""
    return [targets.tolist() for _, targets, _ in ((x.copy(), y.copy(), w) for x, y, w in batches)]


def test_shuffled_batches_epoch_has_each_row_once_with_its_target_and_weight(rng):
    rows = make_rows(11, np.arange(11, dtype=np.float32))
    indices = []
    for x, y, w in ShuffledBatches(rows, 4).iterate_epoch(rng):
        np.testing.assert_array_equal(x, rows.features[y])
        np.testing.assert_array_equal(w, y)
        indices += y.tolist()
    assert sorted(indices) == list(range(11))


@pytest.mark.parametrize(
    ("n", "size", "expected"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1]), (3, 1, [1, 2]), (5, 9, [5])],
)
def test_shuffled_batches_single_last_row_joins_previous_batch(n, size, expected, rng):
    batches = ShuffledBatches(make_rows(n), size)
    assert [len(b) for b in list_targets(batches.iterate_epoch(rng))] == expected
    assert len(batches) == len(expected)


def test_shuffled_batches_skip_leaves_other_batches_unchanged():
    batches = ShuffledBatches(make_rows(20), 3)
    whole = list_targets(batches.iterate_epoch(np.random.default_rng(1)))
    rest = list_targets(batches.iterate_epoch(np.random.default_rng(1), skip=4))
    assert rest == whole[4:]


def test_shuffled_batches_without_shuffle_yields_views_in_order(rng):
    rows = make_rows(10)
    batches = list(ShuffledBatches(rows, 4, shuffle=False).iterate_epoch(rng))
    assert list(chain(*(y.tolist() for _, y, _ in batches))) == list(range(10))
    assert all(np.shares_memory(x, rows.features) for x, _, _ in batches)


def test_shuffled_batches_mapped_file_yields_arrays_in_memory(tmp_path, rng):
    np.save(tmp_path / "x.npy", make_rows(100).features)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    batches = ShuffledBatches(TrainingRows(mapped, np.arange(100)), 7)
    for x, y, _ in batches.iterate_epoch(rng):
        assert not isinstance(x, np.memmap)
        np.testing.assert_array_equal(x[:, 0], 2 * y)


def check(x, y, w=None, loss=None):
    TrainingRows(x, y, w).check(loss or CategoricalCrossEntropy(), 2, 3, np.float32)


def test_training_rows_check_invalid_arrays_raises_value_error():
    x, y = np.zeros((4, 2), np.float32), np.array([0, 1, 2, 0])
    check(x, y, np.array([0, 1, 2.5, 0]))
    x_with_nan = x.copy()
    x_with_nan[2, 1] = np.nan
    for arguments, message in (
        ((x[:, :1], y), r"features of shape \(n, 2\), n ≥ 1; got \(4, 1\)"),
        ((x[:0], y[:0]), r"got \(0, 2\)"),
        ((x.astype(float), y), "features of float32; got float64"),
        ((x, y[:3]), "got 4 rows and 3 targets"),
        ((x_with_nan, y), "finite features; got NaN or infinity in row 2"),
        ((x, y + 1), "from 0 to 2, one per output; got 1 to 3"),
        ((x, y, np.ones(3)), r"one weight per row, of shape \(4,\); got \(3,\)"),
        ((x, y, np.array([1, np.inf, 1, 1])), "finite weights; got NaN or infinity in row 1"),
        ((x, y, np.array([1, -1, 1, 1.0])), "weights of at least 0"),
        ((x, y, np.zeros(4)), "not all of them 0"),
        ((x, np.full((4, 3), np.nan), None, MeanSquaredError()), "finite targets"),
    ):
        with pytest.raises(ValueError, match=message):
            check(*arguments)
