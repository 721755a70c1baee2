"""Optimizers, in order of increasing complexity.

Each updates a flat parameter vector θ in place from a flat gradient g of the same shape. Long
vectors are updated block by block, so that the passes of one update find the block in the cache. A
step allocates nothing but the state at the first.
"""

from __future__ import annotations

import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn import kernels

Array = NDArray[Any]
Coefficients = tuple[float, ...]

BLOCK = 2**16  # elements


class Optimizer(ABC):
    """Moves parameters against their gradient.

    Args:
        learning_rate: η, the size of a step, positive; schedules change it between steps.

    Attributes:
        steps: how many have been made.
        slots: names of the vectors it keeps beside θ, each of θ's shape.
        scratches: how many vectors of scratch an update needs.
    """

    name: str
    slots: tuple[str, ...] = ()
    scratches = 1

    def __init__(self, learning_rate: float) -> None:
        if not learning_rate > 0:
            raise ValueError(f"expected a learning rate above 0; got {learning_rate}")
        self.learning_rate = learning_rate
        self.steps = 0
        self._vectors: list[Array] = []
        self._blocks: list[tuple[Array, ...]] = []
        self._of: weakref.ref[Array] | None = None  # the parameters that it is used for

    def reset(self) -> None:
        """Forget all steps that were made; the learning rate stays."""
        self.steps, self._vectors, self._blocks, self._of = 0, [], [], None

    def start(self, parameters: Array) -> None:
        """Make ready for these parameters: what was kept of others is forgotten."""
        if self._of is not None and self._of() is not parameters:
            self.reset()
        self._of = weakref.ref(parameters)

    def step(self, parameters: Array, gradients: Array) -> None:
        """Update `parameters` in place; both `(n_parameters,)` and of one dtype."""
        self.steps += 1
        numbers = self._coefficients(self.steps)
        for block in self._split(parameters, gradients):
            self._update(numbers, *block)

    @abstractmethod
    def _coefficients(self, t: int) -> Coefficients:
        """The numbers of step t, counted from 1."""

    @abstractmethod
    def _update(self, numbers: Coefficients, p: Array, g: Array, *vectors: Array) -> None:
        """Update a block: θ, its gradient, its slots, and its scratch."""

    def state(self) -> dict[str, NDArray[Any]]:
        """All it remembers, by name, for a checkpoint; the vectors are its own, not copies."""
        found: dict[str, NDArray[Any]] = {"steps": np.array(self.steps)}
        found["learning_rate"] = np.array(self.learning_rate)
        return found | dict(zip(self.slots, self._vectors, strict=False))

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `state` gave.

        Raises:
            ValueError: it is of another optimizer.
        """
        known = {"steps", "learning_rate"}
        if set(state) not in (known, known | set(self.slots)):
            raise ValueError(f"expected the state of {self!r}; got {', '.join(sorted(state))}")
        self.steps = int(state["steps"])
        self.learning_rate = float(state["learning_rate"])
        self._vectors = [state[slot].copy() for slot in self.slots if slot in state]
        self._blocks = []

    def _split(self, parameters: Array, gradients: Array) -> list[tuple[Array, ...]]:
        first = self._blocks[0] if self._blocks else None
        if first is None or first[0].base is not parameters or first[1].base is not gradients:
            if not self._vectors:
                self._vectors = [np.zeros_like(parameters) for _ in self.slots]
            scratch = np.empty((self.scratches, min(BLOCK, parameters.size)), parameters.dtype)
            self._blocks = []
            for start in range(0, parameters.size, BLOCK):
                whole = (parameters, gradients, *self._vectors)
                views = [vector[start : start + BLOCK] for vector in whole]
                self._blocks.append((*views, *scratch[:, : views[0].size]))
        return self._blocks

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_blocks": [], "_of": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.learning_rate})"


class SGD(Optimizer):
    """θ ← θ − η g. Robbins and Monro 1951, https://doi.org/10.1214/aoms/1177729586."""

    name = "sgd"

    def __init__(self, learning_rate: float = 0.01) -> None:
        super().__init__(learning_rate)

    def _coefficients(self, t: int) -> Coefficients:
        return (self.learning_rate,)

    def _update(self, numbers: Coefficients, p: Array, g: Array, *vectors: Array) -> None:
        (work,) = vectors
        np.multiply(g, numbers[0], out=work)
        np.subtract(p, work, out=p)


