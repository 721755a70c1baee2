"""Structured pruning: whole units and whole inputs go, those that the answers miss the least.

Removing a unit takes a column out of one matrix and a row out of the next, so file and time shrink
on any runtime, which single zeros do not achieve. What goes leaves its mean in the biases behind
it: only how it deviated from that is lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.compress.plain import assembled, dense_layers
from trainer.nn import Dense, Embedding, Loss, Network, Select

Vector = NDArray[np.float64]
Places = NDArray[np.int64]

# Relative to the largest value: so far float32 may have moved a number that is always the same.
CONSTANT = 4 * float(np.finfo(np.float32).eps)
# Share of a unit's deviation that another may leave unexplained, and be the same to float32.
ALIKE = 4e-6
FEWEST = 4  # units of a hidden layer, unless it had fewer
NARROW, NARROW_STEP, WIDE_STEP = 32, 4, 16  # widths that fill vectors: see `_tidy`


class Importances(NamedTuple):
    """How much worse answers become, as two criteria estimate it, one removal at a time.

    Each is a list of levels: the inputs of the first dense layer, `(n_looked_at,)`, then the units
    of each hidden layer, `(units,)`; float64, at least 0, comparable across levels.

    Attributes:
        magnitude: share of what moves the next layer's sums.
        taylor: growth of the loss.
    """

    magnitude: list[Vector]
    taylor: list[Vector]


def without_idle(network: Network, x: NDArray[np.float32]) -> Network:
    """The same answers on `x` but for rounding, without what adds nothing to them.

    Inputs and units that are constant on `x`, dead ones among them, leave their mean in the next
    biases. A unit that follows another, aⱼ = c aᵢ + d on `x`, leaves it its outgoing weights, c
    times, and d in the biases: so do units whose incoming weights are the same, or c times the same
    before a ReLU, or the opposite before a tanh. One unit and one input remain in any case.

    Args:
        network: plain, as `plain` makes them.
        x: rows as the network takes them, `(n, n_inputs)`; the more, the less is idle by accident.
    """
    weights, biases = _parameters(network)
    kept = []
    *fed, _ = _levels(network, x)
    for level, (values, W, b) in enumerate(zip(fed, weights, biases, strict=True)):
        means = values.mean(axis=0, dtype=np.float64)
        gone = np.ptp(values, axis=0) <= CONSTANT * np.abs(values).max(axis=0)
        if level:
            for follower, leader, factor in _followers(values - means, ~gone):
                W[leader] += factor * W[follower]
                b -= factor * means[leader] * W[follower]
                gone[follower] = True
        gone[0] &= not gone.all()
        b += means[gone] @ W[gone]
        kept.append(np.flatnonzero(~gone))
    return _reduced(network, weights, biases, kept)


def importances(
    network: Network, x: NDArray[np.float32], targets: NDArray[Any], loss: Loss
) -> Importances:
    """What every hidden unit and every input of the first dense layer is worth.

    With a its output, δ = a − mean(a) is what is lost with it, since the mean stays.

    magnitude: mean(δ²) ‖w‖², w its outgoing weights: by how much the next layer's sums z move; as a
    share of var(z), summed over that layer, which is what makes levels comparable.

    taylor: ½ mean((δ · ∂ℓ/∂a)²), the mean over rows of their own losses ℓ. To first order a removal
    changes the loss by mean(δ · ∂ℓ/∂a), Molchanov et al. 2017, https://arxiv.org/abs/1611.06440,
    equation 8; but the rows of a trained network pull against each other, and the sum is near 0 for
    whatever matters. Squared by row, as in Molchanov et al. 2019, https://arxiv.org/abs/1906.10771,
    equation 8, it is the second-order term, with Fisher's information in the Hessian's place (Theis
    et al. 2018, https://arxiv.org/abs/1801.05787, equation 7): a loss on every level, so that none
    needs to be normalised.

    Args:
        network: plain, as `plain` makes them.
        x: rows as the network takes them, `(n, n_inputs)`.
        targets: one per row, in the form `loss` asks for.
        loss: what the network learned by.
    """
    *fed, logits = _levels(network, x)
    flow = np.empty_like(logits)
    loss.value_and_gradient(logits, targets, flow)
    flow *= len(x)  # of each row's own loss, not of the mean
    magnitude: list[Vector] = []
    taylor: list[Vector] = []
    for values, layer in zip(reversed(fed), reversed(dense_layers(network)), strict=True):
        deviations = values - values.mean(axis=0, dtype=np.float64)
        found = layer.backward(flow, to_inputs=True)
        if found is None:  # pragma: no cover - the layer broke its promise
            raise RuntimeError(f"expected a gradient from {layer!r}; got none")
        flow = found
        lost = np.square(deviations * flow).mean(axis=0)
        taylor.insert(0, lost / 2)
        moved = np.square(deviations).mean(axis=0) * np.square(layer.W.astype(np.float64)).sum(
            axis=1
        )
        total = np.square(deviations @ layer.W).mean(axis=0).sum()
        magnitude.insert(0, moved / max(total, np.finfo(np.float64).tiny))
    return Importances(magnitude, taylor)


def prune(
    network: Network,
    x: NDArray[np.float32],
    targets: NDArray[Any],
    loss: Loss,
    *,
    parameters: int,
) -> Network:
    """A smaller network: at most so many parameters, those that the answers on `x` need most.

    What is idle goes first. Then, time and again, the unit or input whose importance is the
    smallest for the weights that go with it. Hidden widths are ones that fill the runtime's
    vectors; inputs, which have no vector, make up for it. It is done once by each criterion of
    `importances`, and the network with the lower loss on `x` is returned.

    Args:
        network: plain, as `plain` makes them.
        x: rows as the network takes them, `(n, n_inputs)`; ten thousand tell enough.
        targets: one per row, in the form `loss` asks for.
        loss: what the network learned by.
        parameters: weights and biases of dense layers that may remain.

    Raises:
        ValueError: no network of so few parameters is left.
    """
    network = without_idle(network, x)
    if _n_parameters(_widths(network)) <= parameters:
        return network
    *fed, _ = _levels(network, x)
    means = [values.mean(axis=0, dtype=np.float64) for values in fed]
    candidates = []
    for scores in importances(network, x, targets, loss):
        kept = [
            np.sort(np.argsort(-level, kind="stable")[:width])
            for level, width in zip(scores, _affordable(scores, _widths(network), parameters))
        ]
        weights, biases = _parameters(network)
        for mean, W, b, places in zip(means, weights, biases, kept, strict=True):
            gone = np.delete(np.arange(len(mean)), places)
            b += mean[gone] @ W[gone]
        candidates.append(_reduced(network, weights, biases, kept))
    return min(candidates, key=lambda pruned: loss.value(pruned.logits(x), targets))


def _levels(network: Network, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What each dense layer is fed, `(n, n_in)`, and the logits: views, until the next pass."""
    values = []
    for layer in network.layers:
        if isinstance(layer, Dense):
            values.append(x)
        x = layer.forward(x, training=False)
    return [*values, x]


def _followers(deviations: Vector, able: NDArray[np.bool_]) -> list[tuple[int, int, float]]:
    """Units that are c times another, an earlier one which is none itself: it, the other, and c."""
    squares = np.square(deviations).sum(axis=0)
    products = deviations.T @ deviations
    scales = np.where(able, squares, 1.0)
    correlations = products / np.sqrt(np.outer(scales, scales))
    alike = (1 - np.square(correlations) <= ALIKE**2) & np.outer(able, able)
    np.fill_diagonal(alike, True)
    leaders = alike.argmax(axis=1)
    return [
        (int(unit), int(leader), float(products[unit, leader] / squares[leader]))
        for unit, leader in enumerate(leaders)
        if leader < unit and leaders[leader] == leader
    ]


def _affordable(scores: Sequence[Vector], widths: Sequence[int], parameters: int) -> list[int]:
    """How many of each level remain, by greedy removal; then with hidden widths tidied."""
    orders = [np.sort(level) for level in scores]
    now, least = list(widths), [1, *(min(FEWEST, width) for width in widths[1:-1]), widths[-1]]
    while _n_parameters(now) > parameters:
        able = [level for level in range(len(scores)) if now[level] > least[level]]
        if not able:
            raise ValueError(
                f"expected at least {_n_parameters(least)} parameters for a network of "
                f"{' → '.join(map(str, least))}; got {parameters}"
            )
        cheapest = min(
            able, key=lambda i: orders[i][widths[i] - now[i]] / _saved(now, i)
        )  # fmt: skip
        now[cheapest] -= 1
    return _tidied(now, widths, orders, parameters)


def _tidied(
    now: Sequence[int], widths: Sequence[int], orders: Sequence[Vector], parameters: int
) -> list[int]:
    """Each hidden width up or down to a tidy one, inputs to fit: the choice that loses least."""
    lost = [np.concatenate([[0.0], np.cumsum(level)]) for level in orders]
    best, least = list(now), np.inf
    for hidden in itertools.product(*map(_tidy, now[1:-1], widths[1:-1])):
        rest = _n_parameters([0, *hidden, widths[-1]])
        first = (*hidden, widths[-1])[0]
        inputs = min(widths[0], (parameters - rest) // first)
        if inputs < 1:
            continue
        choice = [inputs, *hidden]
        loss = sum(lost[i][widths[i] - width] for i, width in enumerate(choice))
        if loss < least:
            best, least = choice, loss
    return best[: len(orders)]


def _tidy(width: int, most: int) -> set[int]:
    """The widths next to this one, below and above, that fill vectors and that there are.

    A runtime computes 16 float32 at a time (AVX-512; 8 or 4 on lesser machines), and a remainder
    one by one: 96 units take less time than 90.
    """
    step = WIDE_STEP if width >= NARROW else NARROW_STEP
    below = width // step * step
    above = -(-width // step) * step
    return {max(below, min(FEWEST, width)), above if above <= most else below or width}


def _saved(widths: Sequence[int], level: int) -> int:
    """Parameters that go with one unit of a level; inputs have no biases and nothing before."""
    before = widths[level - 1] + 1 if level else 0
    return before + widths[level + 1]


def _widths(network: Network) -> list[int]:
    """Of the inputs looked at, of each hidden layer, of the outputs."""
    dense = dense_layers(network)
    return [dense[0].n_in, *(layer.units for layer in dense)]


def _n_parameters(widths: Sequence[int]) -> int:
    return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(widths))


def _parameters(network: Network) -> tuple[list[Vector], list[Vector]]:
    """Copies of the weights and of the biases of each dense layer."""
    dense = dense_layers(network)
    return (
        [layer.W.astype(np.float64) for layer in dense],
        [layer.b.astype(np.float64) for layer in dense],
    )


def _reduced(
    network: Network, weights: list[Vector], biases: list[Vector], kept: list[Places]
) -> Network:
    """A network of these parameters and of these inputs and units of each level only."""
    lookup = next((layer for layer in network.layers if isinstance(layer, Embedding)), None)
    select = next((layer for layer in network.layers if isinstance(layer, Select)), None)
    columns = kept[0] if select is None else select.columns[kept[0]]
    dense = dense_layers(network)
    ends = [*kept[1:], np.arange(dense[-1].units)]
    parts = [
        (W[rows][:, ends].astype(np.float32), b[ends].astype(np.float32), layer.activation)
        for W, b, rows, ends, layer in zip(weights, biases, kept, ends, dense, strict=True)
    ]
    return assembled(network.n_inputs, lookup, columns, parts)
