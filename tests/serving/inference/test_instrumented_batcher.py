"""The number and age of queued rows that a batcher publishes in the shared counters."""

import gevent
import pytest
from gevent.event import Event

from serving.call_context import CallContext
from serving.inference.batching import Batcher, InstrumentedBatcher
from serving.telemetry.shared_counters import OLDEST_QUEUED_TIME, QUEUED_ROWS, SharedCounters


def make_context(rows, decoded_at):
    context = CallContext()
    context.rows, context.decoded_at = rows, decoded_at
    return context


def test_instrumented_batcher_publishes_rows_until_their_run_ends(monkeypatch):
    slot = SharedCounters().own_slot
    batcher = InstrumentedBatcher(slot)
    contexts = [make_context(2, 10.0), make_context(3, 11.0), make_context(5, 12.0)]
    done = {context: Event() for context in contexts}
    monkeypatch.setattr(Batcher, "run", lambda self, model, inputs, context: done[context].wait())

    def read_published():
        gevent.sleep(0.001)
        return slot.values[QUEUED_ROWS], slot.values[OLDEST_QUEUED_TIME]

    for context in contexts:
        gevent.spawn(batcher.run, None, {}, context)
    assert read_published() == (10, 10)
    done[contexts[1]].set()
    assert read_published() == (7, 10)
    done[contexts[0]].set()
    assert read_published() == (5, 12)
    done[contexts[2]].set()
    assert read_published() == (0, 0)


def test_instrumented_batcher_failed_run_removes_its_rows(monkeypatch):
    def fail(self, model, inputs, context):
        raise KeyError("the run")

    monkeypatch.setattr(Batcher, "run", fail)
    slot = SharedCounters().own_slot
    with pytest.raises(KeyError):
        InstrumentedBatcher(slot).run(None, {}, make_context(2, 10.0))
    assert (slot.values[QUEUED_ROWS], slot.values[OLDEST_QUEUED_TIME]) == (0, 0)