class Momentum(Optimizer):
    """v ← μ v + g, θ ← θ − η v: a ball with inertia.

    Polyak 1964, https://doi.org/10.1016/0041-5553(64)90137-5; with η outside of v, as PyTorch.

    Args:
        learning_rate: η.
        momentum: μ, in [0, 1).
    """

    name = "momentum"
    slots = ("velocity",)

    def __init__(self, learning_rate: float = 0.01, *, momentum: float = 0.9) -> None:
        super().__init__(learning_rate)
        self.momentum = _share("momentum", momentum)

    def _coefficients(self, t: int) -> Coefficients:
        return self.learning_rate, self.momentum

    def _update(self, numbers: Coefficients, p: Array, g: Array, *vectors: Array) -> None:
        (rate, momentum), (velocity, work) = numbers, vectors
        np.multiply(velocity, momentum, out=velocity)
        np.add(velocity, g, out=velocity)
        np.multiply(velocity, rate, out=work)
        np.subtract(p, work, out=p)


class Nesterov(Momentum):
    """v ← μ v + g, θ ← θ − η (g + μ v): the gradient is taken where the inertia leads.

    Nesterov 1983; in this form Sutskever et al. 2013,
    https://proceedings.mlr.press/v28/sutskever13.html, with θ at their look-ahead point.
    """

    name = "nesterov"

    def _update(self, numbers: Coefficients, p: Array, g: Array, *vectors: Array) -> None:
        (rate, momentum), (velocity, work) = numbers, vectors
        np.multiply(velocity, momentum, out=velocity)
        np.add(velocity, g, out=velocity)
        np.multiply(velocity, momentum, out=work)
        np.add(work, g, out=work)
        np.multiply(work, rate, out=work)
        np.subtract(p, work, out=p)


class RMSprop(Optimizer):
    """v ← ρ v + (1 − ρ) g², θ ← θ − η g / (√v + ε): each parameter has a step of its own.

    Tieleman and Hinton 2012,
    https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf, slide 29.

    Args:
        learning_rate: η.
        decay: ρ, in [0, 1).
        epsilon: ε, positive.
    """

    name = "rmsprop"
    slots = ("square",)

    def __init__(
        self, learning_rate: float = 0.001, *, decay: float = 0.9, epsilon: float = 1e-8
    ) -> None:
        super().__init__(learning_rate)
        self.decay, self.epsilon = _share("decay", decay), epsilon

    def _coefficients(self, t: int) -> Coefficients:
        return self.learning_rate, self.decay, self.epsilon

    def _update(self, numbers: Coefficients, p: Array, g: Array, *vectors: Array) -> None:
        (rate, decay, epsilon), (square, work) = numbers, vectors
        np.multiply(square, decay, out=square)
        np.multiply(g, g, out=work)
        np.multiply(work, 1 - decay, out=work)
        np.add(square, work, out=square)
        np.sqrt(square, out=work)
        np.add(work, epsilon, out=work)
        np.divide(g, work, out=work)
        np.multiply(work, rate, out=work)
        np.subtract(p, work, out=p)


