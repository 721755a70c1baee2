from itertools import chain

import numpy as np
import pytest

from trainer.nn import SGD, Adam, CategoricalCrossEntropy, Cosine, Dense, MeanSquaredError, Network
from trainer.training.loop import Callback, Rows, TrainingDivergedError, TrainingRun
from trainer.training.update import UpdateRule


def train(*parts, **options):
    return TrainingRun(*parts, **options).run()


def rows(rng, n=50):
    x = rng.normal(size=(n, 3)).astype(np.float32)
    return Rows(x, (x[:, 0] > 0).astype(np.int64))


def fitted(seed=0, **options):
    data = rows(np.random.default_rng(1))
    network = Network(3, [Dense(8, "relu"), Dense(2)], rng=np.random.default_rng(2))
    history = train(
        network,
        CategoricalCrossEntropy(),
        UpdateRule(Adam(0.01)),
        data,
        rng=np.random.default_rng(seed),
        **{"epochs": 5, "batch_size": 16, **options},
    )
    return network, history


class Spy(MeanSquaredError):
    """Notes which rows each step has seen, by the values of their targets."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def value_and_gradient(self, logits, targets, out, weights=None):
        self.batches.append(targets[:, 0].astype(int).tolist())
        return super().value_and_gradient(logits, targets, out, weights)


def spied(n=10, batch_size=4, epochs=3):
    spy = Spy()
    network = Network(1, [Dense(1)], rng=np.random.default_rng(0))
    data = Rows(np.zeros((n, 1), np.float32), np.arange(n, dtype=np.float32)[:, None])
    train(
        network,
        spy,
        UpdateRule(SGD(1e-6)),
        data,
        epochs=epochs,
        batch_size=batch_size,
        rng=np.random.default_rng(0),
    )
    per_epoch = -(-n // batch_size)
    return [spy.batches[i : i + per_epoch] for i in range(0, len(spy.batches), per_epoch)]


def test_every_row_is_seen_once_an_epoch():
    for epoch in spied():
        assert sorted(chain(*epoch)) == list(range(10))


def test_the_last_batch_takes_what_is_left():
    assert [len(batch) for batch in spied()[0]] == [4, 4, 2]


def test_batches_have_other_members_each_epoch():
    first, second, third = (set(map(frozenset, epoch)) for epoch in spied())
    assert first != second != third


def test_training_lowers_the_loss():
    _, history = fitted(epochs=30)
    assert history[-1].train_loss < history[0].train_loss / 2
    assert [epoch.number for epoch in history] == list(range(1, 31))


def test_the_same_seed_ends_in_the_same_weights():
    one, same, other = fitted(seed=3)[0], fitted(seed=3)[0], fitted(seed=4)[0]
    np.testing.assert_array_equal(one.parameters, same.parameters)
    assert (one.parameters != other.parameters).any()


def test_the_training_loss_is_the_mean_over_rows_not_over_batches():
    data = rows(np.random.default_rng(1), n=10)
    network = Network(3, [Dense(2)], rng=np.random.default_rng(0))
    expected = CategoricalCrossEntropy().value(network.logits(data.features), data.targets)
    (epoch,) = train(
        network,
        CategoricalCrossEntropy(),
        UpdateRule(SGD(1e-12)),
        data,
        epochs=1,
        batch_size=4,
        rng=np.random.default_rng(0),
    )
    assert epoch.train_loss == pytest.approx(expected, rel=1e-6)


def test_validation_rows_are_measured_and_not_learned():
    validation = rows(np.random.default_rng(9))
    with_them, history = fitted(validation=validation)
    without, bare = fitted()
    np.testing.assert_array_equal(with_them.parameters, without.parameters)
    expected = CategoricalCrossEntropy().value(
        with_them.logits(validation.features), validation.targets
    )
    assert history[-1].validation_loss == expected
    assert bare[-1].validation_loss is None


def test_a_diverging_run_is_stopped_by_name(rng):
    data = Rows(rng.normal(size=(40, 2)).astype(np.float32), rng.normal(size=(40, 1)))
    network = Network(2, [Dense(8, "relu"), Dense(1)], rng=rng)
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(TrainingDivergedError, match=r"finite training loss.*SGD\(1e\+20\).*lower"),
    ):
        train(
            network,
            MeanSquaredError(),
            UpdateRule(SGD(1e20)),
            data,
            epochs=20,
            batch_size=8,
            rng=rng,
        )


def test_callbacks_hear_the_start_each_epoch_and_the_end_even_after_an_error():
    heard = []

    class Ear(Callback):
        def on_start(self, run):
            heard.append("start")

        def on_epoch(self, run):
            heard.append(run.history[-1].number)
            if run.history[-1].number == 3:
                raise KeyboardInterrupt

        def on_end(self, run):
            heard.append("end")

    with pytest.raises(KeyboardInterrupt):
        fitted(callbacks=[Ear()])
    assert heard == ["start", 1, 2, 3, "end"]


def test_a_callback_can_stop_the_run():
    class Stop(Callback):
        def on_epoch(self, run):
            run.stop = run.history[-1].number == 2

    assert len(fitted(callbacks=[Stop()])[1]) == 2


def test_a_stream_is_read_anew_each_epoch():
    data, opened = rows(np.random.default_rng(1)), []

    def stream():
        opened.append(True)
        for start in range(0, 50, 10):
            yield data.features[start : start + 10], data.targets[start : start + 10], None

    network = Network(3, [Dense(8, "relu"), Dense(2)], rng=np.random.default_rng(2))
    run = TrainingRun(
        network,
        CategoricalCrossEntropy(),
        UpdateRule(Adam(0.01)),
        stream,
        epochs=20,
        batch_size=1,
        rng=np.random.default_rng(0),
    )
    history = run.run()
    assert len(opened) == 20
    assert run.steps == 100
    assert history[-1].train_loss < history[0].train_loss / 2


def test_a_stream_without_batches_or_length_is_refused():
    network = Network(3, [Dense(2)], rng=np.random.default_rng(2))
    options = dict(epochs=1, batch_size=1, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="got a stream without any"):
        TrainingRun(network, CategoricalCrossEntropy(), UpdateRule(SGD(1)), list, **options).run()
    update = UpdateRule(SGD(1), schedule=Cosine())
    with pytest.raises(ValueError, match="expected steps_per_epoch, for Cosine"):
        TrainingRun(network, CategoricalCrossEntropy(), update, list, **options)


def test_a_faulty_batch_of_a_stream_is_named():
    x = np.full((4, 3), np.nan, np.float32)
    network = Network(3, [Dense(2)], rng=np.random.default_rng(2))
    batch = x, np.zeros(4, int), None
    run = TrainingRun(
        network,
        CategoricalCrossEntropy(),
        UpdateRule(SGD(1)),
        lambda: [batch],
        epochs=1,
        batch_size=1,
        rng=np.random.default_rng(0),
    )
    with pytest.raises(ValueError, match="finite features; got NaN or infinity in row 0"):
        run.run()


def test_weights_that_are_no_numbers_any_more_end_the_run_by_name():
    class Spoil(Callback):
        def on_step(self, run):
            run.network.parameters[0] = np.nan if run.steps == 4 else 0

    with pytest.raises(
        TrainingDivergedError, match="expected a finite W of layer 1, Dense.*got nan.*after 4 steps"
    ):
        fitted(callbacks=[Spoil()])


def test_a_loss_that_does_not_fit_the_last_activation_is_refused(rng):
    data = Rows(rng.normal(size=(40, 2)), (rng.random((40, 1)) > 0.5).astype(float))
    network = Network(2, [Dense(4, "tanh"), Dense(1, "sigmoid")], rng=rng, dtype=np.float64)
    with pytest.raises(ValueError, match="for classes use binary_cross_entropy and leave the last"):
        train(
            network, MeanSquaredError(), UpdateRule(SGD(1)), data, epochs=1, batch_size=8, rng=rng
        )


def test_impossible_numbers_are_refused():
    for option in ("epochs", "batch_size"):
        with pytest.raises(ValueError, match=f"expected {option} of at least 1; got 0"):
            fitted(**{option: 0})
