"""The comparison of a network with its baselines on the test rows, from a bundle's manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serving.bundle import Manifest
from trainer.evaluate.metrics import get_main_metric

# Metrics are compared as they are printed, so that two equal printed values are called equal.
PRINTED_DECIMALS = 4


@dataclass(frozen=True)
class BaselineComparison:
    """The main metric of the network and of its baselines on the test rows.

    Attributes:
        metric: Name of the metric; higher is better.
        network_value: Value of the network.
        baseline_values: Value of each baseline that has the metric, by the baseline's name.
        better_baselines: Names of the baselines with a higher value.
        equal_baselines: Names of the baselines with the same value.
    """

    metric: str
    network_value: float
    baseline_values: Mapping[str, float]
    better_baselines: list[str]
    equal_baselines: list[str]


def compare_with_baselines(manifest: Manifest) -> BaselineComparison:
    """Compare the network of a bundle with its baselines."""
    test_metrics = manifest.metrics["test"]
    metric = get_main_metric(manifest.task, test_metrics)
    network_value = test_metrics[metric]
    baseline_values = {
        name: baseline.metrics[metric]
        for name, baseline in manifest.baselines.items()
        if metric in baseline.metrics
    }
    leads = {
        name: round(value, PRINTED_DECIMALS) - round(network_value, PRINTED_DECIMALS)
        for name, value in baseline_values.items()
    }
    return BaselineComparison(
        metric,
        network_value,
        baseline_values,
        better_baselines=[name for name, lead in leads.items() if lead > 0],
        equal_baselines=[name for name, lead in leads.items() if lead == 0],
    )


def suggest_preset(manifest: Manifest) -> str | None:
    """Return the name of a preset that may train a better network; None for the best one.

    A manifest of an earlier version lacks the preset; its defaults are those of `fast`.
    """
    presets = {"fast": "balanced", "balanced": "best"}
    return presets.get(str(manifest.training.config.get("preset", "fast")))


@dataclass(frozen=True)
class ConstantAnswer:
    """The score of a model that always answers the most frequent class.

    Attributes:
        answer: The most frequent class of the training rows.
        accuracy: Accuracy of this answer, 0 to 1.
        is_exact: Whether the accuracy was measured on the test rows; if not, it is the share of
            the class among the training rows.
    """

    answer: int | str
    accuracy: float
    is_exact: bool


def find_constant_answer(manifest: Manifest) -> ConstantAnswer | None:
    """Return the score of the most frequent class.

    Returns:
        None for regression, or if the manifest does not tell the shares of the classes.
    """
    if manifest.classes is None or manifest.class_shares is None:
        return None
    share = max(manifest.class_shares)
    answer = manifest.classes[manifest.class_shares.index(share)]
    baseline = manifest.baselines.get("majority")
    if baseline is None:
        return ConstantAnswer(answer, share, is_exact=False)
    return ConstantAnswer(answer, baseline.metrics["accuracy"], is_exact=True)
