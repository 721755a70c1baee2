import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import entropy

from trainer.compress.distill import DistillationLoss, DistillationRows, distill
from trainer.nn import Dense, Embedding, Network
from trainer.training.loop import Callback

LINKS = [("softmax", 4), ("sigmoid", 1), ("sigmoid", 3), ("identity", 2), ("exp", 1)]
T = 2.0


def logits(rng, n=6, k=4):
    return rng.normal(0, 3, (n, k)), rng.normal(0, 3, (n, k))


def by_scipy(link, mine, theirs):
    if link == "softmax":
        p, q = softmax(theirs / T, axis=1), softmax(mine / T, axis=1)
        return T**2 * np.mean([entropy(a, b) for a, b in zip(p, q, strict=True)])
    if link == "sigmoid":
        p, q = expit(theirs / T), expit(mine / T)
        pairs = zip(p.ravel(), q.ravel(), strict=True)
        return T**2 * np.mean([entropy([a, 1 - a], [b, 1 - b]) for a, b in pairs])
    return np.mean((mine - theirs) ** 2)


@pytest.mark.parametrize("link, k", LINKS)
def test_its_value_is_the_divergence_from_the_teacher(link, k, rng):
    mine, theirs = logits(rng, k=k)
    assert DistillationLoss(link).value(mine, theirs) == pytest.approx(by_scipy(link, mine, theirs))


@pytest.mark.parametrize("link, k", LINKS)
def test_its_gradient_is_that_of_its_value(link, k, rng):
    mine, theirs = logits(rng, k=k)
    out, loss, h = np.empty_like(mine), DistillationLoss(link), 1e-5
    loss.value_and_gradient(mine, theirs, out)
    for at in np.ndindex(mine.shape):
        step = np.zeros_like(mine)
        step[at] = h
        wanted = (loss.value(mine + step, theirs) - loss.value(mine - step, theirs)) / (2 * h)
        assert out[at] == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("link, k", LINKS)
def test_it_is_least_where_the_teacher_is(link, k, rng):
    mine, theirs = logits(rng, k=k)
    loss, out = DistillationLoss(link), np.ones_like(mine)
    assert loss.value_and_gradient(theirs, theirs, out) == 0
    np.testing.assert_array_equal(out, 0)
    assert loss.compute_minimum(theirs, k) == 0
    assert loss.value(mine, theirs) > 0


@pytest.mark.parametrize("link, k", LINKS)
def test_logits_of_any_size_are_compared_in_float32(link, k):
    mine = np.full((2, k), 1000, np.float32)
    theirs = -mine
    theirs[:, 0] = 0
    out = np.empty_like(mine)
    assert np.isfinite(DistillationLoss(link).value_and_gradient(mine, theirs, out))
    assert np.isfinite(out).all()


def test_what_is_no_teachers_logits_is_refused(rng):
    mine, theirs = logits(rng)
    with pytest.raises(ValueError, match="expected floats of shape"):
        DistillationLoss("softmax").check_targets(np.arange(6), 4)
    with pytest.raises(ValueError, match="expected rows that count alike; got weights"):
        DistillationLoss("softmax").value(mine, theirs, np.ones(6))


def questions(rng, n=40, size=8, whole=1):
    """Of rows that tell whose they are: one feature above 0 each, and its number at the end."""
    x = np.zeros((n, n + 1), np.float32)
    x[np.arange(n), np.arange(n)], x[:, n] = np.arange(1, n + 1), np.arange(n)
    teacher = Network(n + 1, [Dense(4, "relu"), Dense(3)], rng=np.random.default_rng(7))
    return x, teacher, DistillationRows(teacher, x, size, whole=whole)


def all_batches(source, seed, skip=0):
    found = source.iterate_epoch(np.random.default_rng(seed), skip=skip)
    return [(x.copy(), logits.copy()) for x, logits, weights in found if weights is None]


def test_half_of_the_rows_lie_between_two_and_the_others_are_as_they_were(rng):
    x, _, source = questions(rng)
    batches = all_batches(source, 0)
    assert len(batches) == len(source) == 5
    seen, shares = [], []
    for asked, _ in batches:
        for place, row in enumerate(asked):
            own = int(row[-1])  # a category's number stays its own
            seen.append(own)
            share = row[:-1] / np.arange(1, 41)  # of each row in this one
            assert share.sum() == pytest.approx(1)
            assert (share >= 0).all()
            assert np.count_nonzero(share) <= 2
            assert share[own] > 0
            if place >= len(asked) // 2:
                np.testing.assert_array_equal(row, x[own])
            else:
                shares.append(share[own])
    assert sorted(seen) == list(range(40))  # each row once an epoch
    assert 0.3 < np.mean(shares) < 0.8
    assert np.count_nonzero(np.array(shares) < 0.99) >= 14


