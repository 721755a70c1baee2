"""The faults that diagnostics find, each with its measure, healthy values, source and remedy."""

from __future__ import annotations

import math
from dataclasses import dataclass

CS231N = "Stanford CS231n, Neural Networks 3"
CS231N_PART_1 = "Stanford CS231n, Neural Networks 1"
KARPATHY = "Karpathy 2019, A Recipe for Training Neural Networks"
LECUN = "LeCun et al. 1998, Efficient BackProp"
GLOROT = "Glorot and Bengio 2010"
PASCANU = "Pascanu et al. 2013"
GOODFELLOW = "Goodfellow et al. 2016, Deep Learning"


@dataclass(frozen=True)
class Fault:
    """A kind of fault: what is measured, its bounds, and the remedy.

    Attributes:
        name: Name of the fault, such as `dead_relu`.
        measure: Description of the quantity that is measured.
        source: Publication from which the bound is taken, or that describes the fault.
        remedy: Advice against the fault.
        lower_bound: Smallest healthy value; None for no lower bound.
        upper_bound: Largest healthy value; None for no upper bound.
    """

    name: str
    measure: str
    source: str
    remedy: str
    lower_bound: float | None = None
    upper_bound: float | None = None

    @property
    def bounds(self) -> str:
        """Description of the healthy values, such as "at most 0.4"."""
        parts = [f"at least {self.lower_bound:g}"] if self.lower_bound is not None else []
        parts += [f"at most {self.upper_bound:g}"] if self.upper_bound is not None else []
        return " and ".join(parts)


# All faults by name, in the order in which they are checked.
FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(
            "label_shape",
            "1 if the loss does not accept the rows or targets, else 0",
            f"{KARPATHY}, become one with the data",
            "convert the rows and targets to the form that the message names",
            upper_bound=0,
        ),
        Fault(
            "one_class",
            "number of distinct classes among the training labels",
            f"{KARPATHY}, become one with the data",
            "check the labels: with a single class there is nothing to learn",
            lower_bound=2,
        ),
        Fault(
            "unscaled_features",
            "root mean square of the largest feature, after preprocessing",
            f"{LECUN}, 4.3: inputs should have mean 0 and similar variances",
            "standardise the features",
            upper_bound=10,
        ),
        Fault(
            "unscaled_targets",
            "root mean square of the largest target, after scaling",
            f"{LECUN}, 4.3, applied to outputs",
            "standardise the targets",
            lower_bound=0.01,
            upper_bound=10,
        ),
        Fault(
            "symmetry",
            "number of layers whose units all start with equal weights, and so stay equal",
            f"{GOODFELLOW}, 8.4",
            "draw the weights at random, with the initializer he_normal or glorot_uniform",
            upper_bound=0,
        ),
        Fault(
            "initial_loss",
            "initial loss of a classifier divided by that of equal probabilities (ln K for K "
            "classes)",
            # Logits of data-driven initialization have the standard deviation 1, and an offset: of
            # 1,200 runs on toys and small tables, the largest factor was 3.6.
            f"{CS231N}, sanity checks; the factor allows for random logits",
            "scale the features, or start with smaller weights in the last layer",
            upper_bound=4,
        ),
        Fault(
            "wrong_gradient",
            "largest relative error of backpropagation compared with the complex-step derivative",
            f"{CS231N}, gradient checks",
            "correct the derivative of the layer, of its activation, or of the loss after it",
            upper_bound=1e-7,
        ),
        Fault(
            "cannot_overfit",
            "share of the initial loss that remains after training on up to 20 rows",
            f"{CS231N}, sanity checks; {KARPATHY}, overfit one batch",
            "look for a wrong gradient or dead units, or give the network more units",
            upper_bound=0.01,
        ),
        Fault(
            "exploding_loss",
            "training loss of an epoch divided by the larger of the initial loss and the loss of "
            "logits that are all 0",
            f"{CS231N}, loss function",
            "lower the learning rate, or clip gradients by norm",
            upper_bound=3,
        ),
        Fault(
            "flat_loss",
            "relative decrease of the loss after 1000 steps, or at the end of the run",
            f"{CS231N}, loss function",
            "raise the learning rate; if it stays flat, look for saturated or dead units",
            lower_bound=0.01,
        ),
        Fault(
            "saturation",
            "share of a layer's outputs where the activation has less than 5 % of its largest "
            "slope",
            f"{GLOROT}, section 3: saturated layers do not learn",
            "use relu or tanh, scale the features, or start with smaller weights",
            upper_bound=0.5,
        ),
        Fault(
            "dead_relu",
            "share of a layer's units whose activation has slope 0 for every row",
            f"{CS231N_PART_1}: a large learning rate may kill 40 % of the units",
            "lower the learning rate, or use leaky_relu",
            upper_bound=0.4,
        ),
        Fault(
            "vanishing_gradient",
            "root mean square of a layer's gradient divided by the largest of any layer",
            f"{GLOROT}, section 4; {PASCANU}, section 2",
            "use relu with he_normal, batch normalisation, or fewer layers",
            lower_bound=1e-4,
        ),
        Fault(
            "exploding_gradient",
            "norm of a layer's gradient divided by the norm of its weights",
            f"{PASCANU}, section 2",
            "start with smaller weights, scale features and targets, or clip gradients by norm",
            upper_bound=100,
        ),
        Fault(
            "large_updates",
            "median norm of a step of a layer divided by the norm of its weights (usually 1e-3)",
            f"{CS231N}, ratio of updates to weights",
            "lower the learning rate",
            upper_bound=0.2,
        ),
        Fault(
            "small_updates",
            "median norm of a step of a layer divided by the norm of its weights (usually 1e-3)",
            f"{CS231N}, ratio of updates to weights",
            "raise the learning rate",
            lower_bound=1e-6,
        ),
    )
}


@dataclass(frozen=True)
class Measurement:
    """A measured value, which is a sign of a fault if it is out of bounds.

    Attributes:
        fault: Name of the fault.
        value: Measured value.
        where: Description of the layer; None if the value does not belong to one layer.
        note: Further information, such as the column with the largest values; None for none.
    """

    fault: str
    value: float
    where: str | None = None
    note: str | None = None

    @property
    def kind(self) -> Fault:
        """The fault, with its bounds and its remedy."""
        return FAULTS[self.fault]

    @property
    def is_healthy(self) -> bool:
        """Whether the value is within the bounds, which NaN never is."""
        lower, upper = self.kind.lower_bound, self.kind.upper_bound
        return (lower is None or self.value >= lower) and (upper is None or self.value <= upper)

    @property
    def severity(self) -> float:
        """Ratio of the value to its bound: above 1 if it is out of bounds, infinite for NaN."""
        lower, upper = self.kind.lower_bound, self.kind.upper_bound
        if math.isnan(self.value):
            return math.inf
        severity = 0.0
        if upper is not None:
            severity = self.value / upper if upper else 2.0 * (self.value > 0)
        if lower is not None:
            severity = max(severity, lower / self.value if self.value > 0 else math.inf)
        return severity

    def __str__(self) -> str:
        where = f" in {self.where}" if self.where else ""
        note = f" ({self.note})" if self.note else ""
        return (
            f"{self.fault}{where}: {self.kind.measure}: {self.value:.3g}{note}; expected "
            f"{self.kind.bounds} ({self.kind.source}); {self.kind.remedy}"
        )
