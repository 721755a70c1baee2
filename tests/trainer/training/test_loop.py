from itertools import chain

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import brier_score_loss

from trainer.nn import (
    SGD,
    Adam,
    CategoricalCrossEntropy,
    Cosine,
    Dense,
    MeanSquaredError,
    Network,
    WeightAverage,
)
from trainer.training.batches import TrainingRows
from trainer.training.loop import Callback, TrainingDivergedError, TrainingRun
from trainer.training.update import UpdateRule


def train(*parts, **options):
    return TrainingRun(*parts, **options).run()


def make_rows(rng, n=50):
    x = rng.normal(size=(n, 3)).astype(np.float32)
    return TrainingRows(x, (x[:, 0] > 0).astype(np.int64))


def train_classifier(seed=0, **options):
    """Return the network and the history of a run."""
    rows = make_rows(np.random.default_rng(1))
    network = Network(3, [Dense(8, "relu"), Dense(2)], rng=np.random.default_rng(2))
    history = train(
        network,
        CategoricalCrossEntropy(),
        UpdateRule(Adam(0.01)),
        rows,
        rng=np.random.default_rng(seed),
        **{"epochs": 5, "batch_size": 16, **options},
    )
    return network, history


class RecordingLoss(MeanSquaredError):
    """A loss that records the targets of each batch."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def value_and_gradient(self, logits, targets, out, weights=None):
        self.batches.append(targets[:, 0].astype(int).tolist())
        return super().value_and_gradient(logits, targets, out, weights)


def record_batches(n=10, batch_size=4, epochs=3):
    """Return the row indices of each batch of each epoch."""
    loss = RecordingLoss()
    network = Network(1, [Dense(1)], rng=np.random.default_rng(0))
    targets = np.arange(n, dtype=np.float32)[:, None]
    train(
        network,
        loss,
        UpdateRule(SGD(1e-6)),
        TrainingRows(np.zeros((n, 1), np.float32), targets),
        epochs=epochs,
        batch_size=batch_size,
        rng=np.random.default_rng(0),
    )
    per_epoch = -(-n // batch_size)
    return [loss.batches[i : i + per_epoch] for i in range(0, len(loss.batches), per_epoch)]


def test_training_run_epoch_uses_each_row_once():
    for epoch in record_batches():
        assert sorted(chain(*epoch)) == list(range(10))


def test_training_run_last_batch_has_remaining_rows():
    assert [len(batch) for batch in record_batches()[0]] == [4, 4, 2]


def test_training_run_epochs_have_different_batches():
    first, second, third = (set(map(frozenset, epoch)) for epoch in record_batches())
    assert first != second != third


def test_training_run_several_epochs_lowers_loss():
    _, history = train_classifier(epochs=30)
    assert history[-1].train_loss < history[0].train_loss / 2
    assert [epoch.number for epoch in history] == list(range(1, 31))


def test_training_run_same_seed_ends_with_same_weights():
    one, same, other = (train_classifier(seed=seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.parameters, same.parameters)
    assert (one.parameters != other.parameters).any()


def test_training_run_train_loss_is_mean_over_rows():
    rows = make_rows(np.random.default_rng(1), n=10)
    network = Network(3, [Dense(2)], rng=np.random.default_rng(0))
    expected = CategoricalCrossEntropy().value(network.logits(rows.features), rows.targets)
    (epoch,) = train(
        network,
        CategoricalCrossEntropy(),
        UpdateRule(SGD(1e-12)),
        rows,
        epochs=1,
        batch_size=4,
        rng=np.random.default_rng(0),
    )
    assert epoch.train_loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("is_measured", [True, False])
def test_training_run_measure_error_adds_the_brier_score_of_each_epoch(is_measured):
    validation, probabilities = make_rows(np.random.default_rng(9)), []

    class Predict(Callback):
        def on_epoch(self, run):
            probabilities.append(softmax(run.network.logits(validation.features), axis=1))

    options = {"validation": validation, "callbacks": [Predict()], "measure_error": is_measured}
    _, history = train_classifier(**options)
    if not is_measured:
        assert [epoch.metrics for epoch in history] == [{}] * 5
        return
    expected = [
        brier_score_loss(validation.targets, p, labels=[0, 1], scale_by_half=False)
        for p in probabilities
    ]
    assert [e.metrics["validation_squared_error"] for e in history] == pytest.approx(expected)


def test_training_run_measure_error_is_that_of_the_averaged_weights():
    validation = make_rows(np.random.default_rng(9))
    rows, network = (
        make_rows(np.random.default_rng(1)),
        Network(3, [Dense(2)], rng=np.random.default_rng(2)),
    )
    update = UpdateRule(SGD(0.5), average=WeightAverage(0.9))
    history = train(
        network,
        CategoricalCrossEntropy(),
        update,
        rows,
        rng=np.random.default_rng(0),
        epochs=1,
        batch_size=4,
        validation=validation,
        measure_error=True,
    )
    # The network has the averaged weights after the run.
    p = softmax(network.logits(validation.features), axis=1)
    expected = brier_score_loss(validation.targets, p, labels=[0, 1], scale_by_half=False)
    assert history[0].metrics["validation_squared_error"] == pytest.approx(expected)


def test_training_run_measure_error_without_validation_rows_measures_nothing():
    _, history = train_classifier(measure_error=True)
    assert [epoch.metrics for epoch in history] == [{}] * 5


def test_training_run_validation_rows_are_measured_but_not_trained_on():
    validation = make_rows(np.random.default_rng(9))
    network, history = train_classifier(validation=validation)
    expected_network, history_without = train_classifier()
    np.testing.assert_array_equal(network.parameters, expected_network.parameters)
    expected = CategoricalCrossEntropy().value(
        network.logits(validation.features), validation.targets
    )
    assert history[-1].validation_loss == expected
    assert history_without[-1].validation_loss is None


def test_training_run_infinite_loss_raises_training_diverged_error(rng):
    rows = TrainingRows(rng.normal(size=(40, 2)).astype(np.float32), rng.normal(size=(40, 1)))
    network = Network(2, [Dense(8, "relu"), Dense(1)], rng=rng)
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(TrainingDivergedError, match=r"finite training loss.*SGD\(1e\+20\).*lower"),
    ):
        train(
            network,
            MeanSquaredError(),
            UpdateRule(SGD(1e20)),
            rows,
            epochs=20,
            batch_size=8,
            rng=rng,
        )


def test_training_run_callback_raises_other_callbacks_still_get_end():
    calls = []

    class Recorder(Callback):
        def on_start(self, run):
            calls.append("start")

        def on_epoch(self, run):
            calls.append(run.history[-1].number)
            if run.history[-1].number == 3:
                raise KeyboardInterrupt

        def on_end(self, run):
            calls.append("end")

    with pytest.raises(KeyboardInterrupt):
        train_classifier(callbacks=[Recorder()])
    assert calls == ["start", 1, 2, 3, "end"]


def test_training_run_callback_sets_stop_ends_after_epoch():
    class Stop(Callback):
        def on_epoch(self, run):
            run.stop = run.history[-1].number == 2

    assert len(train_classifier(callbacks=[Stop()])[1]) == 2


def test_training_run_callable_is_called_in_each_epoch():
    rows, calls = make_rows(np.random.default_rng(1)), []

    def stream():
        calls.append(True)
        for start in range(0, 50, 10):
            yield rows.features[start : start + 10], rows.targets[start : start + 10], None

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
    assert len(calls) == 20
    assert run.steps == 100
    assert history[-1].train_loss < history[0].train_loss / 2


def test_training_run_stream_without_batches_or_length_raises_value_error():
    network = Network(3, [Dense(2)], rng=np.random.default_rng(2))
    options = dict(epochs=1, batch_size=1, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="got a stream without any"):
        TrainingRun(network, CategoricalCrossEntropy(), UpdateRule(SGD(1)), list, **options).run()
    update = UpdateRule(SGD(1), schedule=Cosine())
    with pytest.raises(ValueError, match="expected steps_per_epoch, since Cosine"):
        TrainingRun(network, CategoricalCrossEntropy(), update, list, **options)


def test_training_run_stream_yields_nan_raises_value_error():
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


def test_training_run_nan_weight_raises_training_diverged_error():
    class SetNan(Callback):
        def on_step(self, run):
            run.network.parameters[0] = np.nan if run.steps == 4 else 0

    with pytest.raises(
        TrainingDivergedError, match="expected a finite W of layer 1, Dense.*got nan.*after 4 steps"
    ):
        train_classifier(callbacks=[SetNan()])


def test_training_run_loss_does_not_fit_last_activation_raises_value_error(rng):
    rows = TrainingRows(rng.normal(size=(40, 2)), (rng.random((40, 1)) > 0.5).astype(float))
    network = Network(2, [Dense(4, "tanh"), Dense(1, "sigmoid")], rng=rng, dtype=np.float64)
    with pytest.raises(ValueError, match="for classes use binary_cross_entropy and leave the last"):
        train(
            network, MeanSquaredError(), UpdateRule(SGD(1)), rows, epochs=1, batch_size=8, rng=rng
        )


def test_training_run_epochs_or_batch_size_of_zero_raises_value_error():
    for option in ("epochs", "batch_size"):
        with pytest.raises(ValueError, match=f"expected {option} of at least 1; got 0"):
            train_classifier(**{option: 0})
