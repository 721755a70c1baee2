"""Waiting: how many rows wait for a run in each process, and for how long, for all to see."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from serving.bundle import Arrays
from serving.call_context import Call
from serving.inference.batching import Batcher
from serving.repository import ServedModel
from serving.telemetry.shared_counters import WAITING_ROWS, WAITING_SINCE, Slot


class WatchedBatcher(Batcher):
    """A batcher that shows what it holds.

    Args:
        slot: where.
        limits: of `Batcher`.
    """

    def __init__(self, slot: Slot, **limits: Any) -> None:
        super().__init__(**limits)
        self._numbers = slot.numbers
        self._calls: OrderedDict[Call, None] = OrderedDict()  # in the order they came
        self._rows = 0

    def run(self, model: ServedModel, inputs: Arrays, call: Call) -> Arrays:
        """As `Batcher`."""
        numbers, calls = self._numbers, self._calls
        if not calls:
            numbers[WAITING_SINCE] = call.decoded
        calls[call] = None
        self._rows += call.rows
        numbers[WAITING_ROWS] = self._rows
        try:
            return super().run(model, inputs, call)
        finally:
            del calls[call]
            self._rows -= call.rows
            numbers[WAITING_ROWS] = self._rows
            numbers[WAITING_SINCE] = next(iter(calls)).decoded if calls else 0.0