class Adam(Optimizer):
    """Steps scaled by running estimates m of the gradient's mean and v of its square.

    θ ← θ − η m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ).
    Kingma and Ba 2015, https://arxiv.org/abs/1412.6980, algorithm 1. The vectors kept are
    m / (1 − β₁) and v / (1 − β₂), which saves two passes; the difference is in the numbers.

    Args:
        learning_rate: η.
        beta1: share of m kept from step to step, in [0, 1).
        beta2: share of v kept from step to step, in [0, 1).
        epsilon: ε, added to √v̂, positive.
    """

    name = "adam"
    slots = ("mean", "square")

    def __init__(
        self,
        learning_rate: float = 0.001,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(learning_rate)
        self.beta1, self.beta2 = _share("beta1", beta1), _share("beta2", beta2)
        self.epsilon = epsilon

    def step(self, parameters: Array, gradients: Array) -> None:
        compiled = kernels.AVAILABLE and parameters.size >= kernels.SHORTEST
        if not compiled or parameters.dtype.kind != "f":
            super().step(parameters, gradients)
            return
        self.steps += 1
        if not self._vectors:
            self._vectors = [np.zeros_like(parameters) for _ in self.slots]
        # As the vectors' type: with wider numbers the loop would be computed in float64.
        numbers = map(parameters.dtype.type, self._coefficients(self.steps))
        kernels.adam()(parameters, gradients, *self._vectors, *numbers)

    def _coefficients(self, t: int) -> Coefficients:
        # Both bias corrections, and what the vectors are short of, taken out of the vectors.
        root = math.sqrt((1 - self.beta2) / (1 - self.beta2**t))
        scale = self.learning_rate * (1 - self.beta1) / (1 - self.beta1**t) / root
        return self._kept(), self.beta1, self.beta2, scale, self.epsilon / root

    def _kept(self) -> float:
        """Share of θ that decay leaves."""
        return 1.0

    def _update(self, numbers: Coefficients, p: Array, g: Array, *vectors: Array) -> None:
        (kept, beta1, beta2, scale, epsilon), (m, v, work) = numbers, vectors
        np.multiply(m, beta1, out=m)
        np.add(m, g, out=m)
        np.multiply(v, beta2, out=v)
        np.multiply(g, g, out=work)
        np.add(v, work, out=v)
        np.sqrt(v, out=work)
        np.add(work, epsilon, out=work)
        np.divide(m, work, out=work)
        np.multiply(work, scale, out=work)
        if kept != 1:
            np.multiply(p, kept, out=p)
        np.subtract(p, work, out=p)


class AdamW(Adam):
    """Adam with decay apart from the gradient: θ ← (1 − η λ) θ, then Adam's step.

    Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101, algorithm 2; λ is multiplied by
    the learning rate, and biases decay too, as PyTorch.

    Args:
        learning_rate: η.
        weight_decay: λ, at least 0.
        others: beta1, beta2 and epsilon, as of Adam.
    """

    name = "adamw"

    def __init__(
        self, learning_rate: float = 0.001, *, weight_decay: float = 0.01, **others: float
    ) -> None:
        super().__init__(learning_rate, **others)
        if weight_decay < 0:
            raise ValueError(f"expected a weight decay of at least 0; got {weight_decay}")
        self.weight_decay = weight_decay

    def _kept(self) -> float:
        return 1 - self.learning_rate * self.weight_decay


class Nadam(Optimizer):
    """Adam with Nesterov's look-ahead.

    Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, algorithm 8, with its schedule
    μₜ = β₁ (1 − 0.96^(ψt) / 2).

    Args:
        learning_rate: η.
        beta1: β₁, in [0, 1).
        beta2: share of v kept from step to step, in [0, 1).
        epsilon: added to √v̂, positive.
        momentum_decay: ψ.
    """

    name = "nadam"
    slots = ("mean", "square")
    scratches = 2

    def __init__(
        self,
        learning_rate: float = 0.002,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        momentum_decay: float = 0.004,
    ) -> None:
        super().__init__(learning_rate)
        self.beta1, self.beta2 = _share("beta1", beta1), _share("beta2", beta2)
        self.epsilon, self.momentum_decay = epsilon, momentum_decay

    def _mu(self, t: int) -> float:
        return self.beta1 * (1 - 0.5 * math.pow(0.96, t * self.momentum_decay))

    def _coefficients(self, t: int) -> Coefficients:
        # The product of all μ so far is told from t alone, so that a checkpoint need not hold it.
        if self._product_at != t - 1:
            self._product = math.prod(map(self._mu, range(1, t)))
        mu, following = self._mu(t), self._mu(t + 1)
        self._product, self._product_at = self._product * mu, t
        of_gradient = self.learning_rate * (1 - mu) / (1 - self._product)
        of_mean = self.learning_rate * following / (1 - self._product * following)
        root = math.sqrt(1 - self.beta2**t)
        return self.beta1, self.beta2, of_gradient * root, of_mean * root, self.epsilon * root

    _product, _product_at = 1.0, 0

    def _update(self, numbers: Coefficients, p: Array, g: Array, *vectors: Array) -> None:
        beta1, beta2, of_gradient, of_mean, epsilon = numbers
        m, v, work, sum_ = vectors
        np.multiply(m, beta1, out=m)
        np.multiply(g, 1 - beta1, out=work)
        np.add(m, work, out=m)
        np.multiply(v, beta2, out=v)
        np.multiply(g, g, out=work)
        np.multiply(work, 1 - beta2, out=work)
        np.add(v, work, out=v)
        np.multiply(g, of_gradient, out=sum_)
        np.multiply(m, of_mean, out=work)
        np.add(sum_, work, out=sum_)
        np.sqrt(v, out=work)
        np.add(work, epsilon, out=work)
        np.divide(sum_, work, out=work)
        np.subtract(p, work, out=p)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    o.name: o for o in (SGD, Momentum, Nesterov, RMSprop, Adam, AdamW, Nadam)
}


def _share(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"expected {name} in [0, 1); got {value}")
    return value
