"""Waiting: how many rows wait for a run in each process, and for how long, for all to see."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from serving.bundle import Arrays
from serving.call_context import CallContext
from serving.inference.batching import Batcher
from serving.repository import ServedModel
from serving.telemetry.shared_counters import OLDEST_QUEUED_TIME, QUEUED_ROWS, WorkerSlot


class InstrumentedBatcher(Batcher):
    """A batcher that shows what it holds.

    Args:
        slot: where.
        limits: of `Batcher`.
    """

    def __init__(self, slot: WorkerSlot, **limits: Any) -> None:
        super().__init__(**limits)
        self._numbers = slot.numbers
        self._calls: OrderedDict[CallContext, None] = OrderedDict()  # in the order they came
        self._rows = 0

    def run(self, model: ServedModel, inputs: Arrays, call: CallContext) -> Arrays:
        """As `Batcher`."""
        numbers, calls = self._numbers, self._calls
        if not calls:
            numbers[OLDEST_QUEUED_TIME] = call.decoded
        calls[call] = None
        self._rows += call.rows
        numbers[QUEUED_ROWS] = self._rows
        try:
            return super().run(model, inputs, call)
        finally:
            del calls[call]
            self._rows -= call.rows
            numbers[QUEUED_ROWS] = self._rows
            numbers[OLDEST_QUEUED_TIME] = next(iter(calls)).decoded if calls else 0.0
