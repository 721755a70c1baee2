"""Comparison: which baselines are as good as the network, or better, by the figures as printed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from serving.bundle import Manifest
from trainer.evaluate.metrics import get_main_metric

DECIMALS = 4  # figures that are printed alike are called equal


@dataclass(frozen=True)
class BaselineComparison:
    """The leading metric on the test rows, of the network and of its baselines.

    Attributes:
        metric: Name of the metric; higher is better.
        own: The network's figure.
        others: The baselines' figures by name, those that have one.
        better: Names of the baselines with a higher figure.
        equal: Names of those with the same.
    """

    metric: str
    own: float
    others: Mapping[str, float]
    better: list[str]
    equal: list[str]


def compare_with_baselines(manifest: Manifest) -> BaselineComparison:
    """Compare a network with its baselines."""
    test = manifest.metrics["test"]
    metric = get_main_metric(manifest.task, test)
    own = test[metric]
    others = {
        name: baseline.metrics[metric]
        for name, baseline in manifest.baselines.items()
        if math.isfinite(baseline.metrics.get(metric, math.nan))
    }
    ahead = {name: round(value, DECIMALS) - round(own, DECIMALS) for name, value in others.items()}
    return BaselineComparison(
        metric,
        own,
        others,
        better=[name for name, lead in ahead.items() if lead > 0],
        equal=[name for name, lead in ahead.items() if lead == 0],
    )


@dataclass(frozen=True)
class ConstantAnswer:
    """What always answering the commonest class would score.

    Attributes:
        answer: The class.
        accuracy: Accuracy of that answer.
        exact: Whether that is of the test rows, or its share of the training rows.
    """

    answer: int | str
    accuracy: float
    exact: bool


def find_constant_answer(manifest: Manifest) -> ConstantAnswer | None:
    """Return what the commonest class alone would score; None for regression or if not known."""
    if manifest.classes is None or manifest.class_shares is None:
        return None
    share = max(manifest.class_shares)
    answer = manifest.classes[manifest.class_shares.index(share)]
    baseline = manifest.baselines.get("majority")
    if baseline is None:
        return ConstantAnswer(answer, share, exact=False)
    return ConstantAnswer(answer, baseline.metrics["accuracy"], exact=True)
