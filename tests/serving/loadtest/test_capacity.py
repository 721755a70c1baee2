"""The capacity search, on simulated servers whose capacity follows from a formula."""

import numpy as np
import pytest

from serving.loadtest.capacity import CapacitySearch
from serving.loadtest.generator_health import GeneratorHealth
from serving.loadtest.objectives import parse_objectives
from serving.loadtest.run_record import PreparedRequest, RunRecord
from serving.loadtest.statistics import compute_statistics

IDLE = GeneratorHealth(0.1, 0.0, None, None)
REQUESTS = [PreparedRequest(b"", 1, None, lambda _: None)]


def make_statistics(latency, seconds=2.0, status=200):
    """Return the statistics of a run with these latencies, at equal intervals."""
    count = len(latency)
    due_at = np.linspace(0, seconds, count, endpoint=False)
    record = RunRecord(
        due_at=due_at,
        sent_at=due_at,
        ended_at=due_at + latency,
        status=np.full(count, status, np.int16),
        request_index=np.zeros(count, np.int32),
        send_delay=np.zeros(count),
        load_seconds=seconds,
        wall_seconds=seconds,
        cpu_seconds=0.1,
        busy_seconds=0.2,
        is_open_loop=True,
        max_connections=64,
    )
    return compute_statistics(record, REQUESTS, count / seconds)


class SimulatedServer:
    """A server with an M/M/1 queue: latency is exponential with the mean 1 / (service_rate - rate).

    Args:
        service_rate: Requests per second that the server can answer.
        stalled_probes: Positions of the probes in which the server hangs, counted from 1.
    """

    def __init__(self, service_rate, stalled_probes=()):
        self.service_rate, self.stalled_probes = service_rate, set(stalled_probes)
        self.probed_rates = []
        self.rng = np.random.default_rng(1)

    def __call__(self, rate):
        self.probed_rates.append(rate)
        count = max(2000, int(2 * rate))
        hangs = rate >= self.service_rate or len(self.probed_rates) in self.stalled_probes
        mean = 10.0 if hangs else 1 / (self.service_rate - rate)
        return make_statistics(self.rng.exponential(mean, count)), IDLE


@pytest.mark.slow
@pytest.mark.parametrize("bound", [5, 20, 100])
@pytest.mark.parametrize("start_rate", [10, 900, 50_000])
def test_search_any_start_rate_finds_analytic_capacity(bound, start_rate):
    search = CapacitySearch(SimulatedServer(5000))
    rate = search.find_highest_rate(parse_objectives([f"p99={bound}ms"]), start_rate)
    # The p99 of an exponential latency is ln(100) times its mean.
    expected = 5000 - np.log(100) / (bound / 1000)
    assert rate == pytest.approx(expected, rel=0.08)


@pytest.mark.slow
def test_search_one_stalled_probe_per_rate_does_not_change_result():
    clean, stalling = SimulatedServer(5000), SimulatedServer(5000, stalled_probes=[1, 4])
    objectives = parse_objectives(["p99=20ms"])
    assert CapacitySearch(stalling).find_highest_rate(objectives, 1000) == pytest.approx(
        CapacitySearch(clean).find_highest_rate(objectives, 1000), rel=0.1
    )
    assert stalling.probed_rates[0] == stalling.probed_rates[1]  # probed again


def test_search_latency_grows_below_bound_rate_is_not_sustained():
    def serve(rate):  # answers 5,000 requests per second; the rest waits in a queue
        due_at = np.arange(2000) / rate
        excess = max(0.0, rate / 5000 - 1)
        return make_statistics(0.002 + excess * due_at, 2000 / rate), IDLE

    # In the 0.4 s of a probe the latency reaches 100 ms only at 1.25 times the service rate.
    # Without the check for growth, the search would find a rate 25 % too high.
    rate = CapacitySearch(serve).find_highest_rate(parse_objectives(["p99=100ms"]), 4000)
    assert 4700 < rate < 5100


@pytest.mark.slow
def test_search_again_with_another_bound_reuses_probes():
    server = SimulatedServer(5000)
    search = CapacitySearch(server)
    search.find_highest_rate(parse_objectives(["p99=20ms"]), 1000)
    first_count = len(server.probed_rates)
    search.find_highest_rate(parse_objectives(["p99=20ms"]), 1000)
    assert len(server.probed_rates) == first_count
    search.find_highest_rate(parse_objectives(["p99=100ms"]), 1000)
    assert len(server.probed_rates) - first_count < first_count


def test_search_server_too_slow_for_any_rate_ends_with_zero():
    server = SimulatedServer(1)
    search = CapacitySearch(server)
    assert search.find_highest_rate(parse_objectives(["p99=1ms"]), 100) == 0
    assert len(server.probed_rates) < 20


def test_search_server_that_refuses_quickly_sustains_nothing():
    def refuse(_rate):
        return make_statistics(np.full(4000, 1e-4), status=503), IDLE

    search = CapacitySearch(refuse, max_probes=4)
    assert search.find_highest_rate(parse_objectives(["p99=20ms"]), 100) == 0


@pytest.mark.slow
def test_list_probes_are_sorted_by_rate_and_judged():
    search = CapacitySearch(SimulatedServer(5000))
    objectives = parse_objectives(["p99=20ms"])
    highest = search.find_highest_rate(objectives, 1000)
    probes = search.list_probes(objectives)
    assert [probe.rate for probe in probes] == sorted(probe.rate for probe in probes)
    assert max(probe.rate for probe in probes if probe.is_sustained) == highest
    assert any(not probe.is_sustained for probe in probes)
