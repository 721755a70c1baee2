"""The update: everything that happens to a network between one batch and the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn import (
    Constant,
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
)


class UpdateRule:
    """Gradients, clipping, the optimizer's step, the bounds on the weights, their average.

    Args:
        optimizer: how a step is made of a gradient; its learning rate is the full one.
        schedule: its share of the full learning rate, step by step.
        penalty: on the weights, added to the loss.
        clip_norm: the longest a gradient may be; longer ones are shortened.
        clip_value: the largest an entry of the gradient may be; applied first.
        max_norm: bound on the weights into each unit.
        average: follows the parameters, and replaces them where the run ends.
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
        ):
            if value is not None and not isinstance(value, kind):
                raise ValueError(f"expected a trainer.nn.{kind.__name__}; got {value!r}")
        self.optimizer, self.schedule = optimizer, schedule or Constant()
        self.penalty, self.max_norm, self.average = penalty, max_norm, average
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.full_rate = optimizer.learning_rate
        self._constant = isinstance(self.schedule, Constant)

    def start(self, network: Network, *, goes_on: bool = False) -> None:
        """Begin a new run: at the full rate, and with nothing that was learned by another network.

        What the optimizer keeps of the same network's last run, it goes on with; so does the
        schedule if the run `goes_on` from the last one.
        """
        self.optimizer.start(network.parameters)
        self.optimizer.learning_rate = self.full_rate
        if not goes_on:
            self.schedule.reset()
        if self.average is not None:
            self.average.start(network.parameters)

    def finish(self) -> None:
        """End a run: the optimizer has its full rate again, whoever it is given to next."""
        self.optimizer.learning_rate = self.full_rate

    def step(
        self,
        network: Network,
        loss: Loss,
        features: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[Any] | None,
        *,
        number: int,
        of: int,
    ) -> float:
        """Learn from one batch; returns its loss before the step.

        Args:
            network: changed in place.
            loss: what is minimised.
            features: `(n, n_inputs)`.
            targets: one per row.
            weights: of the rows, or None.
            number: of the step in the whole run, from 0, for the schedule.
            of: number of steps of the whole run.
        """
        value = network.loss_and_gradients(features, targets, loss, weights, self.penalty)
        if self.clip_value is not None:
            clip_value(network.gradients, self.clip_value)
        if self.clip_norm is not None:
            clip_norm(network.gradients, self.clip_norm)
        if not self._constant:
            factor = self.schedule.factor(number, of)
            # A schedule may touch 0, an optimizer's rate may not.
            self.optimizer.learning_rate = max(self.full_rate * factor, 1e-30)
        self.optimizer.step(network.parameters, network.gradients)
        if self.max_norm is not None:
            self.max_norm.apply(network.weights())
        if self.average is not None:
            self.average.update(network.parameters)
        return value

    @property
    def averaged(self) -> NDArray[Any] | None:
        """The average of the parameters, once there is one."""
        return None if self.average is None else self.average.average

    def observe(self, loss: float) -> None:
        """Tell a schedule that follows the loss what an epoch led to."""
        if isinstance(self.schedule, ReduceOnPlateau):
            self.schedule.observe(loss)

    def state(self) -> dict[str, NDArray[Any]]:
        """All it remembers, by name, for a checkpoint."""
        found = {f"optimizer.{name}": array for name, array in self.optimizer.state().items()}
        if isinstance(self.schedule, ReduceOnPlateau):
            s = self.schedule
            found["schedule.plateau"] = np.array([s.level, s.best, s.n_bad_epochs])
        if self.average is not None and self.average.average is not None:
            found["average.steps"] = np.array(self.average.steps)
            found["average.value"] = self.average.average
        return found

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `state` gave."""
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
        parts = {
            "schedule": None if self._constant else self.schedule,
            "penalty": self.penalty,
            "clip_norm": self.clip_norm,
            "clip_value": self.clip_value,
            "max_norm": self.max_norm,
            "average": self.average,
        }
        rest = "".join(f", {k}={v!r}" for k, v in parts.items() if v is not None)
        return f"Update({self.optimizer!r}{rest})"
