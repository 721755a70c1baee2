"""Reloads: how often versions were taken up, and what became of it."""

from __future__ import annotations

from serving.telemetry.metric_definitions import RELOADS
from serving.telemetry.shared_counters import SharedCounters


def count_reload(model: str, outcome: str) -> None:
    """One more attempt to serve another version of a model.

    Args:
        model: its name, as a folder of the repository has it.
        outcome: one of "served", "held", "refused", "unloaded".
    """
    slot = SharedCounters.get_current().own
    slot.numbers[slot.series(RELOADS, (model, outcome))] += 1.0
