"""The verdict of a load test in one sentence, and what to do about it."""

import re
from dataclasses import replace

import pytest

from serving.loadtest.objectives import evaluate_objectives, parse_objectives
from serving.loadtest.report.advice import advise, summarize_result


def build_results(statistics, *texts):
    return evaluate_objectives(statistics, parse_objectives(texts))


@pytest.fixture
def build(make_report, make_statistics):
    """Return a function that builds the report of a run without errors, with these objectives."""

    def build_report(*texts, **changes):
        statistics = changes.pop("statistics", None) or make_statistics(has_errors=False)
        return make_report(
            statistics=statistics, results=build_results(statistics, *texts), **changes
        )

    return build_report


def test_result_all_met_says_the_rate_and_the_median(build):
    report = build("p50=1s")
    assert summarize_result(report).startswith("All objectives were met: 200 correct answers per")
    assert "--find-capacity" in advise(report)


def test_result_missed_names_the_objective_its_value_and_its_bound(build):
    report = build("p50=1us", "p90=10s")
    found = report.results[0].formatted_value
    assert summarize_result(report) == (
        f"1 of 3 objectives missed: p50 was {found} (wanted: at most 0.001 ms)."
    )
    assert advise(report).startswith("Lower the rate, allow a higher latency")


def test_advice_closed_loop_speaks_of_users_instead_of_a_rate(build, make_statistics):
    statistics = make_statistics(has_errors=False, is_open_loop=False)
    assert advise(build("p50=1us", statistics=statistics)).startswith("Use fewer users")


def test_advice_too_few_requests_names_a_duration_that_is_enough(build):
    # 2,000 requests in 10 s; ten beyond p99.9 need 10,000 requests, which are 50 s.
    report = build("p99.9=10s")
    assert "p99.9 has too few measurements" in summarize_result(report)
    (seconds,) = re.findall(r"--duration (\d+)", advise(report))
    assert 50 < int(seconds) < 60


def test_advice_overloaded_server_names_the_rate_that_it_answered(build, make_statistics):
    statistics = replace(make_statistics(has_errors=False), is_falling_behind=True)
    assert "Lower the rate below 200 requests per second" in advise(
        build("p50=1us", statistics=statistics)
    )


def test_advice_generator_too_slow_precedes_advice_on_the_server(
    build, make_health, make_statistics
):
    statistics = replace(make_statistics(has_errors=False), is_falling_behind=True)
    report = build("p50=1us", statistics=statistics, generator=make_health("It was late."))
    assert advise(report).startswith("The load generator itself was too slow")
    assert "nothing has to change" in advise(build("p50=1s", generator=make_health("Late.")))


def test_advice_refused_requests_explain_503(build, make_statistics):
    statistics = replace(make_statistics(has_errors=False), error_counts={"503": 300})
    report = build("errors=0.1%", statistics=statistics)
    assert "503 means that the server refused requests" in advise(report)


def test_advice_failed_connections_point_to_the_servers_log(build, make_statistics):
    statistics = replace(
        make_statistics(has_errors=False), error_counts={"connection": 300}, sent_count=1700
    )
    report = build("errors=0.1%", statistics=statistics)
    assert "check that the server still runs" in advise(report)
    assert "because the server refused connections" in " ".join(report.warnings)


def test_advice_wrong_answers_precede_everything_else(build, make_statistics):
    report = build("p50=1s", statistics=make_statistics())
    assert advise(report).startswith("Some answers were wrong")


def test_advice_rate_missed_asks_whether_the_server_was_busy(build):
    assert advise(build("rate=5000")).startswith("Offer more requests per second")


def test_advice_nothing_answered_points_to_the_errors(make_report, empty_statistics):
    report = make_report(statistics=empty_statistics, server=None)
    assert summarize_result(report) == "No request was answered correctly."
    assert advise(report).startswith("Read the errors below")


def test_advice_without_objectives_names_the_option_that_sets_them(make_report, make_statistics):
    report = make_report(statistics=make_statistics(has_errors=False), results=())
    assert "--slo p99=50ms" in advise(report)
    assert summarize_result(report).startswith("The server gave 200 correct answers per second")


def test_advice_capacity_search_plans_for_a_reserve_or_for_other_objectives(
    make_report, probes, make_health
):
    found = make_report(probes=probes, capacity=400.0)
    assert advise(found).startswith("Plan for less than this rate")
    failed = make_report(probes=probes, capacity=None)
    assert summarize_result(failed).startswith("No rate met the objectives")
    assert advise(failed).startswith("Allow a higher latency")
    late = make_report(probes=probes, capacity=None, generator=make_health("It was late."))
    assert advise(late).startswith("The load generator itself was too slow")
