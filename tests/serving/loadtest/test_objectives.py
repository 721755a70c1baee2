"""Objectives as they are typed, and runs that meet or miss them."""

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


def make_statistics(times=(0.01,) * 1000, *, throughput=100.0, error_share=0.0, load_seconds=10.0):
    """Return statistics with the values that objectives refer to."""
    return SimpleNamespace(
        latency=TimeDistribution.from_seconds(np.array(times, np.float64)),
        throughput=throughput,
        error_share=error_share,
        load_seconds=load_seconds,
    )


@pytest.mark.parametrize(
    ("text", "expected", "formatted"),
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
def test_objective_is_parsed_and_formatted(text, expected, formatted):
    (objective,) = parse_objectives([text])
    assert objective.kind == expected.kind
    assert objective.bound == pytest.approx(expected.bound)
    assert objective.percentile == expected.percentile
    assert str(objective) == formatted


def test_objectives_separated_by_commas_or_repeated_are_all_parsed():
    objectives = parse_objectives(["p99=50ms, errors=1%", "rate=5"])
    assert [objective.name for objective in objectives] == ["p99", "errors", "rate"]


@pytest.mark.parametrize(
    ("text", "quoted"),
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
def test_objective_invalid_is_refused_with_an_example(text, quoted):
    with pytest.raises(ObjectiveError) as refused:
        parse_objectives([text])
    message = str(refused.value)
    assert message.startswith("expected ")
    assert quoted in message
    assert "; write " in message


@pytest.mark.parametrize(
    ("statistics", "text", "is_met"),
    [
        (make_statistics([0.049] * 1000), "p99=50ms", True),
        (make_statistics([0.051] * 1000), "p99=50ms", False),
        (make_statistics([0.001] * 989 + [0.2] * 11), "p99=50ms", False),
        (make_statistics([0.001] * 990 + [0.2] * 10), "p99=50ms", True),
        # Percentiles that are not in the report.
        (make_statistics([0.001] * 1980 + [0.2] * 20), "p98.5=50ms", True),
        (make_statistics([0.001] * 1980 + [0.2] * 20), "p99.2=50ms", False),
        (make_statistics(error_share=0.001), "errors=0.1%", True),
        (make_statistics(error_share=0.0011), "errors=0.1%", False),
        (make_statistics(throughput=500), "rate=500", True),
        (make_statistics(throughput=490), "rate=500", True),  # within Poisson's 5000 ± 2 · 71
        (make_statistics(throughput=480), "rate=500", False),
    ],
)
def test_evaluate_value_at_or_beyond_the_bound_is_met_or_missed(statistics, text, is_met):
    assert evaluate_objectives(statistics, parse_objectives([text]))[0].is_met is is_met


def test_evaluate_fast_server_with_errors_misses_the_default_error_objective():
    statistics = make_statistics(error_share=0.9)
    results = evaluate_objectives(statistics, parse_objectives(["p99=50ms"]))
    assert [(str(result.objective), result.is_met) for result in results] == [
        ("p99 ≤ 50 ms", True),
        ("errors ≤ 0.1 %", False),
    ]


@pytest.mark.parametrize("texts", [["errors=1%", "p99=1s"], ["rate=50"], []])
def test_evaluate_without_latency_or_with_errors_adds_no_objective(texts):
    assert len(evaluate_objectives(make_statistics(), parse_objectives(texts))) == len(texts)


def test_evaluate_too_few_requests_for_the_percentile_is_missed_with_a_reason():
    statistics = make_statistics([0.001] * 999)
    result = evaluate_objectives(statistics, parse_objectives(["p99.9=50ms"]))[0]
    assert not result.is_met
    assert "needs 10,000 requests, 999 were measured" in result.reason
    assert result.measured == pytest.approx(0.001)


def test_evaluate_run_without_answers_is_missed_without_a_value():
    statistics = make_statistics([], throughput=0.0, error_share=1.0)
    result = evaluate_objectives(statistics, parse_objectives(["p50=1s"]))[0]
    assert (result.is_met, result.measured, result.formatted_value) == (False, None, "–")
    assert result.as_json()["found"] is None


def test_result_is_formatted_in_one_line():
    (result, _) = evaluate_objectives(make_statistics(), parse_objectives(["p99=50ms"]))
    assert str(result) == "p99 ≤ 50 ms: met, 10 ms"
