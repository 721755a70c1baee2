"""Schedules: a factor by which the learning rate changes, step by step or epoch by epoch.

A schedule returns a factor of the optimizer's learning rate. All of them depend on the progress of
training alone, except `ReduceOnPlateau`, which depends on the loss.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod


class Schedule(ABC):
    """Base class of schedules: a factor of the learning rate that changes during training.

    Attributes:
        name: Name of the schedule in options.
    """

    name: str

    @abstractmethod
    def factor(self, step: int, steps: int) -> float:
        """Return the factor of one step.

        Args:
            step: Number of the step, from 0.
            steps: Number of steps of the whole run, at least 1.
        """

    def reset(self) -> None:
        """Discard the state of an earlier run."""
        return

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Constant(Schedule):
    """The factor 1 at every step."""

    name = "constant"

    def factor(self, step: int, steps: int) -> float:
        return 1.0


class Step(Schedule):
    """A piecewise constant factor, multiplied by `gamma` after each of `parts` equal parts.

    Args:
        parts: Number of constant parts of the run, at least 1 [default: 3].
        gamma: Ratio of each level to the one before, in (0, 1] [default: 0.1].
    """

    name = "step"

    def __init__(self, parts: int = 3, gamma: float = 0.1) -> None:
        if parts < 1:
            raise ValueError(f"expected at least 1 part; got {parts}")
        self.parts, self.gamma = parts, _check_fraction("gamma", gamma)

    def factor(self, step: int, steps: int) -> float:
        return self.gamma ** min(step * self.parts // steps, self.parts - 1)

    def __repr__(self) -> str:
        return f"Step({self.parts}, {self.gamma})"


class InverseScaling(Schedule):
    """The factor 1 / t^power, with the number t of the step, from 1.

    Robbins and Monro 1951, https://doi.org/10.1214/aoms/1177729586, for powers in (1/2, 1].

    Args:
        power: Exponent, above 0 [default: 0.5].
    """

    name = "inverse"

    def __init__(self, power: float = 0.5) -> None:
        if not power > 0:
            raise ValueError(f"expected a power above 0; got {power}")
        self.power = power

    def factor(self, step: int, steps: int) -> float:
        return float((step + 1) ** -self.power)

    def __repr__(self) -> str:
        return f"InverseScaling({self.power})"


class Exponential(Schedule):
    """Exponential decay from 1 to `final`.

    Args:
        final: Factor of the last step, in (0, 1] [default: 0.01].
    """

    name = "exponential"

    def __init__(self, final: float = 0.01) -> None:
        self.final = _check_fraction("final", final)

    def factor(self, step: int, steps: int) -> float:
        return float(self.final ** (step / max(steps - 1, 1)))

    def __repr__(self) -> str:
        return f"Exponential({self.final})"


class Cosine(Schedule):
    """Linear warm-up from 0, then cosine decay to `final`.

    Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, equation 5, one period; warm-up as
    Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.2.

    Args:
        warmup: Share of the run that is warm-up, in [0, 1) [default: 0.05].
        final: Factor of the last step, in [0, 1] [default: 0].
    """

    name = "cosine"

    def __init__(self, warmup: float = 0.05, final: float = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"expected a warm-up in [0, 1); got {warmup}")
        if not 0 <= final <= 1:
            raise ValueError(f"expected a final factor in [0, 1]; got {final}")
        self.warmup, self.final = warmup, final

    def factor(self, step: int, steps: int) -> float:
        rise = self.warmup * steps
        if step < rise:
            return (step + 1) / (rise + 1)
        fall = (step - rise) / max(steps - 1 - rise, 1)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(fall, 1))) / 2

    def __repr__(self) -> str:
        return f"Cosine({self.warmup}, {self.final})"


class FlatCosine(Schedule):
    """The factor 1, and from the middle of the run on half a cosine wave from 1 to 0.

    Holzmüller et al. 2024, https://arxiv.org/abs/2407.04491, appendix A.1, for dropout and weight
    decay.
    """

    name = "flat_cosine"

    def factor(self, step: int, steps: int) -> float:
        t = step / steps
        return 1.0 if t < 0.5 else (1 + math.cos(math.pi * (2 * t - 1))) / 2


class OneCycle(Schedule):
    """A rise from 1/`start` to 1 and a fall to 1/(`start` · `end`), each half a cosine wave.

    Smith and Topin 2019, https://arxiv.org/abs/1708.07120; cosine waves as in PyTorch.

    Args:
        rise: Share of the run in which the factor rises, in (0, 1) [default: 0.3].
        start: Ratio of the largest factor to the first one, at least 1 [default: 25].
        end: Ratio of the first factor to the last one, at least 1 [default: 10,000].
    """

    name = "one_cycle"

    def __init__(self, rise: float = 0.3, start: float = 25.0, end: float = 1e4) -> None:
        if not 0 < rise < 1:
            raise ValueError(f"expected a share of the run in (0, 1) to rise in; got {rise}")
        if start < 1 or end < 1:
            raise ValueError(f"expected ratios of at least 1; got start {start} and end {end}")
        self.rise, self.start, self.end = rise, start, end

    def factor(self, step: int, steps: int) -> float:
        peak = self.rise * steps - 1
        last = max(steps - 1, 1)
        if step <= peak:
            return _interpolate_cosine(1 / self.start, 1, step / peak if peak > 0 else 1)
        return _interpolate_cosine(
            1, 1 / (self.start * self.end), (step - peak) / max(last - peak, 1e-9)
        )

    def __repr__(self) -> str:
        return f"OneCycle({self.rise}, {self.start}, {self.end})"


class ReduceOnPlateau(Schedule):
    """A factor that is multiplied by `gamma` after `patience` epochs without a better loss.

    Args:
        patience: Number of epochs without improvement, at least 1 [default: 5].
        gamma: Ratio of each level to the one before, in (0, 1) [default: 0.5].
        threshold: Relative decrease of the loss that counts as better, at least 0 [default: 1e-4].

    Attributes:
        level: The current factor.
        best: The lowest loss so far; infinite before the first epoch.
        n_bad_epochs: Number of epochs since the loss was last better.
    """

    name = "plateau"

    def __init__(self, patience: int = 5, gamma: float = 0.5, threshold: float = 1e-4) -> None:
        if patience < 1:
            raise ValueError(f"expected a patience of at least 1 epoch; got {patience}")
        self.patience, self.gamma = patience, _check_fraction("gamma", gamma)
        self.threshold = threshold
        self.reset()

    def reset(self) -> None:
        """Discard the losses of an earlier run and start from the factor 1."""
        self.level, self.best, self.n_bad_epochs = 1.0, math.inf, 0

    def factor(self, step: int, steps: int) -> float:
        return self.level

    def observe(self, loss: float) -> None:
        """Update the factor by the loss of an epoch: of the validation rows, if there are any."""
        if math.isinf(self.best) or loss < self.best - self.threshold * abs(self.best):
            self.best, self.n_bad_epochs = loss, 0
            return
        self.n_bad_epochs += 1
        if self.n_bad_epochs >= self.patience:
            self.level, self.n_bad_epochs = self.level * self.gamma, 0

    def __repr__(self) -> str:
        return f"ReduceOnPlateau({self.patience}, {self.gamma})"


SCHEDULES: dict[str, type[Schedule]] = {
    s.name: s
    for s in (
        Constant,
        Step,
        InverseScaling,
        Exponential,
        Cosine,
        FlatCosine,
        OneCycle,
        ReduceOnPlateau,
    )
}


def _interpolate_cosine(first: float, last: float, share: float) -> float:
    """Return the value at `share` of half a cosine wave from `first` to `last`."""
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def _check_fraction(name: str, value: float) -> float:
    """Return `value` if it is in (0, 1]; else raise ValueError."""
    if not 0 < value <= 1:
        raise ValueError(f"expected {name} in (0, 1]; got {value}")
    return value
