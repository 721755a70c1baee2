"""Reports of synthetic runs, with all that a report can hold."""

from collections import Counter

import numpy as np
import pytest

from serving.loadtest.capacity import RateProbe
from serving.loadtest.generator_health import GeneratorHealth
from serving.loadtest.objectives import evaluate_objectives, parse_objectives
from serving.loadtest.report import LoadTestReport
from serving.loadtest.run_record import TIMED_OUT, WRONG_ANSWER, PreparedRequest, RunRecord
from serving.loadtest.server_metrics import HistogramSummary, PercentileBounds, ServerMetrics
from serving.loadtest.statistics import compute_statistics

CALLS = [PreparedRequest(b"", 4, None, lambda body: None)]
OBJECTIVES = parse_objectives(["p99=50ms", "p50=20ms", "p99.99=1s"])


def run(rate=200.0, *, seconds=10.0, stall=1.0, errors=True, open_loop=True, seed=0):
    """Figures of a server that stands still once, with errors of several kinds."""
    rng = np.random.default_rng(seed)
    due = np.arange(int(rate * seconds)) / rate
    waits = (due > 4) & (due < 4 + stall)
    sent = np.where(waits, 4 + stall, due)
    status = np.full(len(due), 200, np.int16)
    if errors:
        status[::97], status[1::211], status[2::503] = 503, WRONG_ANSWER, TIMED_OUT
    faults = {"expected class 3 in instance 0, got 4": 9, "status 503: \x1b[31mfull": 21}
    return compute_statistics(
        RunRecord(
            due=due,
            sent=sent,
            ended=sent + rng.lognormal(-6, 0.5, len(due)),
            status=status,
            call=np.zeros(len(due), np.int32),
            late=rng.exponential(2e-4, len(due)),
            seconds=seconds,
            wall=seconds,
            busy=0.1,
            processor=0.3,
            open_loop=open_loop,
            connections=64,
            faults=Counter(faults if errors else {}),
        ),
        CALLS,
        rate if open_loop else None,
    )


def spread(mean):
    bounds = {
        "p50": PercentileBounds(1e-3, 2.5e-3, 2e-3),
        "p90": PercentileBounds(2.5e-3, 5e-3, 3e-3),
        "p99": PercentileBounds(10.0, float("inf"), 10.0),
    }
    return HistogramSummary(1998, mean, bounds)


def limits(**given):
    return GeneratorHealth(
        **{"processor_share": 0.031, "late_p99_ms": 0.87, "most": 31234.0, "verdict": None, **given}
    )


@pytest.fixture(scope="session")
def run_of():
    """Builds figures: `run` above."""
    return run


@pytest.fixture(scope="session")
def limits_of():
    """Builds what the generator can do; what is given replaces what it holds."""
    return limits


@pytest.fixture(scope="session")
def report():
    """Builds a report; what is given replaces what it holds."""

    def build(**given):
        found = given.pop("figures", None) or run()
        server = ServerMetrics(
            1998,
            spread(1.83e-3),
            {"decode": spread(1.1e-4), "run": spread(4.2e-4)},
            HistogramSummary(1998, 7.25, {}),
            {"503": 21, "429": 3},
        )
        held = {
            "target": "digits/1 at http://127.0.0.1:8000",
            "command": "python -m serving loadtest --rate 200",
            "load": "open loop, 200 requests/s for 10 s, 4 rows each, JSON",
            "verdicts": evaluate_objectives(found, OBJECTIVES),
            "server_side": server,
            "limits": limits(),
            "machine": {"processor": "Xeon <4>", "cores": "2", "python": "3.11.9"},
        }
        return LoadTestReport(figures=found, **{**held, **given})

    return build


@pytest.fixture(scope="session")
def probes():
    """Steps of a search of capacity; the third does not hold."""
    return tuple(
        RateProbe(rate, run(rate, stall=0.0 if held else 2.0, errors=False), limits(), held)
        for rate, held in ((400.0, True), (100.0, True), (800.0, False))
    )


@pytest.fixture(scope="session")
def nothing():
    """Figures of a run that nothing came of."""
    none = np.empty(0)
    return compute_statistics(
        RunRecord(
            due=none,
            sent=none,
            ended=none,
            status=none.astype(np.int16),
            call=none.astype(np.int32),
            late=none,
            seconds=5.0,
            wall=5.0,
            processor=0.0,
            busy=0.0,
            open_loop=True,
            connections=0,
        ),
        CALLS,
        5.0,
    )
