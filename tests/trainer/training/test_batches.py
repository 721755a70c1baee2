from itertools import chain

import numpy as np
import pytest

from trainer.nn import CategoricalCrossEntropy, MeanSquaredError
from trainer.training.batches import ShuffledBatches, TrainingRows


def rows(n=10, weights=None):
    x = np.arange(n * 2, dtype=np.float32).reshape(n, 2)
    return TrainingRows(x, np.arange(n), weights)


def members(batches):
    return [targets.tolist() for _, targets, _ in ((x.copy(), y.copy(), w) for x, y, w in batches)]


def test_every_row_is_in_one_batch_with_its_target_and_weight(rng):
    given = rows(11, np.arange(11, dtype=np.float32))
    seen = []
    for x, y, w in ShuffledBatches(given, 4).epoch(rng):
        np.testing.assert_array_equal(x, given.features[y])
        np.testing.assert_array_equal(w, y)
        seen += y.tolist()
    assert sorted(seen) == list(range(11))


@pytest.mark.parametrize(
    ("n", "size", "expected"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1]), (3, 1, [1, 2]), (5, 9, [5])],
)
def test_no_row_is_left_alone(n, size, expected, rng):
    batches = ShuffledBatches(rows(n), size)
    assert [len(b) for b in members(batches.epoch(rng))] == expected
    assert len(batches) == len(expected)


def test_skipping_leaves_the_rest_as_it_would_have_been():
    batches = ShuffledBatches(rows(20), 3)
    whole = members(batches.epoch(np.random.default_rng(1)))
    assert members(batches.epoch(np.random.default_rng(1), skip=4)) == whole[4:]


def test_unshuffled_rows_come_in_order_and_uncopied(rng):
    given = rows(10)
    batches = list(ShuffledBatches(given, 4, shuffle=False).epoch(rng))
    assert list(chain(*(y.tolist() for _, y, _ in batches))) == list(range(10))
    assert all(np.shares_memory(x, given.features) for x, _, _ in batches)


def test_rows_may_lie_in_a_file(tmp_path, rng):
    np.save(tmp_path / "x.npy", rows(100).features)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    batches = ShuffledBatches(TrainingRows(mapped, np.arange(100)), 7)
    for x, y, _ in batches.epoch(rng):
        assert not isinstance(x, np.memmap)
        np.testing.assert_array_equal(x[:, 0], 2 * y)


def check(x, y, w=None, loss=None):
    TrainingRows(x, y, w).check(loss or CategoricalCrossEntropy(), 2, 3, np.float32)


def test_what_cannot_be_learned_from_is_named():
    x, y = np.zeros((4, 2), np.float32), np.array([0, 1, 2, 0])
    check(x, y, np.array([0, 1, 2.5, 0]))
    hole = x.copy()
    hole[2, 1] = np.nan
    for arguments, message in (
        ((x[:, :1], y), r"features of shape \(n, 2\), n ≥ 1; got \(4, 1\)"),
        ((x[:0], y[:0]), r"got \(0, 2\)"),
        ((x.astype(float), y), "features of float32; got float64"),
        ((x, y[:3]), "got 4 rows and 3 targets"),
        ((hole, y), "finite features; got NaN or infinity in row 2"),
        ((x, y + 1), "from 0 to 2, one per output; got 1 to 3"),
        ((x, y, np.ones(3)), r"one weight per row, of shape \(4,\); got \(3,\)"),
        ((x, y, np.array([1, np.inf, 1, 1])), "finite weights; got NaN or infinity in row 1"),
        ((x, y, np.array([1, -1, 1, 1.0])), "weights of at least 0"),
        ((x, y, np.zeros(4)), "not all of them 0"),
        ((x, np.full((4, 3), np.nan), None, MeanSquaredError()), "finite targets"),
    ):
        with pytest.raises(ValueError, match=message):
            check(*arguments)
