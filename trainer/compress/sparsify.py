"""Unstructured pruning: the smallest single weights become 0.

Han et al. 2015, https://arxiv.org/abs/1506.02626: a network can do without most of its weights if
the others are trained again. ONNX Runtime stores a zero and multiplies by it like any other number,
so neither the file nor the run time gets smaller. Only a compressed file does, such as the layer of
a container image. To reduce all three, remove whole units: see `prune.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.nn import Network
from trainer.training.loop import Callback, TrainingRun


def sparsify(network: Network, share: float) -> Network:
    """Return a copy of the network in which the smallest weights are 0.

    The weights are chosen in each dense layer by itself, by |w|, and of equal ones the first:
    otherwise a layer of small weights could lose all of them. Biases stay. Weights that are 0
    already count.

    Args:
        network: The network, of any layers.
        share: Share of each layer's weights that are 0 afterwards, in [0, 1).

    Raises:
        ValueError: If the share is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"expected a share of zeros in [0, 1); got {share}")
    sparse = network.astype(network.dtype)
    for W, _ in sparse.weights():
        smallest = np.argsort(np.abs(W), axis=None, kind="stable")[: round(share * W.size)]
        np.put(W, smallest, 0)
    return sparse


class KeepZeros(Callback):
    """Keep the weights at 0 that are 0 when the run starts, also in their running average."""

    def __init__(self) -> None:
        self._zeros: NDArray[np.int64] = np.empty(0, np.int64)

    def on_start(self, run: TrainingRun) -> None:
        """Find the weights that are 0; biases are not weights."""
        network = run.network
        # The gradients have the layout of the parameters, and each step overwrites them: they can
        # hold the mask for a moment.
        network.gradients.fill(0)
        for value, gradient in network.weights():
            np.equal(value, 0, out=gradient, casting="unsafe")
        self._zeros = np.flatnonzero(network.gradients)

    def on_step(self, run: TrainingRun) -> None:
        """Set the weights to 0 again, since the optimizer and the average have moved them."""
        run.network.parameters[self._zeros] = 0
        if run.update.averaged_parameters is not None:
            run.update.averaged_parameters[self._zeros] = 0
