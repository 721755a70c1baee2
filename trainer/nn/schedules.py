"""Schedules: the learning rate as training goes on, in order of increasing complexity.

A schedule is a factor on the optimizer's own learning rate. All but the last are functions of the
progress alone; that one follows the loss.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod


class Schedule(ABC):
    """Says how large a step is, as a share of the full one."""

    name: str

    @abstractmethod
    def factor(self, step: int, steps: int) -> float:
        """The share at `step` of `steps`, counted from 0."""

    def reset(self) -> None:
        """Forget an earlier run."""
        return

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Constant(Schedule):
    """Always 1."""

    name = "constant"

    def factor(self, step: int, steps: int) -> float:
        return 1.0


class Step(Schedule):
    """Falls by `gamma` after each of `parts` equal parts of the run.

    Args:
        parts: number of levels, at least 1.
        gamma: ratio of one level to the one before, in (0, 1].
    """

    name = "step"

    def __init__(self, parts: int = 3, gamma: float = 0.1) -> None:
        if parts < 1:
            raise ValueError(f"expected at least 1 part; got {parts}")
        self.parts, self.gamma = parts, _fraction("gamma", gamma)

    def factor(self, step: int, steps: int) -> float:
        return self.gamma ** min(step * self.parts // steps, self.parts - 1)

    def __repr__(self) -> str:
        return f"Step({self.parts}, {self.gamma})"


class InverseScaling(Schedule):
    """Falls as 1 / t^power with the number t of the step, from 1: ever more slowly.

    Robbins and Monro 1951, https://doi.org/10.1214/aoms/1177729586, for powers in (1/2, 1].

    Args:
        power: positive.
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
    """Falls by the same ratio from step to step, to `final` at the end.

    Args:
        final: the last factor, in (0, 1].
    """

    name = "exponential"

    def __init__(self, final: float = 0.01) -> None:
        self.final = _fraction("final", final)

    def factor(self, step: int, steps: int) -> float:
        return float(self.final ** (step / max(steps - 1, 1)))

    def __repr__(self) -> str:
        return f"Exponential({self.final})"


class Cosine(Schedule):
    """Rises from 0 in a straight line for `warmup` of the run, then falls as half a cosine wave.

    Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, equation 5, one period; warm-up as
    Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.2.

    Args:
        warmup: share of the run, in [0, 1).
        final: the last factor, in [0, 1].
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


class OneCycle(Schedule):
    """Rises from 1/`start` to 1 and falls to 1/(`start` · `end`), both as half cosine waves.

    Smith and Topin 2019, https://arxiv.org/abs/1708.07120; in half waves, as the libraries do it.

    Args:
        rise: share of the run spent rising, in (0, 1).
        start: how many times smaller the first step is than the largest, at least 1.
        end: how many times smaller the last is than the first, at least 1.
    """

    name = "one_cycle"

    def __init__(self, rise: float = 0.3, start: float = 25.0, end: float = 1e4) -> None:
        if not 0 < rise < 1:
            raise ValueError(f"expected a share of the run in (0, 1) to rise in; got {rise}")
        if start < 1 or end < 1:
            raise ValueError(f"expected ratios of at least 1; got start {start} and end {end}")
        self.rise, self.start, self.end = rise, start, end

    def factor(self, step: int, steps: int) -> float:
        top = self.rise * steps - 1
        last = max(steps - 1, 1)
        if step <= top:
            return _wave(1 / self.start, 1, step / top if top > 0 else 1)
        return _wave(1, 1 / (self.start * self.end), (step - top) / max(last - top, 1e-9))

    def __repr__(self) -> str:
        return f"OneCycle({self.rise}, {self.start}, {self.end})"


class ReduceOnPlateau(Schedule):
    """Falls by `gamma` whenever the loss has not improved for `patience` epochs.

    Args:
        patience: epochs, at least 1.
        gamma: ratio of one level to the one before, in (0, 1).
        threshold: share by which the loss must fall to count as better, at least 0.

    Attributes:
        level: the factor now.
    """

    name = "plateau"

    def __init__(self, patience: int = 5, gamma: float = 0.5, threshold: float = 1e-4) -> None:
        if patience < 1:
            raise ValueError(f"expected a patience of at least 1 epoch; got {patience}")
        self.patience, self.gamma = patience, _fraction("gamma", gamma)
        self.threshold = threshold
        self.reset()

    def reset(self) -> None:
        """As `Schedule.reset`."""
        self.level, self.best, self.waited = 1.0, math.inf, 0

    def factor(self, step: int, steps: int) -> float:
        return self.level

    def observe(self, loss: float) -> None:
        """Take note of an epoch's loss, of validation rows if there are any."""
        if math.isinf(self.best) or loss < self.best - self.threshold * abs(self.best):
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.level, self.waited = self.level * self.gamma, 0

    def __repr__(self) -> str:
        return f"ReduceOnPlateau({self.patience}, {self.gamma})"


SCHEDULES: dict[str, type[Schedule]] = {
    s.name: s
    for s in (Constant, Step, InverseScaling, Exponential, Cosine, OneCycle, ReduceOnPlateau)
}


def _wave(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def _fraction(name: str, value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError(f"expected {name} in (0, 1]; got {value}")
    return value
