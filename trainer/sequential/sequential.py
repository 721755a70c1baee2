"""The familiar face: stack layers, compile, fit, evaluate, predict.

>>> import numpy as np
>>> from trainer.nn import Dense
>>> from trainer import Sequential
>>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
>>> y = np.array([0, 1, 1, 0])
>>> network = Sequential([Dense(8, "tanh"), Dense(1)], seed=0)
>>> network.compile(optimizer="adam", learning_rate=0.05, loss="binary_cross_entropy")
>>> history = network.fit(x, y, epochs=300, batch_size=4)
>>> network.evaluate(x, y)["accuracy"]
1.0
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from trainer import nn
from trainer.data.precision_loss import warn_of_precision_losses
from trainer.nn import (
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    Layer,
    Loss,
    Optimizer,
    Schedule,
    WeightAverage,
)
from trainer.nn.lookup import lookup
from trainer.training.array_file import read_arrays, write_arrays
from trainer.training.batches import TrainingRows
from trainer.training.loop import Callback, TrainingRun
from trainer.training.update import UpdateRule

Array = NDArray[Any]
Inputs = ArrayLike | tuple[ArrayLike, ...]  # one array, or one for each branch
Metric = Callable[[Array, Array], float]


def accuracy(truth: Array, answers: Array) -> float:
    """Share of right classes; of several labels at once, of right labels.

    Args:
        truth: class indices `(n,)`, or 0 and 1 `(n, k)`.
        answers: probabilities `(n, k)`.
    """
    if truth.ndim == 1:
        return float(np.mean(answers.argmax(axis=1) == truth))
    return float(np.mean((answers >= 0.5) == (truth >= 0.5)))


def mse(truth: Array, answers: Array) -> float:
    """Mean squared error."""
    return float(np.mean((answers - truth) ** 2))


def mae(truth: Array, answers: Array) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(answers - truth)))


REMEDY = "subtract an offset from them first, or make the network with dtype=float64"
METRICS: dict[str, Metric] = {f.__name__: f for f in (accuracy, mse, mae)}
# By the link of a loss, the metrics of ours that its targets and answers have no use for.
MEANINGLESS = {"softmax": (mse, mae), "identity": (accuracy,), "exp": (accuracy,)}
FLOATS = ("float32", "float64")


@dataclass
class History:
    """What each epoch led to.

    Attributes:
        epochs: their numbers, from 1.
        curves: of each epoch, `loss` and, with validation rows, `val_loss` and the metrics on
            them, `val_accuracy` for one.
    """

    epochs: list[int] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)


class Sequential:
    """Layers in order, trained together.

    Args:
        layers: of `trainer.nn`; the last one's outputs are logits, so it has no activation.
        seed: of the weights, the order of rows, and dropout.
        dtype: float32 or float64.

    Attributes:
        core: the `trainer.nn.Network`, once the number of inputs is known.
    """

    def __init__(
        self, layers: Sequence[Layer], *, seed: int = 0, dtype: DTypeLike = np.float32
    ) -> None:
        self.layers = list(layers)
        self.dtype = np.dtype(dtype)
        if self.dtype.name not in FLOATS:
            raise ValueError(f"expected a dtype out of {', '.join(FLOATS)}; got {self.dtype}")
        self._weights, self._order = np.random.default_rng(seed).spawn(2)
        self.core: nn.Network | None = None
        self._compiled: tuple[UpdateRule, Loss, dict[str, Metric]] | None = None

    def build(self, n_inputs: int) -> nn.Network:
        """Make the weights for rows of so many features; `fit` does it by itself.

        Raises:
            ValueError: it is built for another number of features.
        """
        if self.core is None:
            self.core = nn.Network(n_inputs, self.layers, rng=self._weights, dtype=self.dtype)
        if self.core.n_inputs != n_inputs:
            raise ValueError(
                f"expected features of shape (n, {self.core.n_inputs}), which the network is built "
                f"for; got {n_inputs} features"
            )
        return self.core

    def compile(
        self,
        optimizer: str | Optimizer = "adam",
        loss: str | Loss = "categorical_cross_entropy",
        metrics: Sequence[str | Metric] | None = None,
        *,
        learning_rate: float | None = None,
        schedule: str | Schedule = "constant",
        **update: Any,
    ) -> None:
        """Choose how it learns; compiled again, it begins without what its optimizer remembered.

        Args:
            optimizer: a name or an optimizer of `trainer.nn`. Of it, of the schedule and of the
                average a fresh copy is taken, so that several networks may be given the same one.
            loss: likewise a loss.
            metrics: names (`accuracy`, `mse`, `mae`) or functions of targets and answers, each of
                another name; by default accuracy for cross-entropies and mae for values.
            learning_rate: of an optimizer given by its name.
            schedule: of the learning rate, a name or a schedule of `trainer.nn`.
            update: penalty, clip_norm, clip_value, max_norm, average, as of `Update`.

        Raises:
            ValueError: there is none of that name, the loss does not fit the last layer, a metric
                does not fit the loss, or a choice has no effect.
        """
        if isinstance(optimizer, str):
            kind: Any = lookup("optimizer", OPTIMIZERS, optimizer)
            steps: Optimizer = kind() if learning_rate is None else kind(learning_rate)
        elif learning_rate is not None:
            raise ValueError(
                f"expected learning_rate with the name of an optimizer; got {learning_rate} with "
                f"{optimizer!r}; give it the rate itself"
            )
        else:
            steps = _fresh(optimizer)
        if isinstance(loss, str):
            loss = lookup("loss", LOSSES, loss)()
        if not isinstance(loss, Loss):
            raise ValueError(f"expected a loss of trainer.nn, or its name; got {loss!r}")
        if isinstance(schedule, str):
            schedule = lookup("schedule", SCHEDULES, schedule)()
        activation = getattr(self.layers[-1], "activation", None)
        if activation is not None:
            nn.check_pairing(loss, activation.name)
        if metrics is None:
            metrics = ["accuracy"] if loss.link in ("sigmoid", "softmax") else ["mae"]
        functions = _by_name(metrics, loss)
        if "average" in update:
            update["average"] = _fresh(update["average"])
        self._compiled = UpdateRule(steps, schedule=_fresh(schedule), **update), loss, functions

    def fit(
        self,
        x: Inputs,
        y: ArrayLike,
        *,
        batch_size: int = 32,
        epochs: int = 1,
        validation_split: float = 0.0,
        validation_data: Sequence[Any] | None = None,
        sample_weight: ArrayLike | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        callbacks: Sequence[Callback] = (),
        shuffle: bool = True,
    ) -> History:
        """Train; called again, it goes on from where it stands.

        Args:
            x: `(n, n_inputs)`, or one such array for each branch of a first layer `Branches`.
            y: class indices `(n,)`, or numbers `(n,)` or `(n, k)`.
            batch_size: rows per step.
            epochs: passes over the rows.
            validation_split: the share of rows, the last of them, that is only measured, each by
                its `sample_weight`.
            validation_data: rows to measure instead: (x, y), or (x, y, sample_weight).
            sample_weight: of the rows, `(n,)`, at least 0, in training and in `val_loss`; metrics
                count every row alike.
            class_weight: of each class, or `balanced`, by how often the rows to learn from are of
                it. In training alone, as in Keras: `val_loss` is of the rows as they are.
                Probabilities are then those of classes so weighted.
            callbacks: of `trainer.training`.
            shuffle: a new order of rows each epoch.

        Raises:
            RuntimeError: it is not compiled.
            ValueError: naming what cannot be trained on.
            TrainingDivergedError: the loss or a weight became infinite or NaN.
        """
        update, loss, metrics = self._require_compiled()
        features = self._features(x)
        core = self.build(features.shape[1])
        rows = TrainingRows(features, self._targets(y, loss), self._row_weights(sample_weight))
        rows.check(loss, core.n_inputs, core.n_outputs, core.dtype)
        if not 0 <= validation_split < 1:
            raise ValueError(f"expected a validation_split in [0, 1); got {validation_split}")
        learned, validation = rows, None
        if validation_data is not None:
            if validation_split:
                raise ValueError(
                    f"expected validation_split or validation_data; got both, a split of "
                    f"{validation_split}; leave one out"
                )
            validation = self._validation(validation_data, loss)
        elif validation_split:
            last = len(rows) - int(len(rows) * validation_split)
            if not 0 < last < len(rows):
                raise ValueError(
                    f"expected a validation_split that leaves rows to learn from and to measure; "
                    f"got {validation_split} of {len(rows)}"
                )
            learned, validation = rows[:last], rows[last:]
            _refuse_new_classes(learned.targets, validation.targets)
        if class_weight is not None:
            own = _class_weights(class_weight, learned.targets, loss, core.n_outputs)
            own = own.astype(self.dtype)
            weights = own if learned.weights is None else own * learned.weights
            learned = TrainingRows(learned.features, learned.targets, weights)
        watch = _Watch(metrics)
        run = TrainingRun(
            core,
            loss,
            update,
            learned,
            epochs=epochs,
            batch_size=batch_size,
            rng=self._order,
            validation=validation,
            callbacks=[watch, *callbacks],
            shuffle=shuffle,
        )
        run.run()
        return watch.history

    def evaluate(
        self, x: Inputs, y: ArrayLike, *, sample_weight: ArrayLike | None = None
    ) -> dict[str, float]:
        """The loss and the metrics on these rows; the metrics count every row alike."""
        _, loss, metrics = self._require_compiled()
        features, targets = self._features(x), self._targets(y, loss)
        weights = self._row_weights(sample_weight)
        core = self.build(features.shape[1])
        TrainingRows(features, targets, weights).check(
            loss, core.n_inputs, core.n_outputs, core.dtype
        )
        logits = core.logits(features)
        answers = loss.answers(logits)
        found = {name: metric(targets, answers) for name, metric in metrics.items()}
        return {"loss": loss.value(logits, targets, weights), **found}

    def predict(self, x: Inputs) -> Array:
        """The answers, `(n, k)`: probabilities after a cross-entropy, else values."""
        _, loss, _ = self._require_compiled()
        features = self._features(x)
        return loss.answers(self.build(features.shape[1]).logits(features))

    def save_weights(self, path: Path | str) -> None:
        """Write what it has learned to an .npz file, whole or not at all.

        Raises:
            RuntimeError: there are no weights yet.
        """
        write_arrays(Path(path), self._require_built().snapshot())

    def load_weights(self, path: Path | str, n_inputs: int | None = None) -> None:
        """Take back what `save_weights` or a `ModelCheckpoint` wrote.

        Args:
            path: the .npz file.
            n_inputs: features of a row, if it is not built yet.

        Raises:
            DamagedFileError: the file is not whole.
            RuntimeError: the number of inputs is not known.
            ValueError: the file is of another network.
        """
        if n_inputs is not None:
            self.build(n_inputs)
        self._require_built().restore(read_arrays(Path(path)))

    def summary(self) -> str:
        """A table of the layers with their shapes and parameter counts.

        Raises:
            RuntimeError: the number of inputs is not known yet.
        """
        return self._require_built().summary()

    def __repr__(self) -> str:
        return f"Sequential({self.layers!r})"

    def _require_built(self) -> nn.Network:
        if self.core is None:
            raise RuntimeError(
                "expected a network that is built; call build(n_inputs) or fit first"
            )
        return self.core

    def _require_compiled(self) -> tuple[UpdateRule, Loss, dict[str, Metric]]:
        if self._compiled is None:
            raise RuntimeError("expected a network that is compiled; call compile(…) first")
        return self._compiled

    def _features(self, x: Inputs) -> Array:
        parts = [np.asarray(part) for part in (x if isinstance(x, tuple) else (x,))]
        for part in parts:
            if part.ndim != 2 or part.dtype.kind not in "fiub":
                raise ValueError(
                    f"expected numbers of shape (n, n_inputs); got {part.dtype} of {part.shape}"
                )
        if len({len(part) for part in parts}) > 1:
            raise ValueError(f"expected as many rows in each input; got {[len(p) for p in parts]}")
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        if self.dtype == np.float32:
            names = [f"x{place}" for place in range(whole.shape[1])]
            warn_of_precision_losses(names, whole, REMEDY, stacklevel=3)
        return np.ascontiguousarray(whole, self.dtype)

    def _targets(self, y: ArrayLike, loss: Loss) -> Array:
        targets = np.asarray(y)
        if loss.link == "softmax":
            return targets
        if targets.dtype.kind not in "fiub":
            raise ValueError(f"expected numbers as targets of {loss.name}; got {targets.dtype}")
        if not targets.size:
            raise ValueError(f"expected rows; got targets of shape {targets.shape}")
        return targets.reshape(len(targets), -1).astype(self.dtype)

    def _row_weights(self, sample: ArrayLike | None) -> Array | None:
        return None if sample is None else np.asarray(sample, self.dtype)

    def _validation(self, data: Sequence[Any], loss: Loss) -> TrainingRows:
        if not isinstance(data, tuple | list) or len(data) not in (2, 3):
            came = f"{len(data)} of them" if isinstance(data, tuple | list) else repr(data)[:80]
            raise ValueError(
                f"expected validation_data of (x, y) or (x, y, sample_weight); got {came}"
            )
        weights = self._row_weights(data[2]) if len(data) == 3 else None
        return TrainingRows(self._features(data[0]), self._targets(data[1], loss), weights)


def _class_weights(
    classes: Mapping[int, float] | str, targets: Array, loss: Loss, n_outputs: int
) -> Array:
    """The weight of each row's class, `(n,)`; balanced of several labels, the product of theirs."""
    from sklearn.utils.class_weight import compute_sample_weight  # noqa: PLC0415 - slow to import

    if loss.link not in ("sigmoid", "softmax"):
        raise ValueError(
            f"expected classes for class_weight; got values to regress on by {loss.name}; "
            f"leave it out, or give sample_weight"
        )
    truth = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
    if isinstance(classes, str):
        if classes != "balanced":
            raise ValueError(f"expected class_weight balanced, or by class; got {classes!r}")
        balanced: Array = compute_sample_weight(classes, truth)
        return balanced
    if not isinstance(classes, Mapping):
        raise ValueError(f"expected class_weight balanced, or by class; got {classes!r}")
    known = range(n_outputs) if loss.link == "softmax" else range(2)
    if truth.ndim == 2 or (strange := [c for c in classes if c not in known]):
        came = "several labels at once" if truth.ndim == 2 else f"{strange} too"
        raise ValueError(f"expected class_weight of the classes {[*known]}; got {came}")
    weights = np.ones(len(truth))
    for name, weight in classes.items():
        weights[truth == name] = weight
    return weights


