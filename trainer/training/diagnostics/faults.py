"""Faults: each with its name, its measure, where it begins, who says so, and its remedy."""

from __future__ import annotations

import math
from dataclasses import dataclass

CS231N = "Stanford CS231n, Neural Networks 3"
KARPATHY = "Karpathy 2019, A Recipe for Training Neural Networks"
LECUN = "LeCun et al. 1998, Efficient BackProp"
GLOROT = "Glorot and Bengio 2010"
PASCANU = "Pascanu et al. 2013"
GOODFELLOW = "Goodfellow et al. 2016, Deep Learning"


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: what it is called.
        measure: what is measured.
        source: who says where health ends, or what it is judged by.
        remedy: what to do.
        low: the lowest healthy value.
        high: the highest healthy value.
    """

    name: str
    measure: str
    source: str
    remedy: str
    low: float | None = None
    high: float | None = None

    @property
    def bounds(self) -> str:
        """The healthy values, in words."""
        parts = [f"at least {self.low:g}"] if self.low is not None else []
        parts += [f"at most {self.high:g}"] if self.high is not None else []
        return " and ".join(parts)


# In the order in which one meets them.
FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(
            "label_shape",
            "rows or targets that the loss cannot take",
            f"{KARPATHY}, become one with the data",
            "bring the targets into the form that is named, one per row",
            high=0,
        ),
        Fault(
            "one_class",
            "distinct classes among the training labels",
            f"{KARPATHY}, become one with the data",
            "look at the labels: with one class there is nothing to tell apart",
            low=2,
        ),
        Fault(
            "unscaled_features",
            "root mean square of the largest feature, as the network gets it",
            f"{LECUN}, 4.3: inputs of mean 0 and like variances",
            "standardise the features",
            high=10,
        ),
        Fault(
            "unscaled_targets",
            "root mean square of the largest target, as the loss gets it",
            f"{LECUN}, 4.3, for outputs",
            "standardise the targets",
            low=0.01,
            high=10,
        ),
        Fault(
            "symmetry",
            "layers whose units all begin alike, and so would stay",
            f"{GOODFELLOW}, 8.4",
            "draw the weights at random: the initializer he_normal or glorot_uniform",
            high=0,
        ),
        Fault(
            "initial_loss",
            "first loss of a classifier over that of even odds, ln K for K classes",
            f"{CS231N}, sanity checks; the factor allows for random logits",
            "scale the features, or draw the last layer's weights smaller",
            high=3,
        ),
        Fault(
            "wrong_gradient",
            "largest relative error between backpropagation and the complex step",
            f"{CS231N}, gradient checks",
            "correct the derivative of that layer, its activation, or the loss after it",
            high=1e-7,
        ),
        Fault(
            "cannot_overfit",
            "share of the loss left after learning up to 20 rows by heart",
            f"{CS231N}, sanity checks; {KARPATHY}, overfit one batch",
            "look for a wrong gradient or dead units; give the network more units",
            high=0.01,
        ),
        Fault(
            "exploding_loss",
            "an epoch's training loss over the larger of the first and that of even odds",
            f"{CS231N}, loss function",
            "lower the learning rate, or clip gradients by norm",
            high=3,
        ),
        Fault(
            "flat_loss",
            "share of the first loss that is gone after 1000 steps, or where the run ended",
            f"{CS231N}, loss function",
            "raise the learning rate; if it stays flat, look for saturated or dead units",
            low=0.01,
        ),
        Fault(
            "saturation",
            "share of a layer's outputs whose slope is below a twentieth of the steepest",
            f"{GLOROT}, section 3: saturated layers learn nothing",
            "use relu or tanh, scale the features, or draw smaller weights",
            high=0.5,
        ),
        Fault(
            "dead_relu",
            "share of a layer's units with slope 0 on every row",
            f"{CS231N}, Neural Networks 1: a large rate may kill 40 % of a network",
            "lower the learning rate, or use leaky_relu",
            high=0.4,
        ),
        Fault(
            "vanishing_gradient",
            "root mean square of a layer's gradient over the largest layer's",
            f"{GLOROT}, section 4; {PASCANU}, section 2",
            "use relu with he_normal, batch normalisation, or fewer layers",
            low=1e-4,
        ),
        Fault(
            "exploding_gradient",
            "norm of a layer's gradient over the norm of its weights",
            f"{PASCANU}, section 2",
            "draw smaller weights, scale features and targets, or clip gradients by norm",
            high=100,
        ),
        Fault(
            "large_updates",
            "median norm of a step over the norm of the layer's weights; 1e-3 is usual",
            f"{CS231N}, ratio of updates to weights",
            "lower the learning rate",
            high=0.2,
        ),
        Fault(
            "small_updates",
            "median norm of a step over the norm of the layer's weights; 1e-3 is usual",
            f"{CS231N}, ratio of updates to weights",
            "raise the learning rate",
            low=1e-6,
        ),
    )
}


@dataclass(frozen=True)
class Measurement:
    """One measure that was taken.

    Attributes:
        fault: name of what it would be a sign of.
        value: what was measured.
        where: the layer, if it is one layer's.
        note: what else is known, say the columns it is about.
    """

    fault: str
    value: float
    where: str | None = None
    note: str | None = None

    @property
    def kind(self) -> Fault:
        """What it would be a sign of."""
        return FAULTS[self.fault]

    @property
    def healthy(self) -> bool:
        """Within the bounds; what is no number is not."""
        low, high = self.kind.low, self.kind.high
        return (low is None or self.value >= low) and (high is None or self.value <= high)

    @property
    def strain(self) -> float:
        """How near it is to its bound, or how far beyond: above 1 of a fault."""
        low, high = self.kind.low, self.kind.high
        if math.isnan(self.value):
            return math.inf
        found = 0.0
        if high is not None:
            found = self.value / high if high else 2.0 * (self.value > 0)
        if low is not None:
            found = max(found, low / self.value if self.value > 0 else math.inf)
        return found

    def __str__(self) -> str:
        where = f" in {self.where}" if self.where else ""
        note = f" ({self.note})" if self.note else ""
        return (
            f"{self.fault}{where}: {self.kind.measure}: {self.value:.3g}{note}; expected "
            f"{self.kind.bounds} ({self.kind.source}); {self.kind.remedy}"
        )
