"""Learning rates by layer: the factor of the learning rate of each parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn.network import Network

Array = NDArray[Any]

BIAS_FACTOR = 0.1  # of all parameters that are not in a weight matrix


def compute_parameter_rates(network: Network) -> tuple[Array, Array]:
    """Return the rate factors and the decay mask of the parameters, `(n_parameters,)` each.

    A weight matrix of n inputs has the factor 1/√n, all other parameters, such as biases, have 0.1.
    Weight decay applies to weight matrices. Under Adam, whose steps do not depend on the scale of
    the gradient, these are the steps of the neural tangent parametrization, in which a layer
    computes x W/√n with W ~ N(0, 1): Jacot et al. 2018, https://arxiv.org/abs/1806.07572, section
    3. The factor of the biases is that of Holzmüller et al. 2024, https://arxiv.org/abs/2407.04491.
    """
    # The gradients have the layout of the parameters, and each step overwrites them: they can hold
    # the vectors for a moment.
    gradients = network.gradients
    weight_gradients = [gradient for _, gradient in network.weights()]
    gradients.fill(BIAS_FACTOR)
    for gradient in weight_gradients:
        gradient.fill(1 / np.sqrt(len(gradient)))
    rate_factors = gradients.copy()
    gradients.fill(0)
    for gradient in weight_gradients:
        gradient.fill(1)
    return rate_factors, gradients.copy()
