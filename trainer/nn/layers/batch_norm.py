"""The batch-normalisation layer, with learned scale and shift and an optional activation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn.activations import Activation
from trainer.nn.layers.dense import format_activation, make_activation
from trainer.nn.layers.layer import Array, Layer, Parameter, require_forward


class BatchNorm(Layer):
    """Batch normalization: a = f(γ (x − μ) / √(σ² + ε) + β), with learned γ and β.

    In training, μ and σ² are the mean and the variance of the batch. Inference uses running
    averages of both, so that an answer does not depend on the other rows of its batch. The layer is
    then a scale and a shift, which the export folds into the dense layer. Ioffe and Szegedy 2015,
    https://arxiv.org/abs/1502.03167, algorithms 1 and 2.

    Args:
        activation: Name of f, or f itself; the layer before then has none [default: identity].
        momentum: Decay of the running averages per batch, in [0, 1) [default: 0.9].
        epsilon: ε, added to the variance, above 0 [default: 1e-5].

    Attributes:
        gamma: γ, `(n_in,)`, initially 1.
        beta: β, `(n_in,)`, initially 0.
        mean: Running mean, `(n_in,)`.
        variance: Running unbiased variance, `(n_in,)`.
    """

    gamma: Array
    beta: Array

    settings = ("activation", "momentum", "epsilon")

    def __init__(
        self,
        activation: str | Activation = "identity",
        *,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"expected a momentum in [0, 1); got {momentum}")
        if not epsilon > 0:
            raise ValueError(f"expected an epsilon above 0; got {epsilon}")
        super().__init__()
        self.activation = make_activation(activation)
        self.momentum, self.epsilon = momentum, epsilon

    def outputs(self, n_in: int) -> int:
        return n_in

    def size(self, n_in: int) -> int:
        return 2 * n_in

    def bind(self, n_in: int, parameters: Array, gradients: Array) -> None:
        super().bind(n_in, parameters, gradients)
        self.gamma, self.beta = parameters[:n_in], parameters[n_in:]
        self.dgamma, self.dbeta = gradients[:n_in], gradients[n_in:]
        self.mean, self.variance = np.zeros(n_in, self.dtype), np.ones(n_in, self.dtype)

    def initialize(self, rng: np.random.Generator) -> None:
        """Set γ and the running variance to 1, β and the running mean to 0."""
        self.gamma.fill(1)
        self.beta.fill(0)
        self.mean.fill(0)
        self.variance.fill(1)

    def parameters(self) -> list[Parameter]:
        return [
            Parameter("gamma", self.gamma, self.dgamma, False),
            Parameter("beta", self.beta, self.dbeta, False),
        ]

    def state(self) -> dict[str, NDArray[Any]]:
        return {"mean": self.mean, "variance": self.variance}

    def forward(self, x: Array, *, training: bool) -> Array:
        get, n = self._buffers.get, len(x)
        self._x, self._training = x, training
        normal = get("normal", x.shape, self.dtype)
        if training:
            if n < 2:
                raise ValueError(
                    "expected batches of at least 2 rows for batch normalisation; got one row; "
                    "choose a batch size that leaves no batch of one row"
                )
            share = self._buffers.full(1 / n, (n,), self.dtype)
            mean, variance = (get(m, (1, self.n_in), self.dtype) for m in ("mean", "variance"))
            np.dot(share, x, out=mean[0])
            np.subtract(x, mean, out=normal)
            square = get("square", x.shape, self.dtype)
            np.multiply(normal, normal, out=square)
            np.dot(share, square, out=variance[0])
            self._update_running(self.mean, mean[0], 1)
            self._update_running(self.variance, variance[0], n / (n - 1))
        else:
            mean, variance = self.mean[None], self.variance[None]
            np.subtract(x, mean, out=normal)
        self._inverse = get("inverse", (1, self.n_in), self.dtype)
        np.add(variance, self.epsilon, out=self._inverse)
        np.sqrt(self._inverse, out=self._inverse)
        np.divide(1, self._inverse, out=self._inverse)
        np.multiply(normal, self._inverse, out=normal)
        z = get("z", x.shape, self.dtype)
        np.multiply(normal, self.gamma, out=z)
        np.add(z, self.beta, out=z)
        a = z if self.activation.has_output_derivative else get("a", x.shape, self.dtype)
        self.activation.value(z, out=a)
        self._normal, self._z, self._a = normal, z, a
        return a

    def _update_running(self, running: Array, batch: Array, factor: float) -> None:
        """Update a running average, `(n_in,)`, by `factor` times the statistic of a batch."""
        new = self._buffers.get("new", running.shape, running.dtype)
        np.multiply(batch, (1 - self.momentum) * factor, out=new)
        np.multiply(running, self.momentum, out=running)
        np.add(running, new, out=running)

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        x = require_forward(self._x)
        n = len(x)
        self.activation.backward(gradient, self._z, self._a)
        ones = self._buffers.full(1, (n,), self.dtype)
        product = self._buffers.get("square", x.shape, self.dtype)
        np.dot(ones, gradient, out=self.dbeta)
        np.multiply(gradient, self._normal, out=product)
        np.dot(ones, product, out=self.dgamma)
        if not to_inputs:
            return None
        # ∂L/∂x = γ/√(σ² + ε) · (g − mean g − x̂ mean(g x̂)) with means over the batch, because in
        # training μ and σ² depend on every row (the chain rule of the paper's section 3, summed
        # up).
        if self._training:
            np.multiply(self._normal, self.dgamma, out=product)
            np.add(product, self.dbeta, out=product)
            np.multiply(product, 1 / n, out=product)
            np.subtract(gradient, product, out=gradient)
        np.multiply(gradient, self.gamma, out=gradient)
        np.multiply(gradient, self._inverse, out=gradient)
        return gradient

    def __repr__(self) -> str:
        return f"BatchNorm({format_activation(self.activation)})"
