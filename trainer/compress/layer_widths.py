"""The choice of layer widths for a pruned network of a given size.

The widths of a network are the number of inputs of each dense layer, followed by the number of
outputs: `[features, hidden units …, outputs]`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from trainer.compress.subnetwork import Vector
from trainer.compress.to_dense import list_dense_layers
from trainer.nn import Network

MIN_HIDDEN_UNITS = 4  # of a hidden layer, unless it has fewer already
# Widths of at least WIDE_UNITS are multiples of 16, narrower ones of 4. A runtime computes 16, 8 or
# 4 float32 numbers at a time, and an incomplete vector takes as long as a full one.
WIDE_UNITS, WIDE_MULTIPLE, NARROW_MULTIPLE = 32, 16, 4


def get_widths(network: Network) -> list[int]:
    """Return the widths of a dense network."""
    dense = list_dense_layers(network)
    return [dense[0].n_in, *(layer.units for layer in dense)]


def count_parameters(widths: Sequence[int]) -> int:
    """Return the number of weights and biases of dense layers with these widths."""
    return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(widths))


def count_min_parameters(network: Network) -> int:
    """Return the smallest number of weights and biases that `prune` reduces a network to.

    The result of `prune` can be smaller if idle units are removed from a hidden layer.
    """
    return count_parameters(_get_min_widths(get_widths(network)))


def choose_widths(
    importances: Sequence[Vector], widths: Sequence[int], max_parameters: int
) -> list[int]:
    """Return the widths of the pruned network.

    One input or unit after another is removed: always the one with the smallest importance per
    parameter that its removal saves. Then the hidden widths are rounded to multiples that the
    runtime computes fast. Of all ways to round up or down, the one is chosen that removes the least
    importance.

    Args:
        importances: Importance of each input of each dense layer, float64 `(n_in,)`.
        widths: Widths of the network. The outputs all remain.
        max_parameters: Largest number of weights and biases of the pruned network.

    Raises:
        ValueError: If no network of so few parameters can be made.
    """
    min_widths = _get_min_widths(widths)
    if count_parameters(min_widths) > max_parameters:
        raise ValueError(
            f"expected at least {count_parameters(min_widths)} parameters, for a network of "
            f"{' → '.join(map(str, min_widths))}; got {max_parameters}; keep more of them"
        )
    ascending, current = [np.sort(values) for values in importances], list(widths)
    while count_parameters(current) > max_parameters:
        # What a removal saves depends on the current widths of the layers beside it.
        costs = {
            layer: values[widths[layer] - current[layer]] / _count_saved_parameters(current, layer)
            for layer, values in enumerate(ascending)
            if current[layer] > min_widths[layer]
        }
        current[min(costs, key=costs.__getitem__)] -= 1
    # Importance that is lost in each layer if its n least important inputs are removed.
    losses = [np.concatenate([[0.0], np.cumsum(values)]) for values in ascending]
    return min(
        _list_rounded_widths(current, widths, max_parameters),
        key=lambda choice: sum(
            losses[layer][widths[layer] - width] for layer, width in enumerate(choice)
        ),
    )


def _list_rounded_widths(
    current: Sequence[int], widths: Sequence[int], max_parameters: int
) -> list[list[int]]:
    """Return the inputs and hidden widths of every way to round the hidden widths up or down.

    Each choice has as many inputs as the remaining parameters permit. All choices are needed:
    rounding every layer to the nearest multiple could cost a network of few inputs half of them.
    """
    choices = []
    rounded = [
        _round_width(width, max_width)
        for width, max_width in zip(current[1:-1], widths[1:-1], strict=True)
    ]
    for hidden in itertools.product(*rounded):
        outgoing_widths = [*hidden, widths[-1]]
        other_parameters = count_parameters([0, *outgoing_widths])
        n_inputs = (max_parameters - other_parameters) // outgoing_widths[0]
        if n_inputs > 0:
            choices.append([min(n_inputs, widths[0]), *hidden])
    return choices


def _round_width(width: int, max_width: int) -> list[int]:
    """Return the nearest multiples below and above a hidden width, without those above the max."""
    multiple = WIDE_MULTIPLE if width >= WIDE_UNITS else NARROW_MULTIPLE
    below = max(width // multiple * multiple, min(MIN_HIDDEN_UNITS, width))
    above = -(-width // multiple) * multiple
    return sorted({below, above}) if above <= max_width else [below]


def _count_saved_parameters(widths: Sequence[int], layer: int) -> int:
    """Return the number of parameters that the removal of one input of a dense layer saves.

    A hidden unit also has incoming weights and a bias, which a feature has not.
    """
    return widths[layer + 1] + (widths[layer - 1] + 1 if layer else 0)


def _get_min_widths(widths: Sequence[int]) -> list[int]:
    """Return the widths that pruning keeps in any case."""
    return [1, *(min(MIN_HIDDEN_UNITS, width) for width in widths[1:-1]), widths[-1]]
