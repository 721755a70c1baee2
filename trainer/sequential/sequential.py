"""The class `Sequential`: a stack of layers that is compiled, fitted and evaluated."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from trainer import nn
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
from trainer.nn.initializers import find_by_name
from trainer.sequential.compile_metrics import Metric, select_metrics
from trainer.sequential.fit_data import (
    ClassWeight,
    Inputs,
    apply_class_weights,
    check_validation_data,
    convert_features,
    convert_targets,
    convert_weights,
    split_rows,
)
from trainer.sequential.history import History, HistoryRecorder
from trainer.training.array_file import read_arrays, write_arrays
from trainer.training.batches import TrainingRows
from trainer.training.loop import Callback, TrainingRun
from trainer.training.update import UpdateRule

Array = NDArray[Any]
DTYPES = ("float32", "float64")


class Sequential:
    """A network with the interface of Keras: `compile`, `fit`, `evaluate`, `predict`.

    Args:
        layers: Layers from `trainer.nn`. The outputs of the last one are logits, so it has no
            activation.
        seed: Seed of the initial weights, the order of the rows, and dropout [default: 0].
        dtype: Dtype of the weights and of all computations, float32 or float64
            [default: float32].

    Raises:
        ValueError: If the dtype is another one.

    Attributes:
        layers: The layers.
        network: The `trainer.nn.Network`; None until `build` or `fit` is called.
    """

    def __init__(
        self, layers: Sequence[Layer], *, seed: int = 0, dtype: DTypeLike = np.float32
    ) -> None:
        self.layers = list(layers)
        self.dtype = np.dtype(dtype)
        if self.dtype.name not in DTYPES:
            raise ValueError(f"expected a dtype out of {', '.join(DTYPES)}; got {self.dtype}")
        self._weights_rng, self._order_rng = np.random.default_rng(seed).spawn(2)
        self.network: nn.Network | None = None
        self._compiled: tuple[UpdateRule, Loss, dict[str, Metric]] | None = None

    def build(self, n_inputs: int) -> nn.Network:
        """Create the weights and return the network. `fit` does this by itself.

        Args:
            n_inputs: Number of features of a row.

        Raises:
            ValueError: If the network was built for another number of features.
        """
        if self.network is None:
            self.network = nn.Network(
                n_inputs, self.layers, rng=self._weights_rng, dtype=self.dtype
            )
        if self.network.n_inputs != n_inputs:
            raise ValueError(
                f"expected features of shape (n, {self.network.n_inputs}), which the network is "
                f"built for; got {n_inputs} features"
            )
        return self.network

    def compile(
        self,
        optimizer: str | Optimizer = "adam",
        loss: str | Loss = "categorical_cross_entropy",
        metrics: Sequence[str | Metric] | None = None,
        *,
        learning_rate: float | None = None,
        schedule: str | Schedule = "constant",
        **update_options: Any,
    ) -> None:
        """Set the optimizer, the loss and the metrics.

        The optimizer, the schedule and the weight average are copied without their state, so that
        several networks can be compiled with the same objects. A network that is compiled again
        keeps its weights.

        Args:
            optimizer: Optimizer from `trainer.nn`, or its name [default: "adam"].
            loss: Loss from `trainer.nn`, or its name [default: "categorical_cross_entropy"].
            metrics: Names (`accuracy`, `mse`, `mae`) or functions of targets and predictions, each
                with a different name [default: accuracy for cross-entropies, mae for other
                losses].
            learning_rate: Learning rate of an optimizer that is given by name; None for its
                default.
            schedule: Schedule of the learning rate from `trainer.nn`, or its name
                [default: "constant"].
            **update_options: Further arguments of `trainer.training.update.UpdateRule`: `penalty`,
                `clip_norm`, `clip_value`, `max_norm` and `average`.

        Raises:
            ValueError: If a name is unknown, the loss does not fit the last layer, a metric does
                not fit the loss, or an argument would have no effect.
        """
        if isinstance(optimizer, str):
            kind: Any = find_by_name("optimizer", OPTIMIZERS, optimizer)
            own: Optimizer = kind() if learning_rate is None else kind(learning_rate)
        elif learning_rate is not None:
            raise ValueError(
                f"expected learning_rate with the name of an optimizer; got {learning_rate} with "
                f"{optimizer!r}; give it the rate itself"
            )
        else:
            own = _copy_without_state(optimizer)
        if isinstance(loss, str):
            loss = find_by_name("loss", LOSSES, loss)()
        if not isinstance(loss, Loss):
            raise ValueError(f"expected a loss of trainer.nn, or its name; got {loss!r}")
        if isinstance(schedule, str):
            schedule = find_by_name("schedule", SCHEDULES, schedule)()
        activation = self.layers[-1].output_activation
        if activation is not None:
            nn.check_pairing(loss, activation.name)
        functions = select_metrics(metrics, loss)
        if "average" in update_options:
            update_options["average"] = _copy_without_state(update_options["average"])
        update = UpdateRule(own, schedule=_copy_without_state(schedule), **update_options)
        self._compiled = update, loss, functions

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
        class_weight: ClassWeight | None = None,
        callbacks: Sequence[Callback] = (),
        shuffle: bool = True,
    ) -> History:
        """Train the network. A further call continues from the current weights.

        Args:
            x: Features, `(n, n_inputs)`, or a tuple of one such array for each branch if the first
                layer is `Branches`.
            y: Class indices, `(n,)`, or numbers, `(n,)` or `(n, k)`.
            batch_size: Number of rows per step [default: 32].
            epochs: Number of passes over the rows [default: 1].
            validation_split: Share of the rows, taken from the end, on which the network is
                validated and not trained, in [0, 1) [default: 0].
            validation_data: Validation rows, (x, y) or (x, y, sample_weight); None for none.
            sample_weight: Weight of each row, `(n,)`, at least 0, for the training loss and
                `val_loss`. Metrics give all rows the same weight.
            class_weight: Weight of each class by its index, or `balanced` for weights inversely
                proportional to the frequency of the classes in the training rows. As in Keras, it
                applies to training and not to `val_loss`. The predicted probabilities are those of
                classes weighted like that.
            callbacks: Callbacks from `trainer.training`.
            shuffle: Whether each epoch has a new order of rows [default: True].

        Returns:
            Loss and metrics of each epoch.

        Raises:
            RuntimeError: If the network is not compiled.
            ValueError: If an argument is invalid.
            TrainingDivergedError: If the loss or a weight became infinite or NaN.
        """
        update, loss, metrics = self._require_compiled()
        features = convert_features(x, self.dtype)
        network = self.build(features.shape[1])
        training = TrainingRows(
            features,
            convert_targets(y, loss, self.dtype),
            convert_weights(sample_weight, self.dtype),
        )
        training.check(loss, network.n_inputs, network.n_outputs, network.dtype)
        if not 0 <= validation_split < 1:
            raise ValueError(f"expected a validation_split in [0, 1); got {validation_split}")
        validation = None
        if validation_data is not None:
            if validation_split:
                raise ValueError(
                    f"expected validation_split or validation_data; got both, a split of "
                    f"{validation_split}; leave one out"
                )
            check_validation_data(validation_data)
            validation = self._make_rows(loss, *validation_data)
        elif validation_split:
            training, validation = split_rows(training, validation_split)
        if class_weight is not None:
            training = apply_class_weights(training, class_weight, loss, network.n_outputs)
        recorder = HistoryRecorder(metrics)
        run = TrainingRun(
            network,
            loss,
            update,
            training,
            epochs=epochs,
            batch_size=batch_size,
            rng=self._order_rng,
            validation=validation,
            callbacks=[recorder, *callbacks],
            shuffle=shuffle,
        )
        run.run()
        return recorder.history

    def evaluate(
        self, x: Inputs, y: ArrayLike, *, sample_weight: ArrayLike | None = None
    ) -> dict[str, float]:
        """Return the loss and the metrics by name.

        Args:
            x: Features, as for `fit`.
            y: Targets, as for `fit`.
            sample_weight: Weight of each row in the loss, `(n,)`, at least 0. Metrics give all
                rows the same weight.

        Raises:
            RuntimeError: If the network is not compiled.
            ValueError: If an argument is invalid.
        """
        _, loss, metrics = self._require_compiled()
        features, targets = convert_features(x, self.dtype), convert_targets(y, loss, self.dtype)
        weights = convert_weights(sample_weight, self.dtype)
        network = self.build(features.shape[1])
        TrainingRows(features, targets, weights).check(
            loss, network.n_inputs, network.n_outputs, network.dtype
        )
        logits = network.logits(features)
        predictions = loss.answers(logits)
        values = {name: metric(targets, predictions) for name, metric in metrics.items()}
        return {"loss": loss.value(logits, targets, weights), **values}

    def predict(self, x: Inputs) -> Array:
        """Return the predictions, `(n, k)`, of the network's dtype.

        They are probabilities if the loss is a cross-entropy, and values otherwise.

        Args:
            x: Features, as for `fit`.

        Raises:
            RuntimeError: If the network is not compiled.
            ValueError: If the features are invalid.
        """
        _, loss, _ = self._require_compiled()
        features = convert_features(x, self.dtype)
        return loss.answers(self.build(features.shape[1]).logits(features))

    def save_weights(self, path: Path | str) -> None:
        """Write the weights to an .npz file, atomically.

        Args:
            path: Path of the file, whose folder must exist.

        Raises:
            OSError: If the file cannot be written.
            RuntimeError: If the network is not built.
        """
        write_arrays(Path(path), self._require_network().snapshot())

    def load_weights(self, path: Path | str, n_inputs: int | None = None) -> None:
        """Load the weights that `save_weights` or a `ModelCheckpoint` has written.

        Args:
            path: Path of the .npz file.
            n_inputs: Number of features of a row, needed if the network is not built.

        Raises:
            DamagedFileError: If the file is damaged.
            RuntimeError: If the network is not built and `n_inputs` is None.
            ValueError: If the weights are those of a different network.
        """
        if n_inputs is not None:
            self.build(n_inputs)
        self._require_network().restore(read_arrays(Path(path)))

    def summary(self) -> str:
        """Return a table of the layers with their shapes and numbers of parameters.

        Raises:
            RuntimeError: If the network is not built.
        """
        return self._require_network().summary()

    def __repr__(self) -> str:
        return f"Sequential({self.layers!r})"

    def _require_network(self) -> nn.Network:
        if self.network is None:
            raise RuntimeError(
                "expected a network that is built; call build(n_inputs) or fit first"
            )
        return self.network

    def _require_compiled(self) -> tuple[UpdateRule, Loss, dict[str, Metric]]:
        if self._compiled is None:
            raise RuntimeError("expected a network that is compiled; call compile(…) first")
        return self._compiled

    def _make_rows(
        self, loss: Loss, x: Inputs, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> TrainingRows:
        return TrainingRows(
            convert_features(x, self.dtype),
            convert_targets(y, loss, self.dtype),
            convert_weights(sample_weight, self.dtype),
        )


def _copy_without_state(part: Any) -> Any:
    """Return a copy of an optimizer, a schedule or an average, as it was before its first step."""
    if not isinstance(part, Optimizer | Schedule | WeightAverage):
        return part  # UpdateRule raises the error
    own = copy.deepcopy(part)
    own.reset()
    return own
