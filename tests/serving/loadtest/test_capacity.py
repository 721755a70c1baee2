"""The search, on servers whose capacity is known because they are formulas."""

import numpy as np
import pytest

from serving.loadtest.capacity import CapacitySearch
from serving.loadtest.generator_health import GeneratorHealth
from serving.loadtest.objectives import parse_objectives
from serving.loadtest.run_record import PreparedRequest, RunRecord
from serving.loadtest.statistics import compute_statistics

IDLE = GeneratorHealth(0.1, 0.0, None, None)
CALLS = [PreparedRequest(b"", 1, None, lambda _: None)]


def figures_of(latency, seconds=2.0, status=200):
    n = len(latency)
    due = np.linspace(0, seconds, n, endpoint=False)
    record = RunRecord(
        due=due,
        sent=due,
        ended=due + latency,
        status=np.full(n, status, np.int16),
        call=np.zeros(n, np.int32),
        late=np.zeros(n),
        seconds=seconds,
        wall=seconds,
        processor=0.1,
        busy=0.2,
        open_loop=True,
        connections=64,
    )
    return compute_statistics(record, CALLS, n / seconds)


class Queue:
    """M/M/1: a sojourn time is exponential, with the mean 1 / (served - rate)."""

    def __init__(self, served, hiccups=()):
        self.served, self.hiccups = served, set(hiccups)
        self.asked = []
        self.rng = np.random.default_rng(1)

    def p99(self, rate):
        return np.log(100) / (self.served - rate)

    def __call__(self, rate):
        self.asked.append(rate)
        count = max(2000, int(2 * rate))
        late = rate >= self.served or len(self.asked) in self.hiccups
        mean = 10.0 if late else 1 / (self.served - rate)
        return figures_of(self.rng.exponential(mean, count)), IDLE


@pytest.mark.slow
@pytest.mark.parametrize("bound", [5, 20, 100])
@pytest.mark.parametrize("start", [10, 900, 50_000])
def test_the_highest_rate_is_where_the_formula_has_it(bound, start):
    queue = Queue(5000)
    held = CapacitySearch(queue).highest(parse_objectives([f"p99={bound}ms"]), start)
    right = 5000 - np.log(100) / (bound / 1000)
    assert held == pytest.approx(right, rel=0.08)


@pytest.mark.slow
def test_a_hiccup_of_the_machine_decides_nothing():
    clean, shaken = Queue(5000), Queue(5000, hiccups=[1, 4])
    objectives = parse_objectives(["p99=20ms"])
    assert CapacitySearch(shaken).highest(objectives, 1000) == pytest.approx(
        CapacitySearch(clean).highest(objectives, 1000), rel=0.1
    )
    assert shaken.asked[0] == shaken.asked[1]  # tried again


def test_a_queue_that_grows_is_not_held_though_it_is_within_the_bound():
    def serve(rate):  # 5,000 a second at most; what is above that waits
        due = np.arange(2000) / rate
        excess = max(0.0, rate / 5000 - 1)
        return figures_of(0.002 + excess * due, 2000 / rate), IDLE

    # In the 0.4 s that a probe takes the wait comes to 100 ms only at 1.25 times what it answers.
    held = CapacitySearch(serve).highest(parse_objectives(["p99=100ms"]), 4000)
    assert 4700 < held < 5100


@pytest.mark.slow
def test_what_was_tried_for_one_bound_counts_for_the_next():
    queue = Queue(5000)
    search = CapacitySearch(queue)
    search.highest(parse_objectives(["p99=20ms"]), 1000)
    first = len(queue.asked)
    search.highest(parse_objectives(["p99=20ms"]), 1000)
    assert len(queue.asked) == first
    search.highest(parse_objectives(["p99=100ms"]), 1000)
    assert len(queue.asked) - first < first


def test_a_server_that_holds_nothing_ends_the_search():
    queue = Queue(1)
    assert CapacitySearch(queue).highest(parse_objectives(["p99=1ms"]), 100) == 0
    assert len(queue.asked) < 20


def test_a_server_that_refuses_quickly_holds_nothing():
    def refuse(rate):
        return figures_of(np.full(4000, 1e-4), status=503), IDLE

    assert CapacitySearch(refuse, most=4).highest(parse_objectives(["p99=20ms"]), 100) == 0


@pytest.mark.slow
def test_probes_are_told_by_rate_and_judged():
    search = CapacitySearch(Queue(5000))
    objectives = parse_objectives(["p99=20ms"])
    held = search.highest(objectives, 1000)
    probes = search.probes(objectives)
    assert [p.rate for p in probes] == sorted(p.rate for p in probes)
    assert max(p.rate for p in probes if p.held) == held
    assert any(not p.held for p in probes)
