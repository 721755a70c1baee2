"""How many rows wait, for all to see."""

import gevent
import pytest
from gevent.event import Event

from serving.call_context import CallContext
from serving.inference.batching import Batcher, InstrumentedBatcher
from serving.telemetry.shared_counters import OLDEST_QUEUED_TIME, QUEUED_ROWS, SharedCounters


def call(rows, decoded):
    made = CallContext()
    made.rows, made.decoded = rows, decoded
    return made


def test_what_waits_is_shown_for_as_long_as_it_does(monkeypatch):
    slot = SharedCounters().own
    batcher = InstrumentedBatcher(slot)
    calls = [call(2, 10.0), call(3, 11.0), call(5, 12.0)]
    done = {one: Event() for one in calls}
    monkeypatch.setattr(Batcher, "run", lambda self, model, inputs, call: done[call].wait())

    def shown():
        gevent.sleep(0.001)
        return slot.values[QUEUED_ROWS], slot.values[OLDEST_QUEUED_TIME]

    for one in calls:
        gevent.spawn(batcher.run, None, {}, one)
    assert shown() == (10, 10)
    done[calls[1]].set()
    assert shown() == (7, 10)
    done[calls[0]].set()
    assert shown() == (5, 12)
    done[calls[2]].set()
    assert shown() == (0, 0)


def test_what_fails_waits_no_more(monkeypatch):
    def fail(self, model, inputs, call):
        raise KeyError("the run")

    monkeypatch.setattr(Batcher, "run", fail)
    slot = SharedCounters().own
    with pytest.raises(KeyError):
        InstrumentedBatcher(slot).run(None, {}, call(2, 10.0))
    assert (slot.values[QUEUED_ROWS], slot.values[OLDEST_QUEUED_TIME]) == (0, 0)