def test_without_categories_the_last_column_is_blended_too(rng):
    _, _, source = questions(rng, whole=0)
    numbers = np.concatenate([asked[:, -1] for asked, _ in all_batches(source, 0)])
    assert (numbers % 1 != 0).sum() > 10


def test_the_rows_are_left_as_they_are(rng):
    x, _, source = questions(rng)
    before = x.copy()
    all_batches(source, 0)
    np.testing.assert_array_equal(x, before)


def test_the_teacher_answers_the_very_rows_that_are_asked(rng):
    _, teacher, source = questions(rng)
    for asked, answered in all_batches(source, 0):
        np.testing.assert_array_equal(answered, teacher.logits(asked))


def test_a_seed_decides_what_is_asked_and_each_epoch_asks_anew(rng):
    _, _, source = questions(rng)
    once, again, other = (all_batches(source, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(*(np.concatenate([x for x, _ in b]) for b in (once, again)))
    assert any((a[0] != b[0]).any() for a, b in zip(once, other, strict=True))


@pytest.mark.parametrize("skip", [1, 3])
def test_who_goes_on_within_an_epoch_asks_what_would_have_been_asked(skip, rng):
    _, _, source = questions(rng)
    whole, rest = all_batches(source, 4), all_batches(source, 4, skip=skip)
    assert len(rest) == 5 - skip
    for (x, answers), (wanted, right) in zip(rest, whole[skip:], strict=True):
        np.testing.assert_array_equal(x, wanted)
        np.testing.assert_array_equal(answers, right)


class Count(Callback):
    def __init__(self):
        self.epochs = 0

    def on_epoch(self, run):
        self.epochs += 1


@pytest.mark.parametrize("link, k", LINKS)
def test_a_smaller_network_learns_what_its_teacher_answers(link, k, rng):
    teacher = Network(6, [Dense(24, "tanh"), Dense(k)], rng=rng)
    x = rng.normal(size=(600, 6)).astype(np.float32)
    teacher_before = teacher.parameters.copy()

    def learned(seed):
        student = Network(6, [Dense(12, "tanh"), Dense(k)], rng=np.random.default_rng(1))
        before = DistillationLoss(link).value(student.logits(x), teacher.logits(x))
        watch = Count()
        distill(
            student,
            teacher,
            link,
            x,
            epochs=15,
            batch_size=32,
            learning_rate=0.02,
            whole=0,
            rng=np.random.default_rng(seed),
            callbacks=[watch],
        )
        assert watch.epochs == 15
        assert DistillationLoss(link).value(student.logits(x), teacher.logits(x)) < 0.2 * before
        return student.parameters

    np.testing.assert_array_equal(learned(0), learned(0))
    np.testing.assert_array_equal(teacher.parameters, teacher_before)


def test_categories_that_are_looked_up_stay_whole_while_it_learns(rng):
    layers = [Embedding([5], [3]), Dense(8, "relu"), Dense(2)]
    teacher = Network(4, layers, rng=rng)
    student = teacher.astype(np.float32)
    student.parameters[...] += rng.normal(0, 0.1, student.n_parameters)
    x = np.column_stack([rng.normal(size=(200, 3)), rng.integers(0, 5, 200)]).astype(np.float32)
    before = DistillationLoss("softmax").value(student.logits(x), teacher.logits(x))
    distill(
        student,
        teacher,
        "softmax",
        x,
        epochs=10,
        batch_size=32,
        learning_rate=0.01,
        whole=1,
        rng=rng,
    )
    assert DistillationLoss("softmax").value(student.logits(x), teacher.logits(x)) < 0.3 * before


def test_the_teacher_sees_what_its_pupil_does_not(rng):
    class Teacher:
        def logits(self, x):
            self.saw = x.copy()
            return np.zeros((len(x), 2), np.float32)

    x = rng.uniform(1, 2, (400, 10)).astype(np.float32)
    teacher = Teacher()
    source = DistillationRows(teacher, x, 400, whole=2, silenced=0.3)
    ((seen, _, _),) = source.iterate_epoch(rng)
    assert (teacher.saw >= 1).all()
    silent = seen == 0
    assert not silent[:, 8:].any()  # numbers of categories
    assert silent[:, :8].mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(seen[~silent], teacher.saw[~silent])