def _fresh(part: Any) -> Any:
    """A copy of an optimizer, a schedule or an average, which has seen no step."""
    if not isinstance(part, Optimizer | Schedule | WeightAverage):
        return part  # for `Update` to refuse
    own = copy.deepcopy(part)
    own.reset()
    return own


def _by_name(metrics: Sequence[str | Metric], loss: Loss) -> dict[str, Metric]:
    functions: dict[str, Metric] = {}
    for metric in metrics:
        name = metric if isinstance(metric, str) else metric.__name__
        function = lookup("metric", METRICS, metric) if isinstance(metric, str) else metric
        if name in functions or name == "loss":
            raise ValueError(f"expected metrics of names of their own; got {name!r} twice")
        if function in MEANINGLESS.get(loss.link, ()):
            raise ValueError(f"expected metrics that fit the loss {loss.name}; got {name!r}")
        functions[name] = function
    return functions


def _refuse_new_classes(learned: Array, measured: Array) -> None:
    if learned.ndim == 1 and (missing := np.setdiff1d(measured, learned)).size:
        raise ValueError(
            f"expected every class among the rows to learn from; got {missing.tolist()} only among "
            f"the last ones, which validation_split measures; shuffle the rows first"
        )


class _Watch(Callback):
    """Keeps the history, with the metrics on the validation rows."""

    def __init__(self, metrics: dict[str, Metric]) -> None:
        self.metrics = metrics
        self.reset()

    def reset(self) -> None:
        self.history = History()

    def on_epoch(self, run: TrainingRun) -> None:
        epoch = run.history[-1]
        found = {"loss": epoch.train_loss}
        if run.validation is not None and epoch.validation_loss is not None:
            with run.as_ended():
                answers = run.loss.answers(run.network.logits(run.validation.features))
            found["val_loss"] = epoch.validation_loss
            for name, metric in self.metrics.items():
                value = metric(run.validation.targets, answers)
                found[f"val_{name}"] = epoch.metrics[f"validation_{name}"] = value
        self.history.epochs.append(epoch.number)
        for name, value in found.items():
            self.history.curves.setdefault(name, []).append(value)
