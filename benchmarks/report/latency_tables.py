"""Tables of the latency benchmark: the highest rates sustained within a bound, in open loops."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.report.comparisons import Comparison, compare_ratio, make_range_table
from benchmarks.report.contender_names import (
    get_display_name,
    list_rival_ratios,
    sort_contenders,
)
from benchmarks.report.formatting import (
    NO_VALUE,
    format_count,
    format_number,
    format_percent,
    format_quartiles,
    format_table,
)
from benchmarks.report.plots import draw_bars, draw_lines
from benchmarks.report.provenance import describe_separate_runs

BENCHMARK = "serving, open loop"
MAIN_BOUND_MS = "20"  # of the four bounds, the one that is measured in several rounds
PUBLISHED = ROOT / "benchmarks" / "latency" / "published.json"

Result = Mapping[str, Any]


def read_published() -> dict[str, Any]:
    """Return the latency that KServe publishes."""
    published: dict[str, Any] = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return published


def _list_bounds(result: Result) -> list[str]:
    return [f"{bound:g}" for bound in result["bounds_ms"]]


def _list_bound_headings(result: Result) -> list[str]:
    return [f"p99 ≤ {bound} ms" for bound in _list_bounds(result)]


def describe_scenario(entry: Mapping[str, Any]) -> str:
    """Return rows, format and network of a scenario, such as `1 row, JSON, light`."""
    return f"{entry['load']}, {entry['network']}"


def make_rate_tables(result: Result) -> list[str]:
    """Return a table of the highest rates for each scenario."""
    return [_make_rate_table(result, entry) for entry in result["results"]]


def _make_rate_table(result: Result, entry: Mapping[str, Any]) -> str:
    rows = []
    for contender in sort_contenders(set(entry["sides"])):
        summary, name = entry["sides"][contender], get_display_name(contender)
        rows.append(
            [
                f"**{name}**" if contender == "ours" else name,
                *(_format_rate(summary["held"].get(bound)) for bound in _list_bounds(result)),
                format_number(summary["memory_mb"]),
            ]
        )
    return format_table([describe_scenario(entry), *_list_bound_headings(result), "MB"], rows)


def _format_rate(rate: Mapping[str, Any] | None) -> str:
    if rate is None:
        return ""
    if not rate["high"]:
        return "0"
    text = f"{'≥ ' if rate['limited'] else ''}{rate['median']:,.0f}"
    if len(rate["rounds"]) == 1:
        return text
    return f"{text} ({rate['low']:,.0f}–{rate['high']:,.0f})"


def make_summary_table(result: Result) -> str:
    """Return the table of the first scenario, with a note on contenders of separate runs."""
    table = _make_rate_table(result, result["results"][0])
    return "\n\n".join([table, *describe_separate_runs(result)])


def make_ratio_tables(result: Result) -> list[str]:
    """Return a table of our rates as a multiple of the rivals' for each scenario.

    Rivals that hold no bound are left out.
    """
    tables = []
    for entry in result["results"]:
        rows = []
        for ours, other, ratios in list_rival_ratios(entry["ratios"]):
            names = f"{get_display_name(ours)} / {get_display_name(other)}"
            cells = [format_quartiles(ratios.get(bound)) for bound in _list_bounds(result)]
            if set(cells) != {NO_VALUE}:
                rows.append([names, *cells])
        if rows:
            headings = [describe_scenario(entry), *_list_bound_headings(result)]
            tables.append(format_table(headings, rows))
    return tables


def make_agreement_table(result: Result) -> str:
    """Return the table that compares our load generator with wrk."""
    rows = []
    for entry in result["agreement"]:
        rows.append(
            [
                f"{format_count(entry['rows'], 'row')}, {format_count(entry['users'], 'user')}",
                *(
                    f"{format_number(c['requests_per_second'])} ({c['p50_ms']:.2f})"
                    for c in (entry["loadtest"], entry["wrk"])
                ),
                format_quartiles(entry["ratio"]["requests_per_second"]),
                format_quartiles(entry["ratio"]["p50_ms"]),
            ]
        )
    headings = ["requests/s (p50 in ms)", "`serving loadtest`", "wrk", "requests/s, ×", "p50, ×"]
    return format_table(headings, rows)


def make_published_table(result: Result) -> str:
    """Return the table of our latency and the one that KServe publishes."""
    published, machine = read_published(), result["machine"]
    rates = list(published["at"])
    ours = next((entry for entry in result["results"] if "ours" in entry["sides"]), None)
    our_rates = ours["sides"]["ours"]["held"] if ours else {}
    rows = [
        [
            "**forwardpass**",
            f"{ours['network']}, {ours['load']}" if ours else "",
            f"{machine['cpu']}, {machine['cores']} cores, shared with the client",
            *(_format_latency(result["at"].get(rate)) for rate in rates),
            *(_format_rate(our_rates.get(bound)) for bound in _list_bounds(result)),
        ],
        [
            f"[{published['name']}]({published['source']}): {published['path']}",
            published["model"],
            f"{published['machine']}; {published['client']}",
            *(_format_latency(published["at"][rate]) for rate in rates),
            *("not published" for _ in _list_bounds(result)),
        ],
    ]
    headings = [
        "",
        "model",
        "machine",
        *(f"p50 / p99 at {rate}/s, ms" for rate in rates),
        *(f"highest rate, {bound}" for bound in _list_bound_headings(result)),
    ]
    return format_table(headings, rows)


def _format_latency(latency: Mapping[str, float] | None) -> str:
    if latency is None:
        return NO_VALUE
    text = f"{latency['p50_ms']:,.6g} / {latency['p99_ms']:,.6g}"
    share = latency.get("success", 1)
    return f"{text}; {format_percent(share, 2)} answered" if share < 1 else text


def describe_failures(result: Result) -> str:
    """Return the errors of contenders that could not be measured; empty if there are none."""
    return " ".join(
        f"{get_display_name(name)}: {'; '.join(errors)}"
        for name, errors in result["failed"].items()
    )


def make_range_summary(result: Result) -> str:
    """Return the table of the range of our highest rates as a multiple of each rival's."""
    entry = result["results"][0]
    ratios = {}
    for ours, rival, by_bound in list_rival_ratios(entry["ratios"]):
        known = [(f"p99 ≤ {b} ms", r) for b, r in by_bound.items() if r["median"] is not None]
        if ours == "ours" and known:
            ratios[rival] = known
    return make_range_table(ratios)


