import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from trainer.data.toys import TOYS, circles, moons, xor


@pytest.mark.parametrize("name", TOYS)
def test_toys_are_learned_but_not_by_a_line(name):
    X, y = TOYS[name]()
    assert X.shape == (500, 2)
    assert abs(y.mean() - 0.5) < 0.02
    assert cross_val_score(KNeighborsClassifier(5), X, y).mean() > 0.9
    assert LogisticRegression().fit(X, y).score(X, y) < 0.9


@pytest.mark.parametrize("name", TOYS)
def test_toys_same_seed_same_points(name):
    np.testing.assert_array_equal(TOYS[name](seed=1)[0], TOYS[name](seed=1)[0])
    assert not np.array_equal(TOYS[name](seed=1)[0], TOYS[name](seed=2)[0])


def test_toys_without_noise_have_their_shapes():
    X, y = xor(4, noise=0)
    np.testing.assert_array_equal(X, [[0, 0], [0, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(y, [0, 1, 1, 0])
    X, y = circles(100, noise=0)
    np.testing.assert_allclose(np.hypot(*X.T), np.where(y == 1, 0.5, 1))
    X, y = moons(100, noise=0)
    np.testing.assert_allclose(np.hypot(*X[y == 0].T), 1)
