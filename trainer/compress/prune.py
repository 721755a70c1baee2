"""Structured pruning: whole units and whole inputs go, those that the answers miss the least.

Removing a unit takes a column out of one matrix and a row out of the next, so that file and time
shrink on any runtime, as they do not for single zeros. What goes leaves its mean in the biases
behind it: only how it deviated from that is lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.compress.to_dense import build_dense_network, dense_layers
from trainer.nn import Dense, Embedding, FeatureSelect, Loss, Network

Floats = NDArray[np.float32]
Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

# Relative to the largest value: so far float32 may have moved a number that is always the same.
CONSTANT = 4 * float(np.finfo(np.float32).eps)
# Share of a unit's deviation that another may leave unexplained and be the same, to float32.
ALIKE = 4e-6
TINY = float(np.finfo(np.float64).tiny)
STEP = 0.7  # share of the parameters that remains until importances are estimated anew
FEWEST = 4  # units of a hidden layer, unless it had fewer
# Widths from 32 up are multiples of 16, others of 4. A runtime computes 16 numbers of float32 at a
# time, or 8 or 4, and what is left over takes as long as if it were as many.
WIDE, WIDE_STEP, NARROW_STEP = 32, 16, 4


class Importances(NamedTuple):
    """How much worse the answers become, by two estimates, if one input or unit is removed.

    Each is a list of levels: the inputs of the first dense layer, `(n_looked_at,)`, then the units
    of each hidden layer, `(units,)`; float64, at least 0, comparable across levels.

    Attributes:
        magnitude: share of what its level moves the next layer's sums by; of each level 1 in all.
        taylor: growth of the loss.
    """

    magnitude: list[Vector]
    taylor: list[Vector]


def remove_idle_units(network: Network, x: Floats) -> Network:
    """The same answers on `x` but for rounding, without what adds nothing to them.

    Inputs and units that are constant on `x`, dead ones among them, leave their mean in the next
    biases. A unit that follows another, aⱼ = c aᵢ + d on `x`, leaves it its outgoing weights, c
    times, and d in the biases. So does one whose incoming weights are those of another, or
    c > 0 times them before a ReLU, or their opposite before a tanh. One unit and one input of each
    level remain in any case.

    Args:
        network: plain, as `plain` makes them.
        x: rows as the network takes them, `(n, n_inputs)`, n ≥ 1; the more, the less is idle by
            accident.

    Raises:
        ValueError: the network is not plain.
    """
    weights, biases = _parameters(network)
    *fed, _ = _levels(network, x)
    means, kept = _means(fed), []
    for level, values in enumerate(fed):
        idle = np.ptp(values, axis=0) <= CONSTANT * np.abs(values).max(axis=0)
        if level:
            mean, W, b = means[level], weights[level], biases[level]
            for follower, leader, factor in _followers(values - mean, ~idle):
                W[leader] += factor * W[follower]
                b -= factor * mean[leader] * W[follower]
                idle[follower] = True
        idle[0] &= not idle.all()
        kept.append(np.flatnonzero(~idle))
    return _reduced(network, weights, biases, means, kept)


def compute_importances(
    network: Network, x: Floats, targets: NDArray[Any], loss: Loss
) -> Importances:
    """What every hidden unit and every input of the first dense layer is worth.

    With a its output, what is lost with it is δ = a − mean(a), since the mean stays.

    magnitude: mean(δ²) ‖w‖², w its outgoing weights: what the next layer's sums move by; as a share
    of all of its level, which makes levels comparable: the l2 norm of Molchanov et al. 2017,
    https://arxiv.org/abs/1611.06440, section 2.2, for squares.

    taylor: ½ mean((δ ∂ℓ/∂a)²), over rows with their own losses ℓ. To first order a removal changes
    the loss by mean(−δ ∂ℓ/∂a), equation 8 there. But in a trained network the rows pull against
    each other, and that mean is near 0 for whatever matters. Squared row by row, as in Molchanov et
    al. 2019, https://arxiv.org/abs/1906.10771, it is the second-order term, with Fisher's
    information for the Hessian (Theis et al. 2018, https://arxiv.org/abs/1801.05787): a growth of
    the loss on every level, so that none needs to be normalised.

    Args:
        network: plain, as `plain` makes them; its gradients are overwritten.
        x: rows as the network takes them, `(n, n_inputs)`, n ≥ 1.
        targets: one per row, in the form `loss` asks for.
        loss: what the network learned by.

    Raises:
        ValueError: the network is not plain.
    """
    dense = dense_layers(network)
    *fed, logits = _levels(network, x)
    means = _means(fed)
    flow = np.empty_like(logits)
    loss.value_and_gradient(logits, targets, flow)
    flow *= len(x)  # of each row's own loss, not of the mean
    magnitude: list[Vector] = []
    taylor: list[Vector] = []
    for level in reversed(range(len(dense))):
        deviations, W = fed[level] - means[level], dense[level].W.astype(np.float64)
        found = dense[level].backward(flow, to_inputs=True)
        if found is None:  # pragma: no cover - the layer broke its promise
            raise RuntimeError(f"expected a gradient from {dense[level]!r}; got none")
        flow = found
        taylor.insert(0, np.square(deviations * flow).mean(axis=0) / 2)
        moved = np.square(deviations).mean(axis=0) * np.square(W).sum(axis=1)
        magnitude.insert(0, moved / max(float(moved.sum()), TINY))
    return Importances(magnitude, taylor)


def prune(
    network: Network, x: Floats, targets: NDArray[Any], loss: Loss, *, parameters: int
) -> Network:
    """A smaller network: at most so many parameters, those that the answers on `x` need most.

    What is idle goes first. Then, one at a time, the unit or input that is the least important for
    the parameters that go with it, by `importances`; since others count for more after it, these
    are estimated anew each time that 30 % went. Hidden widths end as ones that the runtime is fast
    with; the number of inputs, which is free, makes up for it. This is done by each of the two
    estimates, and the network with the lower loss on `x` is returned, not trained again.

    How well the rest would learn to do without, no estimate can tell. To remove much more than
    half, do it in steps, each of a network that was trained again.

    Args:
        network: plain, as `plain` makes them.
        x: rows as the network takes them, `(n, n_inputs)`, n ≥ 1; ten thousand tell enough.
        targets: one per row, in the form `loss` asks for.
        loss: what the network learned by.
        parameters: weights and biases of dense layers that may remain; vectors of categories are
            not counted, and stay.

    Raises:
        ValueError: no network of so few parameters can be made, or the network is not plain.
    """
    network = remove_idle_units(network, x)
    if _n_parameters(_widths(network)) <= parameters:
        return network
    candidates = []
    for estimate in Importances._fields:
        pruned = network
        while (size := _n_parameters(_widths(pruned))) > parameters:
            scores = getattr(compute_importances(pruned, x, targets, loss), estimate)
            pruned = _most_important(pruned, x, scores, max(parameters, int(STEP * size)))
        candidates.append(pruned)
    return min(candidates, key=lambda pruned: loss.value(pruned.logits(x), targets))


def _most_important(
    network: Network, x: Floats, scores: Sequence[Vector], parameters: int
) -> Network:
    """The network with at most so many parameters, those of the highest scores for their number."""
    *fed, _ = _levels(network, x)
    widths = _affordable(scores, _widths(network), parameters)
    kept = [
        np.sort(np.argsort(-level, kind="stable")[:width])
        for level, width in zip(scores, widths, strict=True)
    ]
    return _reduced(network, *_parameters(network), _means(fed), kept)


def count_fewest_parameters(network: Network) -> int:
    """Weights and biases of dense layers that `prune` can leave a plain network with, at least.

    It may be fewer where what is idle leaves a hidden layer with less than it keeps otherwise.
    """
    return _n_parameters(_least(_widths(network)))


def _levels(network: Network, x: Floats) -> list[Floats]:
    """What each dense layer is fed, `(n, n_in)`, and the logits: views, valid to the next pass."""
    values = []
    for layer in network.layers:
        if isinstance(layer, Dense):
            values.append(x)
        x = layer.forward(x, training=False)
    return [*values, x]


def _means(fed: Sequence[Floats]) -> list[Vector]:
    return [values.mean(axis=0, dtype=np.float64) for values in fed]


def _followers(deviations: Matrix, able: NDArray[np.bool_]) -> list[tuple[int, int, float]]:
    """Units that are c times an earlier one that is not one of them: it, the other, and c."""
    products = deviations.T @ deviations
    squares = np.where(able, np.diagonal(products), 1)
    explained = np.square(products) / np.outer(squares, squares)
    alike = (1 - explained <= ALIKE**2) & np.outer(able, able)
    np.fill_diagonal(alike, True)
    leaders = alike.argmax(axis=1)
    return [
        (unit, leader, float(products[unit, leader] / squares[leader]))
        for unit, leader in enumerate(leaders.tolist())
        if leader < unit and leaders[leader] == leader
    ]


def _affordable(scores: Sequence[Vector], widths: Sequence[int], parameters: int) -> list[int]:
    """How many of each level remain: what is cheapest goes, then hidden widths are tidied.

    Args:
        scores: of each level's inputs or units.
        widths: of each level, and of the outputs, which all remain.
        parameters: at most.

    Raises:
        ValueError: so few cannot be reached.
    """
    least = _least(widths)
    if _n_parameters(least) > parameters:
        raise ValueError(
            f"expected at least {_n_parameters(least)} parameters, of a network of "
            f"{' → '.join(map(str, least))}; got {parameters}"
        )
    orders, now = [np.sort(level) for level in scores], list(widths)
    while _n_parameters(now) > parameters:
        # What a removal saves depends on what the neighbours have left by now.
        prices = {
            level: order[widths[level] - now[level]] / _saved(now, level)
            for level, order in enumerate(orders)
            if now[level] > least[level]
        }
        now[min(prices, key=prices.__getitem__)] -= 1
    lost = [np.concatenate([[0.0], np.cumsum(order)]) for order in orders]
    return min(
        _tidied(now, widths, parameters),
        key=lambda choice: sum(lost[level][widths[level] - n] for level, n in enumerate(choice)),
    )


def _tidied(now: Sequence[int], widths: Sequence[int], parameters: int) -> list[list[int]]:
    """Every choice of tidy hidden widths next to these, with as many inputs as there is room for.

    To round to the nearest would cost a network of few inputs half of them.
    """
    choices = []
    for hidden in itertools.product(*map(_tidy, now[1:-1], widths[1:-1])):
        after = [*hidden, widths[-1]]
        inputs = (parameters - _n_parameters([0, *after])) // after[0]
        if inputs > 0:
            choices.append([min(inputs, widths[0]), *hidden])
    return choices


def _tidy(width: int, most: int) -> list[int]:
    """The tidy widths next to this one, below and above, of those that there are."""
    step = WIDE_STEP if width >= WIDE else NARROW_STEP
    below = max(width // step * step, min(FEWEST, width))
    above = -(-width // step) * step
    return sorted({below, above}) if above <= most else [below]


def _saved(widths: Sequence[int], level: int) -> int:
    """Parameters that go with one unit of a level; an input has no bias, and nothing before it."""
    return widths[level + 1] + (widths[level - 1] + 1 if level else 0)


def _widths(network: Network) -> list[int]:
    """Of the inputs looked at, of each hidden layer, of the outputs."""
    dense = dense_layers(network)
    return [dense[0].n_in, *(layer.units for layer in dense)]


def _least(widths: Sequence[int]) -> list[int]:
    """How many of each level remain in any case."""
    return [1, *(min(FEWEST, width) for width in widths[1:-1]), widths[-1]]


def _n_parameters(widths: Sequence[int]) -> int:
    return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(widths))


def _parameters(network: Network) -> tuple[list[Matrix], list[Vector]]:
    """Copies of the weights and of the biases of each dense layer."""
    dense = dense_layers(network)
    return (
        [layer.W.astype(np.float64) for layer in dense],
        [layer.b.astype(np.float64) for layer in dense],
    )


def _reduced(
    network: Network,
    weights: Sequence[Matrix],
    biases: Sequence[Vector],
    means: Sequence[Vector],
    kept: Sequence[NDArray[np.int64]],
) -> Network:
    """The network with these parameters, and of each level only what is kept.

    Args:
        network: plain.
        weights: of each dense layer as if all were kept, `(n_in, units)`.
        biases: likewise, `(units,)`.
        means: of what each dense layer is fed, `(n_in,)`.
        kept: places in that, ascending.
    """
    lookup = next((layer for layer in network.layers if isinstance(layer, Embedding)), None)
    select = next((layer for layer in network.layers if isinstance(layer, FeatureSelect)), None)
    columns = kept[0] if select is None else select.columns[kept[0]]
    outputs, parts = [*kept[1:], np.arange(network.n_outputs)], []
    for layer, W, b, mean, rows, units in zip(
        dense_layers(network), weights, biases, means, kept, outputs, strict=True
    ):
        gone = np.delete(np.arange(len(mean)), rows)
        filled = b + mean[gone] @ W[gone]
        parts.append(
            (
                W[np.ix_(rows, units)].astype(np.float32),
                filled[units].astype(np.float32),
                layer.activation,
            )
        )
    return build_dense_network(network.n_inputs, lookup, columns, parts)