def describe_result(result: Result) -> str:
    """Return our highest rate within the main bound, and as a multiple of the best-known servers'.

    Args:
        result: Results of the benchmark.
    """
    entry, bound = result["results"][0], MAIN_BOUND_MS
    rate = entry["sides"]["ours"]["held"][bound]["median"]
    ratios = {
        rival: entry["ratios"].get(f"ours / {rival}", {}).get(bound, {}).get("median")
        for rival in ("triton", "mosec", "mosec-batching", "fastapi")
    }
    shown = "; ".join(
        f"{format_number(ratio)} × {get_display_name(rival)}"
        for rival, ratio in ratios.items()
        if ratio is not None
    )
    return (
        f"Highest rate with p99 ≤ {bound} ms ({describe_scenario(entry)}): {rate:,.0f} requests/s; "
        f"{shown}."
    )


def draw(result: Result, folder: Path) -> None:
    """Draw the highest rates as bars and the 99th percentile by rate as lines."""
    bounds = _list_bounds(result)
    for number, entry in enumerate(result["results"], start=1):
        contenders = sort_contenders(set(entry["sides"]))
        rates = {
            get_display_name(name): [
                entry["sides"][name]["held"].get(bound, {}).get("median") for bound in bounds
            ]
            for name in contenders
        }
        path = folder / f"load-rate-{number}.svg"
        draw_bars(path, _list_bound_headings(result), rates, label="highest rate, requests/s")
        probes = {
            get_display_name(name): [
                (probe["rate"], probe["p99_ms"])
                for probe in entry["sides"][name]["probes"]
                if probe["p99_ms"] is not None and probe["p99_ms"] > 0
            ]
            for name in contenders
        }
        draw_lines(
            folder / f"load-p99-{number}.svg",
            probes,
            x_label="rate, requests/s",
            y_label="p99, ms",
            levels=result["bounds_ms"],
        )


def list_comparisons(result: Result) -> Iterator[Comparison]:
    """Yield the comparisons of the highest rates, and of our latency with the published one."""
    for entry in result["results"]:
        for ours, other, by_bound in list_rival_ratios(entry["ratios"]):
            for bound, ratio in by_bound.items():
                if None not in (ratio["median"], ratio["low"], ratio["high"]):
                    yield compare_ratio(
                        ratio,
                        is_more_better=True,
                        benchmark=BENCHMARK,
                        workload=f"{describe_scenario(entry)}, p99 ≤ {bound} ms",
                        measure="highest rate",
                        ours=ours,
                        other=other,
                    )
    published = read_published()
    for rate, latency in published["at"].items():
        if (our_latency := result["at"].get(rate)) is None:
            continue
        for measure in ("p50_ms", "p99_ms"):
            our_ms, other_ms = our_latency[measure], latency[measure]
            yield Comparison(
                BENCHMARK,
                f"{rate} requests/s, another machine and model",
                measure.removesuffix("_ms"),
                "ours",
                published["name"],
                f"{format_number(our_ms)} ms against {format_number(other_ms)} ms",
                is_behind=our_ms > other_ms,
                is_undecided=None,
            )
