import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import entropy

from trainer.compress.distill import DistillationLoss, DistillationRows, distill
from trainer.nn import Dense, Embedding, Network
from trainer.training.loop import Callback

LINKS = [("softmax", 4), ("sigmoid", 1), ("sigmoid", 3), ("identity", 2), ("exp", 1)]
TEMPERATURE = 2.0


def draw_logits(rng, n=6, k=4):
    """Return logits of a student and of a teacher, float64 `(n, k)`."""
    return rng.normal(0, 3, (n, k)), rng.normal(0, 3, (n, k))


def compute_loss_with_scipy(link, student, teacher):
    if link == "softmax":
        p, q = softmax(teacher / TEMPERATURE, axis=1), softmax(student / TEMPERATURE, axis=1)
        return TEMPERATURE**2 * np.mean([entropy(a, b) for a, b in zip(p, q, strict=True)])
    if link == "sigmoid":
        p, q = expit(teacher / TEMPERATURE), expit(student / TEMPERATURE)
        pairs = zip(p.ravel(), q.ravel(), strict=True)
        return TEMPERATURE**2 * np.mean([entropy([a, 1 - a], [b, 1 - b]) for a, b in pairs])
    return np.mean((student - teacher) ** 2)


@pytest.mark.parametrize("link, k", LINKS)
def test_distillation_loss_equals_the_divergence_from_the_teacher(link, k, rng):
    student, teacher = draw_logits(rng, k=k)
    expected = compute_loss_with_scipy(link, student, teacher)
    assert DistillationLoss(link).value(student, teacher) == pytest.approx(expected)


