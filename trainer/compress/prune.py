"""Structured pruning: the least important units and inputs are removed as a whole.

Unlike single zeros, removed units make the file and the run time smaller with any runtime. Which
ones are removed is decided in two steps, repeated until the network is small enough:
`unit_importance.py` estimates how important each unit and input is, and `layer_widths.py` chooses
how many of each layer remain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.compress.idle_units import remove_idle_units
from trainer.compress.layer_widths import choose_widths, count_parameters, get_widths
from trainer.compress.subnetwork import (
    Floats,
    Vector,
    compute_layer_inputs,
    compute_means,
    copy_parameters,
    extract_subnetwork,
)
from trainer.compress.unit_importance import UnitImportances, compute_importances
from trainer.nn import Loss, Network

# Share of the parameters that remain before the importances are estimated again.
ROUND_SHARE = 0.7


def prune(
    network: Network, x: Floats, targets: NDArray[Any], loss: Loss, *, max_parameters: int
) -> Network:
    """Return a smaller network that consists of the most important units and inputs.

    Idle units are removed first. Then units and inputs are removed by their importance for the
    parameters that they cost. Since every removal changes the importance of the others, it is
    estimated again whenever 30 % of the parameters have been removed. This is done with each of the
    two estimates of `UnitImportances`, and the network with the lower loss on `x` is returned. It
    is not trained again.

    The estimates do not tell how well the network would learn to do without the removed units. To
    remove much more than half of the parameters, prune in steps and train after each.

    Args:
        network: A dense network as returned by `to_dense`.
        x: Rows as the network takes them, float32 `(n, n_inputs)`, n ≥ 1; ten thousand are enough.
        targets: Target of each row, in the form that `loss` takes.
        loss: Loss that the network was trained with.
        max_parameters: Largest number of weights and biases of dense layers. Embedding vectors are
            not counted, and remain.

    Raises:
        ValueError: If no network of so few parameters can be made, or the network is not a dense
            network.
    """
    network = remove_idle_units(network, x)
    if count_parameters(get_widths(network)) <= max_parameters:
        return network
    candidates = []
    for estimate in UnitImportances._fields:
        pruned = network
        while (n_parameters := count_parameters(get_widths(pruned))) > max_parameters:
            importances = getattr(compute_importances(pruned, x, targets, loss), estimate)
            limit = max(max_parameters, int(ROUND_SHARE * n_parameters))
            pruned = _keep_most_important(pruned, x, importances, limit)
        candidates.append(pruned)
    return min(candidates, key=lambda pruned: loss.value(pruned.logits(x), targets))


def _keep_most_important(
    network: Network, x: Floats, importances: Sequence[Vector], max_parameters: int
) -> Network:
    """Return the network without its least important units and inputs.

    Args:
        network: A dense network.
        x: Rows as the network takes them, float32 `(n, n_inputs)`.
        importances: Importance of each input of each dense layer, float64 `(n_in,)`.
        max_parameters: Largest number of weights and biases of the result.
    """
    *layer_inputs, _ = compute_layer_inputs(network, x)
    widths = choose_widths(importances, get_widths(network), max_parameters)
    remaining_inputs = [
        np.sort(np.argsort(-values, kind="stable")[:width])
        for values, width in zip(importances, widths, strict=True)
    ]
    weights, biases = copy_parameters(network)
    return extract_subnetwork(
        network, weights, biases, compute_means(layer_inputs), remaining_inputs
    )
