"""Unstructured pruning: the smallest weights become 0, one by one, wherever they lie.

Han et al. 2015, https://arxiv.org/abs/1506.02626: a network can do without most of its weights, if
those that remain are trained again. What that is good for here, honestly: a zero is stored and
multiplied like any other number, so neither the file nor the time of a run gets smaller. Only a
compressed file does, in a container image's layer or sent over a network. To gain on all three,
remove whole units: see `prune`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.nn import Network
from trainer.training.loop import Callback, TrainingRun


def sparsify(network: Network, share: float) -> Network:
    """A copy whose smallest weights are 0.

    The smallest |w| of each dense layer by itself, of equal ones the first: a layer whose weights
    are smaller than all of another's must not be left without any. Biases stay. Weights that are 0
    already count.

    Args:
        network: of any layers.
        share: of each layer's weights that are to be 0, in [0, 1).

    Raises:
        ValueError: the share is none.
    """
    if not 0 <= share < 1:
        raise ValueError(f"expected a share of zeros in [0, 1); got {share}")
    sparse = network.astype(network.dtype)
    for W, _ in sparse.weights():
        smallest = np.argsort(np.abs(W), axis=None, kind="stable")[: round(share * W.size)]
        np.put(W, smallest, 0)
    return sparse


class KeepZeros(Callback):
    """Weights that are 0 when a run starts stay 0, in the running average of them as well."""

    def __init__(self) -> None:
        self._zeros: NDArray[np.int64] = np.empty(0, np.int64)

    def on_start(self, run: TrainingRun) -> None:
        """Find the zeros, biases left out."""
        network = run.network
        # Gradients lie as the parameters do, and are written anew by every step.
        network.gradients.fill(0)
        for value, gradient in network.weights():
            np.equal(value, 0, out=gradient, casting="unsafe")
        self._zeros = np.flatnonzero(network.gradients)

    def on_step(self, run: TrainingRun) -> None:
        """Set them back: an optimizer moves all weights, and the average has followed."""
        run.network.parameters[self._zeros] = 0
        if run.update.averaged_parameters is not None:
            run.update.averaged_parameters[self._zeros] = 0