@pytest.mark.parametrize("link, k", LINKS)
def test_distillation_loss_gradient_equals_finite_differences(link, k, rng):
    student, teacher = draw_logits(rng, k=k)
    gradient, loss, h = np.empty_like(student), DistillationLoss(link), 1e-5
    loss.value_and_gradient(student, teacher, gradient)
    for index in np.ndindex(student.shape):
        step = np.zeros_like(student)
        step[index] = h
        difference = loss.value(student + step, teacher) - loss.value(student - step, teacher)
        assert gradient[index] == pytest.approx(difference / (2 * h), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("link, k", LINKS)
def test_distillation_loss_is_zero_for_the_teachers_logits(link, k, rng):
    student, teacher = draw_logits(rng, k=k)
    loss, gradient = DistillationLoss(link), np.ones_like(student)
    assert loss.value_and_gradient(teacher, teacher, gradient) == 0
    np.testing.assert_array_equal(gradient, 0)
    assert loss.compute_minimum(teacher, k) == 0
    assert loss.value(student, teacher) > 0


@pytest.mark.parametrize("link, k", LINKS)
def test_distillation_loss_of_large_float32_logits_is_finite(link, k):
    student = np.full((2, k), 1000, np.float32)
    teacher = -student
    teacher[:, 0] = 0
    gradient = np.empty_like(student)
    assert np.isfinite(DistillationLoss(link).value_and_gradient(student, teacher, gradient))
    assert np.isfinite(gradient).all()


def test_distillation_loss_class_targets_and_row_weights_are_refused(rng):
    student, teacher = draw_logits(rng)
    with pytest.raises(ValueError, match="expected floats of shape"):
        DistillationLoss("softmax").check_targets(np.arange(6), 4)
    with pytest.raises(ValueError, match=r"expected rows of equal weight .*; got row weights"):
        DistillationLoss("softmax").value(student, teacher, np.ones(6))


def make_distillation_rows(n=40, size=8, n_categories=1):
    """Return rows that can be recognised in a mixture, a teacher, and the batches of both.

    Row i has the number i + 1 in column i, 0 in the other columns, and i in the last column.
    """
    x = np.zeros((n, n + 1), np.float32)
    x[np.arange(n), np.arange(n)], x[:, n] = np.arange(1, n + 1), np.arange(n)
    teacher = Network(n + 1, [Dense(4, "relu"), Dense(3)], rng=np.random.default_rng(7))
    return x, teacher, DistillationRows(teacher, x, size, n_categories=n_categories)


def list_batches(source, seed, skip=0):
    batches = source.iterate_epoch(np.random.default_rng(seed), skip=skip)
    return [(x.copy(), logits.copy()) for x, logits, weights in batches if weights is None]


def test_distillation_rows_half_are_mixtures_of_two_rows():
    x, _, source = make_distillation_rows()
    batches = list_batches(source, 0)
    assert len(batches) == len(source) == 5
    row_numbers, own_shares = [], []
    for batch, _ in batches:
        for place, row in enumerate(batch):
            number = int(row[-1])  # The code of a category is not mixed.
            row_numbers.append(number)
            shares = row[:-1] / np.arange(1, 41)  # share of each row in this one
            assert shares.sum() == pytest.approx(1)
            assert (shares >= 0).all()
            assert np.count_nonzero(shares) <= 2
            assert shares[number] > 0
            if place >= len(batch) // 2:
                np.testing.assert_array_equal(row, x[number])
            else:
                own_shares.append(shares[number])
    assert sorted(row_numbers) == list(range(40))
    assert 0.3 < np.mean(own_shares) < 0.8
    assert np.count_nonzero(np.array(own_shares) < 0.99) >= 14


def test_distillation_rows_no_categories_mixes_the_last_column():
    _, _, source = make_distillation_rows(n_categories=0)
    last_columns = np.concatenate([x[:, -1] for x, _ in list_batches(source, 0)])
    assert (last_columns % 1 != 0).sum() > 10


def test_distillation_rows_do_not_change_the_data():
    x, _, source = make_distillation_rows()
    before = x.copy()
    list_batches(source, 0)
    np.testing.assert_array_equal(x, before)


def test_distillation_rows_targets_are_the_teachers_logits_of_the_mixed_rows():
    _, teacher, source = make_distillation_rows()
    for x, logits in list_batches(source, 0):
        np.testing.assert_array_equal(logits, teacher.logits(x))


def test_distillation_rows_same_seed_same_batches():
    _, _, source = make_distillation_rows()
    first, second, other = (list_batches(source, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(*(np.concatenate([x for x, _ in b]) for b in (first, second)))
    assert any((a[0] != b[0]).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("skip", [1, 3])
def test_distillation_rows_skip_yields_the_same_later_batches(skip):
    _, _, source = make_distillation_rows()
    all_batches, later = list_batches(source, 4), list_batches(source, 4, skip=skip)
    assert len(later) == 5 - skip
    for (x, logits), (expected_x, expected_logits) in zip(later, all_batches[skip:], strict=True):
        np.testing.assert_array_equal(x, expected_x)
        np.testing.assert_array_equal(logits, expected_logits)


class EpochCounter(Callback):
    def __init__(self):
        self.epochs = 0

    def on_epoch(self, run):
        self.epochs += 1


@pytest.mark.parametrize("link, k", LINKS)
def test_distill_smaller_network_learns_the_teachers_answers(link, k, rng):
    teacher = Network(6, [Dense(24, "tanh"), Dense(k)], rng=rng)
    x = rng.normal(size=(600, 6)).astype(np.float32)
    teacher_before = teacher.parameters.copy()

    def train_student(seed):
        student = Network(6, [Dense(12, "tanh"), Dense(k)], rng=np.random.default_rng(1))
        loss_before = DistillationLoss(link).value(student.logits(x), teacher.logits(x))
        counter = EpochCounter()
        distill(
            student,
            teacher,
            link,
            x,
            epochs=15,
            batch_size=32,
            learning_rate=0.02,
            n_categories=0,
            rng=np.random.default_rng(seed),
            callbacks=[counter],
        )
        assert counter.epochs == 15
        loss = DistillationLoss(link).value(student.logits(x), teacher.logits(x))
        assert loss < 0.2 * loss_before
        return student.parameters

    np.testing.assert_array_equal(train_student(0), train_student(0))
    np.testing.assert_array_equal(teacher.parameters, teacher_before)


def test_distill_network_with_embedding_learns(rng):
    layers = [Embedding([5], [3]), Dense(8, "relu"), Dense(2)]
    teacher = Network(4, layers, rng=rng)
    student = teacher.astype(np.float32)
    student.parameters[...] += rng.normal(0, 0.1, student.n_parameters)
    x = np.column_stack([rng.normal(size=(200, 3)), rng.integers(0, 5, 200)]).astype(np.float32)
    loss_before = DistillationLoss("softmax").value(student.logits(x), teacher.logits(x))
    distill(
        student,
        teacher,
        "softmax",
        x,
        epochs=10,
        batch_size=32,
        learning_rate=0.01,
        n_categories=1,
        rng=rng,
    )
    loss = DistillationLoss("softmax").value(student.logits(x), teacher.logits(x))
    assert loss < 0.3 * loss_before


def test_distillation_rows_input_dropout_affects_the_student_only(rng):
    class RecordingTeacher:
        def logits(self, x):
            self.x = x.copy()
            return np.zeros((len(x), 2), np.float32)

    x = rng.uniform(1, 2, (400, 10)).astype(np.float32)
    teacher = RecordingTeacher()
    source = DistillationRows(teacher, x, 400, n_categories=2, input_dropout=0.3)
    ((student_x, _, _),) = source.iterate_epoch(rng)
    assert (teacher.x >= 1).all()
    is_dropped = student_x == 0
    assert not is_dropped[:, 8:].any()  # the codes of categories
    assert is_dropped[:, :8].mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(student_x[~is_dropped], teacher.x[~is_dropped])
