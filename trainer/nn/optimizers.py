"""Optimizers: the update rules of SGD, momentum, Nesterov, RMSprop, Adam, AdamW and Nadam.

They stand in one module, ordered by complexity, because each rule is read as a change to the one
before it. Each updates the flat parameter vector θ `(n_parameters,)` in place from a flat gradient
g of the same shape and dtype. Long vectors are updated block by block, so that all passes of one
update find the block in the processor's cache. Only the first step allocates memory: the
optimizer's state.
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

BLOCK = 2**16  # parameters


class Optimizer(ABC):
    """Base class of optimizers: an update rule with its state.

    Args:
        learning_rate: η, the factor of a step, above 0; schedules change it between steps.

    Attributes:
        name: Name of the optimizer in options.
        steps: Number of steps since the last reset.
        slots: Names of the state vectors, each of the shape of θ.
        n_scratch: Number of scratch vectors that an update needs.
        has_parameter_rates: Whether `set_parameter_rates` is supported.
        is_compiled: Whether the compiled update is used, if there is one for this optimizer; None
            to use it for long vectors only [default: None].
    """

    name: str
    slots: tuple[str, ...] = ()
    n_scratch = 1
    has_parameter_rates = False
    is_compiled: bool | None = None

    def __init__(self, learning_rate: float) -> None:
        if not learning_rate > 0:
            raise ValueError(f"expected a learning rate above 0; got {learning_rate}")
        self.learning_rate = learning_rate
        self.steps = 0
        self._vectors: list[Array] = []
        self._blocks: list[tuple[Array, ...]] = []
        self._parameter_rates: tuple[Array, ...] = ()  # rate factors and decay mask, or neither
        self._parameters_ref: weakref.ref[Array] | None = (
            None  # parameters that the state belongs to
        )

    def reset(self) -> None:
        """Discard the state and the number of steps; the learning rate stays."""
        self.steps, self._vectors, self._blocks, self._parameters_ref = 0, [], [], None

    def start(self, parameters: Array) -> None:
        """Prepare for a run on `parameters`; discard the state of another vector."""
        if self._parameters_ref is not None and self._parameters_ref() is not parameters:
            self.reset()
        self._parameters_ref = weakref.ref(parameters)

    def set_parameter_rates(self, rate_factors: Array, decay_mask: Array) -> None:
        """Give each parameter a learning rate of its own, and choose those that decay.

        Args:
            rate_factors: Factor of the learning rate for each parameter, `(n_parameters,)`.
            decay_mask: 1 for parameters that weight decay applies to and 0 for others, same shape.

        Raises:
            ValueError: If this optimizer has one rate for all parameters.
        """
        if not self.has_parameter_rates:
            raise ValueError(f"expected adam or adamw for rates of single parameters; got {self!r}")
        self._parameter_rates, self._blocks = (rate_factors, decay_mask), []

    def step(self, parameters: Array, gradients: Array) -> None:
        """Update `parameters` in place; both arrays are `(n_parameters,)` and of one dtype."""
        self.steps += 1
        coefficients = self._coefficients(self.steps)
        for block in self._split(parameters, gradients):
            self._update(coefficients, *block)

    @abstractmethod
    def _coefficients(self, t: int) -> Coefficients:
        """Return the coefficients of step t, counted from 1."""

    @abstractmethod
    def _update(self, coefficients: Coefficients, p: Array, g: Array, *vectors: Array) -> None:
        """Update one block of θ.

        Args:
            coefficients: Numbers that `_coefficients` returned for this step.
            p: Block of θ, written in place.
            g: Block of the gradient, read only.
            vectors: Blocks of the state vectors (`slots`), then of the rate factors and the decay
                mask if they were set, then of the scratch vectors.
        """

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the state by name, for a checkpoint; the vectors are not copies."""
        scalars: dict[str, NDArray[Any]] = {"steps": np.array(self.steps)}
        scalars["learning_rate"] = np.array(self.learning_rate)
        return scalars | dict(zip(self.slots, self._vectors, strict=False))

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from a `state`.

        Raises:
            ValueError: If it is the state of an optimizer with other slots.
        """
        scalars = {"steps", "learning_rate"}
        if set(state) not in (scalars, scalars | set(self.slots)):
            raise ValueError(
                f"expected the state of {self!r}; got one with {', '.join(sorted(state))}; "
                f"restore it into the same kind of optimizer"
            )
        self.steps = int(state["steps"])
        self.learning_rate = float(state["learning_rate"])
        self._vectors = [state[slot].copy() for slot in self.slots if slot in state]
        self._blocks = []

    def _split(self, parameters: Array, gradients: Array) -> list[tuple[Array, ...]]:
        """Return the blocks of all vectors; made anew only if the two arrays are other ones."""
        first = self._blocks[0] if self._blocks else None
        if first is None or first[0].base is not parameters or first[1].base is not gradients:
            if not self._vectors:
                self._vectors = [np.zeros_like(parameters) for _ in self.slots]
            scratch = np.empty((self.n_scratch, min(BLOCK, parameters.size)), parameters.dtype)
            self._blocks = []
            for start in range(0, parameters.size, BLOCK):
                vectors = (parameters, gradients, *self._vectors, *self._parameter_rates)
                views = [vector[start : start + BLOCK] for vector in vectors]
                self._blocks.append((*views, *scratch[:, : views[0].size]))
        return self._blocks

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_blocks": [], "_parameter_rates": (), "_parameters_ref": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.learning_rate})"


class SGD(Optimizer):
    """Gradient descent: θ ← θ − η g.

    Robbins and Monro 1951, https://doi.org/10.1214/aoms/1177729586.

    Args:
        learning_rate: η, above 0 [default: 0.01].
    """

    name = "sgd"

    def __init__(self, learning_rate: float = 0.01) -> None:
        super().__init__(learning_rate)

    def _coefficients(self, t: int) -> Coefficients:
        return (self.learning_rate,)

    def _update(self, coefficients: Coefficients, p: Array, g: Array, *vectors: Array) -> None:
        (work,) = vectors
        np.multiply(g, coefficients[0], out=work)
        np.subtract(p, work, out=p)


class Momentum(Optimizer):
    """Gradient descent with momentum: v ← μ v + g, θ ← θ − η v.

    Polyak 1964, https://doi.org/10.1016/0041-5553(64)90137-5; η is not part of v, as in PyTorch.

    Args:
        learning_rate: η, above 0 [default: 0.01].
        momentum: μ, in [0, 1) [default: 0.9].
    """

    name = "momentum"
    slots = ("velocity",)

    def __init__(self, learning_rate: float = 0.01, *, momentum: float = 0.9) -> None:
        super().__init__(learning_rate)
        self.momentum = _check_share("momentum", momentum)

    def _coefficients(self, t: int) -> Coefficients:
        return self.learning_rate, self.momentum

    def _update(self, coefficients: Coefficients, p: Array, g: Array, *vectors: Array) -> None:
        (rate, momentum), (velocity, work) = coefficients, vectors
        np.multiply(velocity, momentum, out=velocity)
        np.add(velocity, g, out=velocity)
        np.multiply(velocity, rate, out=work)
        np.subtract(p, work, out=p)


class Nesterov(Momentum):
    """Momentum with the gradient at the look-ahead point: v ← μ v + g, θ ← θ − η (g + μ v).

    Nesterov 1983; the form of Sutskever et al. 2013,
    https://proceedings.mlr.press/v28/sutskever13.html, where θ is their look-ahead point.
    """

    name = "nesterov"

    def _update(self, coefficients: Coefficients, p: Array, g: Array, *vectors: Array) -> None:
        (rate, momentum), (velocity, work) = coefficients, vectors
        np.multiply(velocity, momentum, out=velocity)
        np.add(velocity, g, out=velocity)
        np.multiply(velocity, momentum, out=work)
        np.add(work, g, out=work)
        np.multiply(work, rate, out=work)
        np.subtract(p, work, out=p)


class RMSprop(Optimizer):
    """A step size for each parameter: v ← ρ v + (1 − ρ) g², θ ← θ − η g / (√v + ε).

    Tieleman and Hinton 2012,
    https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf, slide 29.

    Args:
        learning_rate: η, above 0 [default: 0.001].
        decay: ρ, in [0, 1) [default: 0.9].
        epsilon: ε, above 0 [default: 1e-8].
    """

    name = "rmsprop"
    slots = ("square",)

    def __init__(
        self, learning_rate: float = 0.001, *, decay: float = 0.9, epsilon: float = 1e-8
    ) -> None:
        super().__init__(learning_rate)
        self.decay, self.epsilon = _check_share("decay", decay), epsilon

    def _coefficients(self, t: int) -> Coefficients:
        return self.learning_rate, self.decay, self.epsilon

    def _update(self, coefficients: Coefficients, p: Array, g: Array, *vectors: Array) -> None:
        (rate, decay, epsilon), (square, work) = coefficients, vectors
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
    """Steps from moving averages m of the gradient and v of its square, for each parameter.

    θ ← θ − η m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ).
    Kingma and Ba 2015, https://arxiv.org/abs/1412.6980, algorithm 1. The state holds
    m / (1 − β₁) and v / (1 − β₂), which saves two passes over the vectors; the coefficients of each
    step make up for the two factors.

    Args:
        learning_rate: η, above 0 [default: 0.001].
        beta1: β₁, the decay of m per step, in [0, 1) [default: 0.9].
        beta2: β₂, the decay of v per step, in [0, 1) [default: 0.999].
        epsilon: ε, added to √v̂, above 0 [default: 1e-8].
    """

    name = "adam"
    slots = ("mean", "square")
    has_parameter_rates = True

    def __init__(
        self,
        learning_rate: float = 0.001,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(learning_rate)
        self.beta1, self.beta2 = _check_share("beta1", beta1), _check_share("beta2", beta2)
        self.epsilon = epsilon

    def step(self, parameters: Array, gradients: Array) -> None:
        is_compiled = self.is_compiled
        if is_compiled is None:
            is_compiled = kernels.AVAILABLE and parameters.size >= kernels.MIN_SIZE
        if not is_compiled or parameters.dtype.kind != "f":
            super().step(parameters, gradients)
            return
        self.steps += 1
        if not self._vectors:
            self._vectors = [np.zeros_like(parameters) for _ in self.slots]
        # Of the dtype of the vectors: float64 coefficients would make the loop compute in float64.
        coefficients = map(parameters.dtype.type, self._coefficients(self.steps))
        vectors = (parameters, gradients, *self._vectors, *self._parameter_rates)
        update = kernels.compile_adam(has_parameter_rates=bool(self._parameter_rates))
        update(*vectors, *coefficients)

    def _coefficients(self, t: int) -> Coefficients:
        # Both bias corrections and the factors 1 − β₁ and 1 − β₂ that the state vectors omit.
        root = math.sqrt((1 - self.beta2) / (1 - self.beta2**t))
        scale = self.learning_rate * (1 - self.beta1) / (1 - self.beta1**t) / root
        return self._decay_factor(), self.beta1, self.beta2, scale, self.epsilon / root

    def _decay_factor(self) -> float:
        """Return the factor of θ before the step; weight decay makes it smaller than 1."""
        return 1.0

    def _update(self, coefficients: Coefficients, p: Array, g: Array, *vectors: Array) -> None:
        decay_factor, beta1, beta2, scale, epsilon = coefficients
        m, v, *parameter_rates, work = vectors
        if parameter_rates and decay_factor != 1:
            np.multiply(p, parameter_rates[1], out=work)
            np.multiply(work, 1 - decay_factor, out=work)
            np.subtract(p, work, out=p)
        np.multiply(m, beta1, out=m)
        np.add(m, g, out=m)
        np.multiply(v, beta2, out=v)
        np.multiply(g, g, out=work)
        np.add(v, work, out=v)
        np.sqrt(v, out=work)
        np.add(work, epsilon, out=work)
        np.divide(m, work, out=work)
        np.multiply(work, scale, out=work)
        if parameter_rates:
            np.multiply(work, parameter_rates[0], out=work)
        elif decay_factor != 1:
            np.multiply(p, decay_factor, out=p)
        np.subtract(p, work, out=p)


class AdamW(Adam):
    """Adam with decoupled weight decay: θ ← (1 − η λ) θ, then the step of Adam.

    Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101, algorithm 2; λ is multiplied by
    the learning rate, and biases decay too, as in PyTorch. If `set_parameter_rates` is called, only
    the parameters of the mask decay, and all of these by η λ, whatever their rate factors are.

    Args:
        learning_rate: η, above 0 [default: 0.001].
        weight_decay: λ, at least 0 [default: 0.01].
        options: `beta1`, `beta2` and `epsilon` of `Adam`.

    Attributes:
        decay_scale: Factor of λ; schedules change it between steps [default: 1].
    """

    name = "adamw"

    def __init__(
        self, learning_rate: float = 0.001, *, weight_decay: float = 0.01, **options: float
    ) -> None:
        super().__init__(learning_rate, **options)
        if weight_decay < 0:
            raise ValueError(f"expected a weight decay of at least 0; got {weight_decay}")
        self.weight_decay, self.decay_scale = weight_decay, 1.0

    def _decay_factor(self) -> float:
        return 1 - self.learning_rate * self.weight_decay * self.decay_scale


class Nadam(Optimizer):
    """Adam with Nesterov's look-ahead.

    Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, algorithm 8, with its momentum
    schedule μₜ = β₁ (1 − 0.96^(ψt) / 2).

    Args:
        learning_rate: η, above 0 [default: 0.002].
        beta1: β₁, the decay of m per step, in [0, 1) [default: 0.9].
        beta2: β₂, the decay of v per step, in [0, 1) [default: 0.999].
        epsilon: ε, added to √v̂, above 0 [default: 1e-8].
        momentum_decay: ψ, the speed of the momentum schedule [default: 0.004].
    """

    name = "nadam"
    slots = ("mean", "square")
    n_scratch = 2

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
        self.beta1, self.beta2 = _check_share("beta1", beta1), _check_share("beta2", beta2)
        self.epsilon, self.momentum_decay = epsilon, momentum_decay

    def _mu(self, t: int) -> float:
        """Return the momentum μₜ of step t."""
        return self.beta1 * (1 - 0.5 * math.pow(0.96, t * self.momentum_decay))

    def _coefficients(self, t: int) -> Coefficients:
        # The product μ₁ … μₜ depends on t alone, so that a checkpoint need not hold it.
        if self._product_at != t - 1:
            self._product = math.prod(map(self._mu, range(1, t)))
        mu, next_mu = self._mu(t), self._mu(t + 1)
        self._product, self._product_at = self._product * mu, t
        gradient_rate = self.learning_rate * (1 - mu) / (1 - self._product)
        mean_rate = self.learning_rate * next_mu / (1 - self._product * next_mu)
        root = math.sqrt(1 - self.beta2**t)
        return self.beta1, self.beta2, gradient_rate * root, mean_rate * root, self.epsilon * root

    _product, _product_at = 1.0, 0

    def _update(self, coefficients: Coefficients, p: Array, g: Array, *vectors: Array) -> None:
        beta1, beta2, gradient_rate, mean_rate, epsilon = coefficients
        m, v, work, sum_ = vectors
        np.multiply(m, beta1, out=m)
        np.multiply(g, 1 - beta1, out=work)
        np.add(m, work, out=m)
        np.multiply(v, beta2, out=v)
        np.multiply(g, g, out=work)
        np.multiply(work, 1 - beta2, out=work)
        np.add(v, work, out=v)
        np.multiply(g, gradient_rate, out=sum_)
        np.multiply(m, mean_rate, out=work)
        np.add(sum_, work, out=sum_)
        np.sqrt(v, out=work)
        np.add(work, epsilon, out=work)
        np.divide(sum_, work, out=work)
        np.subtract(p, work, out=p)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    o.name: o for o in (SGD, Momentum, Nesterov, RMSprop, Adam, AdamW, Nadam)
}


def _check_share(name: str, value: float) -> float:
    """Return `value` if it is in [0, 1); else raise ValueError."""
    if not 0 <= value < 1:
        raise ValueError(f"expected {name} in [0, 1); got {value}")
    return value
