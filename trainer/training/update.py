"""The update rule: how one batch changes the parameters of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn import (
    AdamW,
    Constant,
    Dropout,
    Loss,
    MaxNorm,
    Network,
    Optimizer,
    Penalty,
    ReduceOnPlateau,
    Schedule,
    WeightAverage,
    clip_norm,
    clip_value,
    compute_parameter_rates,
    kernels,
)

# A schedule's factor may be 0, but the learning rate of an optimizer must be above 0.
MIN_LEARNING_RATE = 1e-30


class UpdateRule:
    """What a batch changes: gradients, clipping, the optimizer's step, max-norm, averaging.

    Args:
        optimizer: Optimizer with the full learning rate.
        schedule: Schedule that gives the factor of the full learning rate at each step
            [default: constant].
        penalty: Penalty on the weights that is added to the loss; None for none.
        clip_norm: Largest Euclidean norm of the gradient, of each member for a network with
            members; a longer gradient is scaled down to it. None for no limit.
        clip_value: Largest magnitude of an entry of the gradient, applied before `clip_norm`. None
            for no limit.
        max_norm: Bound on the norm of the weights into each unit; None for none.
        average: Moving average of the parameters, which replaces them at the end of the run; None
            for none.
        regularization_schedule: Schedule that gives the factor of the dropout rates and of the
            weight decay at each step [default: constant].
        has_layer_rates: Whether each layer has a learning rate of its own, by its number of inputs;
            see `trainer.nn.compute_parameter_rates` [default: False].

    Raises:
        ValueError: If a limit is not above 0, an argument has the wrong type, or the optimizer has
            one rate for all parameters though layers are to have their own.

    Attributes:
        full_rate: Learning rate of the optimizer before the schedule scales it.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        schedule: Schedule | None = None,
        penalty: Penalty | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        max_norm: MaxNorm | None = None,
        average: WeightAverage | None = None,
        regularization_schedule: Schedule | None = None,
        has_layer_rates: bool = False,
    ) -> None:
        for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            if limit is not None and not limit > 0:
                raise ValueError(f"expected {name} above 0; got {limit}")
        for value, kind in (
            (optimizer, Optimizer),
            (schedule, Schedule),
            (penalty, Penalty),
            (max_norm, MaxNorm),
            (average, WeightAverage),
            (regularization_schedule, Schedule),
        ):
            if value is not None and not isinstance(value, kind):
                raise ValueError(f"expected a trainer.nn.{kind.__name__}; got {value!r}")
        self.optimizer, self.schedule = optimizer, schedule or Constant()
        self.penalty, self.max_norm, self.average = penalty, max_norm, average
        self.clip_norm, self.clip_value = clip_norm, clip_value
        if isinstance(regularization_schedule, ReduceOnPlateau):
            raise ValueError(
                f"expected a regularization_schedule that depends on the progress alone; got "
                f"{regularization_schedule!r}; choose flat_cosine"
            )
        self.regularization_schedule = regularization_schedule or Constant()
        self.has_layer_rates = has_layer_rates
        if has_layer_rates and not optimizer.has_parameter_rates:
            raise ValueError(
                f"expected adam or adamw for rates of single layers; got {optimizer!r}"
            )
        self.full_rate = optimizer.learning_rate
        self._has_constant_rate = isinstance(self.schedule, Constant)
        self._has_constant_regularization = isinstance(self.regularization_schedule, Constant)
        self._dropouts: list[Dropout] = []

    def start(self, network: Network, *, keep_schedule: bool = False) -> None:
        """Prepare for a run: set the full learning rate and drop the state of another network.

        If the last run trained the same network, the optimizer keeps its state, such as moments.

        Args:
            network: Network that the run trains.
            keep_schedule: Whether the schedule continues from the last run and does not start
                again [default: False].
        """
        self.optimizer.start(network.parameters)
        self.optimizer.learning_rate = self.full_rate
        if self.has_layer_rates:
            self.optimizer.set_parameter_rates(*compute_parameter_rates(network))
        self._dropouts = [
            part
            for layer in network.layers
            for part in layer.list_sublayers()
            if isinstance(part, Dropout)
        ]
        if not keep_schedule:
            self.schedule.reset()
        if self.average is not None:
            self.average.start(network.parameters)

    def choose_kernels(self, network: Network, n_steps: int) -> None:
        """Choose between compiled loops and NumPy for a run, until `finish`.

        Args:
            network: Network that the run trains.
            n_steps: Number of steps that the run has if it does not stop early; 0 if it is unknown.
        """
        # A network without kernels has only those of its update, which has a rule of its own.
        if not (network.has_kernels and n_steps):
            return
        is_compiled = kernels.are_worthwhile(network.n_parameters, n_steps)
        self._set_compiled(network, is_compiled, optimizer=is_compiled)

    def _set_compiled(self, network: Network, is_compiled: bool, *, optimizer: bool | None) -> None:
        network.set_compiled(is_compiled)
        self.optimizer.is_compiled = optimizer
        if self.average is not None:
            self.average.is_compiled = is_compiled

    def finish(self, network: Network) -> None:
        """End a run: set the full learning rate, dropout and weight decay, for the next use.

        Args:
            network: Network that the run has trained; it computes by NumPy from now on.
        """
        self.optimizer.learning_rate = self.full_rate
        self._scale_regularization(1.0)
        self._set_compiled(network, False, optimizer=None)

    def step(
        self,
        network: Network,
        loss: Loss,
        features: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[Any] | None,
        *,
        step_index: int,
        n_steps: int,
    ) -> float:
        """Update the network by one batch and return the loss of the batch before the update.

        Args:
            network: Network, changed in place.
            loss: Loss that is minimised.
            features: Features, `(n, n_inputs)`, of the network's dtype.
            targets: Targets as the loss requires them, `(n,)` or `(n, k)`.
            weights: Weight of each row, `(n,)`; None if all rows have weight 1.
            step_index: Index of the step in the run, from 0, for the schedule.
            n_steps: Number of steps of the run, for the schedule.
        """
        if not self._has_constant_regularization:
            self._scale_regularization(self.regularization_schedule.factor(step_index, n_steps))
        value = network.loss_and_gradients(features, targets, loss, weights, self.penalty)
        if self.clip_value is not None:
            clip_value(network.gradients, self.clip_value)
        if self.clip_norm is not None:
            for part in network.gradient_parts:
                clip_norm(part, self.clip_norm)
        if not self._has_constant_rate:
            factor = self.schedule.factor(step_index, n_steps)
            self.optimizer.learning_rate = max(self.full_rate * factor, MIN_LEARNING_RATE)
        self.optimizer.step(network.parameters, network.gradients)
        if self.max_norm is not None:
            self.max_norm.apply(network.weights())
        if self.average is not None:
            self.average.update(network.parameters)
        return value

    def _scale_regularization(self, factor: float) -> None:
        """Scale the dropout rates and the weight decay by a factor."""
        for dropout in self._dropouts:
            dropout.rate_scale = factor
        if isinstance(self.optimizer, AdamW):
            self.optimizer.decay_scale = factor

    @property
    def averaged_parameters(self) -> NDArray[Any] | None:
        """Moving average of the parameters, `(n_parameters,)`; None before the first, or if off."""
        return None if self.average is None else self.average.average

    def observe(self, loss: float) -> None:
        """Pass the loss of an epoch to a schedule that depends on it.

        Args:
            loss: Validation loss of the epoch, or its training loss without validation rows.
        """
        if isinstance(self.schedule, ReduceOnPlateau):
            self.schedule.observe(loss)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the state of optimizer, schedule and average for a checkpoint, by name."""
        state = {f"optimizer.{name}": array for name, array in self.optimizer.state().items()}
        if isinstance(self.schedule, ReduceOnPlateau):
            s = self.schedule
            state["schedule.plateau"] = np.array([s.level, s.best, s.n_bad_epochs])
        if self.average is not None and self.average.average is not None:
            state["average.steps"] = np.array(self.average.steps)
            state["average.value"] = self.average.average
        return state

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore the state that `state` returned."""
        self.optimizer.restore(
            {
                k.removeprefix("optimizer."): v
                for k, v in state.items()
                if k.startswith("optimizer.")
            }
        )
        if isinstance(self.schedule, ReduceOnPlateau):
            level, best, waited = state["schedule.plateau"].tolist()
            self.schedule.level, self.schedule.best = level, best
            self.schedule.n_bad_epochs = int(waited)
        if self.average is not None and "average.value" in state:
            self.average.steps = int(state["average.steps"])
            self.average.average = state["average.value"].copy()

    def __repr__(self) -> str:
        options = {
            "schedule": None if self._has_constant_rate else self.schedule,
            "penalty": self.penalty,
            "clip_norm": self.clip_norm,
            "clip_value": self.clip_value,
            "max_norm": self.max_norm,
            "average": self.average,
            "regularization_schedule": (
                None if self._has_constant_regularization else self.regularization_schedule
            ),
            "has_layer_rates": self.has_layer_rates or None,
        }
        text = "".join(f", {k}={v!r}" for k, v in options.items() if v is not None)
        return f"UpdateRule({self.optimizer!r}{text})"
