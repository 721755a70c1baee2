"""The verdict of a report in one sentence, and the sentence that says what to do about it."""

from __future__ import annotations

import math
from http import HTTPStatus

from serving.loadtest.objectives import ObjectiveResult
from serving.loadtest.report.content import LoadTestReport
from serving.loadtest.report.formatting import format_count, format_duration, format_rate
from serving.loadtest.run_record import CONNECTION_FAILED, STATUS_NAMES, WRONG_ANSWER
from serving.loadtest.statistics import MIN_REQUESTS_BEYOND

# Margin of the recommended duration, since random arrivals vary in number.
DURATION_MARGIN = 1.1
GENERATOR_ADVICE = (
    "The load generator itself was too slow, so the missed latency says nothing about the server: "
    "lower the load, or run the test from another machine."
)


def summarize_result(report: LoadTestReport) -> str:
    """Return the verdict in one sentence.

    Args:
        report: Results of the load test.
    """
    statistics = report.statistics
    if report.probes:
        if report.capacity is None:
            return "No rate met the objectives for the whole duration."
        return f"{format_rate(report.capacity)} requests per second met the objectives."
    if not statistics.answered_count:
        return "No request was answered correctly."
    median = format_duration(statistics.latency.percentiles["p50"])
    summary = (
        f"{format_rate(statistics.throughput)} correct answers per second, half of them "
        f"within {median}"
    )
    if report.objectives_met is None:
        return f"The server gave {summary}."
    missed = [result for result in report.results if not result.is_met]
    if not missed:
        return f"All objectives were met: {summary}."
    names = ", ".join(_describe_miss(result) for result in missed)
    return f"{len(missed)} of {format_count(len(report.results), 'objective')} missed: {names}."


def advise(report: LoadTestReport) -> str:
    """Return one sentence, or two, that say what to do about the verdict.

    The first reason that applies is named: a fault of the measurement comes before one of the
    server, since it makes the other results meaningless.

    Args:
        report: Results of the load test.
    """
    statistics = report.statistics
    if report.probes:
        return _advise_capacity(report)
    if not statistics.answered_count:
        return "Read the errors below and the server's log, then run the test again."
    if STATUS_NAMES[WRONG_ANSWER] in statistics.error_counts:
        return "Some answers were wrong: read the errors below before you trust this server."
    if not report.results:
        return (
            "No objectives were given, so there is no verdict: add for example --slo p99=50ms "
            "to get one."
        )
    if missed := [result for result in report.results if not result.is_met]:
        return _advise_missed(report, missed)
    return "At this load nothing has to change; --find-capacity searches for the highest rate."


def _advise_capacity(report: LoadTestReport) -> str:
    if report.capacity is None and report.generator.warning is not None:
        return GENERATOR_ADVICE
    if report.capacity is None:
        return (
            "Allow a higher latency in --slo, send fewer rows per request, or give the server "
            "more processor cores."
        )
    return (
        "Plan for less than this rate, so that there is a reserve for peaks. The result holds for "
        "this machine, these requests and these objectives only."
    )


def _advise_missed(report: LoadTestReport, missed: list[ObjectiveResult]) -> str:
    statistics = report.statistics
    kinds = {result.objective.kind for result in missed}
    too_few = [result.objective for result in missed if result.reason]
    is_too_short = len(too_few) == len(missed)
    if report.generator.warning is not None and "latency" in kinds and not is_too_short:
        advice = GENERATOR_ADVICE
    elif statistics.is_falling_behind:
        advice = (
            "The server was overloaded. Lower the rate below "
            f"{format_rate(statistics.throughput)} requests per second, which is what it answered, "
            "or give it more processor cores."
        )
    elif "errors" in kinds:
        advice = "Read the errors below."
        if str(HTTPStatus.SERVICE_UNAVAILABLE.value) in statistics.error_counts:
            advice += (
                " 503 means that the server refused requests because it was overloaded or not "
                "ready: lower the load, or give it more processor cores."
            )
        if STATUS_NAMES[CONNECTION_FAILED] in statistics.error_counts:
            advice += " Connections failed: check that the server still runs, and read its log."
    elif is_too_short:
        percentile = max(objective.percentile for objective in too_few)
        needed = 100 * MIN_REQUESTS_BEYOND / (100 - percentile)
        seconds = statistics.load_seconds * needed / statistics.latency.count
        advice = (
            "The test was too short to judge the missed objectives: run it with --duration "
            f"{math.ceil(DURATION_MARGIN * seconds)}, or choose a lower percentile."
        )
    elif "latency" in kinds:
        load = "Lower the rate" if statistics.is_open_loop else "Use fewer users"
        advice = f"{load}, allow a higher latency, or see below where the server spends the time."
    else:
        advice = (
            "Offer more requests per second if the server was not busy; otherwise it needs more "
            "processor cores."
        )
    return advice


def _describe_miss(result: ObjectiveResult) -> str:
    """Return a missed objective, such as `p99 was 71.2 ms, not at most 50 ms`."""
    objective = result.objective
    if result.measured is None or result.reason:
        return f"{objective.name} has too few measurements"
    bound = objective.format_value(objective.bound)
    limit = "at least" if objective.kind == "rate" else "at most"
    name = {"errors": "the share of errors", "rate": "the rate"}.get(objective.kind, objective.name)
    return f"{name} was {result.formatted_value} (wanted: {limit} {bound})"
