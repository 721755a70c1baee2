"""Objectives as they are typed, and runs that keep them or do not."""

from types import SimpleNamespace

import numpy as np
import pytest

from serving.loadtest.objectives import (
    Objective,
    ObjectiveError,
    evaluate_objectives,
    parse_objectives,
)
from serving.loadtest.statistics import TimeDistribution


def run(times=(0.01,) * 1000, *, rate=100.0, share=0.0, seconds=10.0):
    """As much of figures as is judged."""
    return SimpleNamespace(
        latency=TimeDistribution.of(np.array(times, np.float64)),
        rate=rate,
        error_share=share,
        seconds=seconds,
    )


@pytest.mark.parametrize(
    ("text", "expected", "said"),
    [
        ("p99=50ms", Objective("latency", 0.05, 99.0), "p99 ≤ 50 ms"),
        ("p99.9=0.2s", Objective("latency", 0.2, 99.9), "p99.9 ≤ 200 ms"),
        ("p50=800us", Objective("latency", 0.0008, 50.0), "p50 ≤ 0.8 ms"),
        ("p50=800µs", Objective("latency", 0.0008, 50.0), "p50 ≤ 0.8 ms"),
        ("p99.999=3s", Objective("latency", 3.0, 99.999), "p99.999 ≤ 3 s"),
        ("errors=0.1%", Objective("errors", 0.001), "errors ≤ 0.1 %"),
        ("errors=0", Objective("errors", 0.0), "errors ≤ 0 %"),
        ("rate=500", Objective("rate", 500.0), "rate ≥ 500/s"),
    ],
)
def test_an_objective_is_read_and_told(text, expected, said):
    (found,) = parse_objectives([text])
    assert found.kind == expected.kind
    assert found.bound == pytest.approx(expected.bound)
    assert found.percentile == expected.percentile
    assert str(found) == said


def test_several_come_with_commas_or_repeated():
    assert [o.name for o in parse_objectives(["p99=50ms, errors=1%", "rate=5"])] == [
        "p99",
        "errors",
        "rate",
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "''"),
        ("p99", "'p99'"),
        ("p99=50", "'p99=50'"),
        ("p99<50ms", "'p99<50ms'"),
        ("p99=-1ms", "'p99=-1ms'"),
        ("p99=0ms", "above 0"),
        ("p100=50ms", "between 0 and 100"),
        ("p0=50ms", "between 0 and 100"),
        ("errors=1", "'errors=1'"),
        ("errors=101%", "up to 100%"),
        ("rate=fast", "'rate=fast'"),
        ("p99=50ms,", "''"),
        ("p99=nanms", "'p99=nanms'"),
    ],
)
def test_what_cannot_be_held_to_is_refused_with_what_to_write(text, named):
    with pytest.raises(ObjectiveError) as refused:
        parse_objectives([text])
    message = str(refused.value)
    assert message.startswith("expected ")
    assert named in message
    assert "; write " in message


@pytest.mark.parametrize(
    ("figures", "text", "met"),
    [
        (run([0.049] * 1000), "p99=50ms", True),
        (run([0.051] * 1000), "p99=50ms", False),
        (run([0.001] * 989 + [0.2] * 11), "p99=50ms", False),
        (run([0.001] * 990 + [0.2] * 10), "p99=50ms", True),
        (run([0.001] * 1980 + [0.2] * 20), "p98.5=50ms", True),  # not among those told
        (run([0.001] * 1980 + [0.2] * 20), "p99.2=50ms", False),
        (run(share=0.001), "errors=0.1%", True),
        (run(share=0.0011), "errors=0.1%", False),
        (run(rate=500), "rate=500", True),
        (run(rate=490), "rate=500", True),  # Poisson: 5000 ± 71
        (run(rate=480), "rate=500", False),
    ],
)
def test_a_run_is_held_to_it(figures, text, met):
    assert evaluate_objectives(figures, parse_objectives([text]))[0].met is met


def test_a_server_that_refuses_all_is_not_fast():
    verdicts = evaluate_objectives(run(share=0.9), parse_objectives(["p99=50ms"]))
    assert [(str(v.objective), v.met) for v in verdicts] == [
        ("p99 ≤ 50 ms", True),
        ("errors ≤ 0.1 %", False),
    ]


@pytest.mark.parametrize("texts", [["errors=1%", "p99=1s"], ["rate=50"], []])
def test_errors_are_added_only_where_times_are_asked_for_alone(texts):
    assert len(evaluate_objectives(run(), parse_objectives(texts))) == len(texts)


def test_too_few_requests_for_a_percentile_are_told():
    verdict = evaluate_objectives(run([0.001] * 999), parse_objectives(["p99.9=50ms"]))[0]
    assert not verdict.met
    assert "10,000 requests are needed to tell, 999 were timed" in verdict.reason
    assert verdict.found == pytest.approx(0.001)


def test_a_run_without_answers_meets_nothing():
    verdict = evaluate_objectives(run([], rate=0.0, share=1.0), parse_objectives(["p50=1s"]))[0]
    assert (verdict.met, verdict.found, verdict.told) == (False, None, "–")
    assert verdict.as_json()["found"] is None


def test_a_verdict_reads_as_a_line():
    assert (
        str(evaluate_objectives(run(), parse_objectives(["p99=50ms"]))[0])
        == "p99 ≤ 50 ms: met, 10 ms"
    )
