import numpy as np
import pytest
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from trainer.nn import OPTIMIZERS, SGD, Adam


def walk(optimizer, rng, steps=10):
    """Positions on a bowl of uneven curvature."""
    theta, curvature = rng.normal(size=7), np.geomspace(0.1, 10, 7)
    path = []
    for _ in range(steps):
        optimizer.step(theta, curvature * theta)
        path.append(theta.copy())
    return np.array(path)


def walk_like_scikit_learn(optimizer_class, rng, steps=10, **options):
    theta, curvature = rng.normal(size=7), np.geomspace(0.1, 10, 7)
    optimizer = optimizer_class([theta], **options)
    path = []
    for _ in range(steps):
        optimizer.update_params([theta], [curvature * theta])
        path.append(theta.copy())
    return np.array(path)


def test_sgd_walks_as_scikit_learns_does():
    ours = walk(SGD(0.05), np.random.default_rng(0))
    theirs = walk_like_scikit_learn(
        SGDOptimizer, np.random.default_rng(0), learning_rate_init=0.05, momentum=0, nesterov=False
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-14)


def test_adam_walks_as_the_paper_says():
    g, theta, m, v = 3.0, 1.0, 0.0, 0.0
    adam, ours = Adam(0.1, beta1=0.8, beta2=0.9, epsilon=0.01), np.array([1.0])
    for t in range(1, 11):
        m = 0.8 * m + 0.2 * g
        v = 0.9 * v + 0.1 * g**2
        theta -= 0.1 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.9**t)) + 0.01)
        adam.step(ours, np.array([g]))
        assert ours[0] == pytest.approx(theta, rel=1e-14)
        g = -g / 2


def test_adam_walks_as_scikit_learns_does_but_for_where_epsilon_stands():
    ours = walk(Adam(0.05, epsilon=1e-30), np.random.default_rng(0))
    theirs = walk_like_scikit_learn(
        AdamOptimizer, np.random.default_rng(0), learning_rate_init=0.05, epsilon=1e-30
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values())
def test_a_step_goes_downhill_and_leaves_the_gradient_alone(optimizer, rng):
    theta = rng.normal(size=5)
    gradient = theta.copy()
    before = (theta**2).sum()
    optimizer(0.01).step(theta, gradient)
    assert (theta**2).sum() < before
    assert not np.shares_memory(theta, gradient)
    np.testing.assert_array_equal(np.sign(gradient - theta), np.sign(gradient))


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values())
def test_float32_stays_float32(optimizer):
    theta = np.ones(3, np.float32)
    optimizer(0.1).step(theta, np.ones(3, np.float32))
    assert theta.dtype == np.float32
    assert (theta < 1).all()


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_learning_rate_that_is_not_positive_is_refused(rate):
    with pytest.raises(ValueError, match="learning rate above 0"):
        SGD(rate)
