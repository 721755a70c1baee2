"""Tables of the throughput benchmark: requests per second, latency and memory in closed loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report.comparisons import Comparison, compare_ratio, make_range_table
from benchmarks.report.contender_names import get_display_name, list_rival_ratios, sort_contenders
from benchmarks.report.formatting import format_count, format_number, format_quartiles, format_table
from benchmarks.report.plots import draw_bars
from benchmarks.report.provenance import describe_separate_runs

BENCHMARK = "serving, closed loop"
# Name of each measure as it is shown, and whether more is better.
MEASURES = {
    "requests_per_second": ("requests/s", True),
    "p50_ms": ("p50", False),
    "p99_ms": ("p99", False),
    "memory_mb": ("memory", False),
}

Result = Mapping[str, Any]


def list_workloads(result: Result) -> list[Mapping[str, Any]]:
    """Return the workloads under which several contenders were measured."""
    return [entry for entry in result["results"] if len(entry["sides"]) > 1]


def _list_contenders(result: Result) -> list[str]:
    return sort_contenders({name for entry in list_workloads(result) for name in entry["sides"]})


def describe_workload(entry: Mapping[str, Any]) -> str:
    """Return network, rows and clients of a workload, such as `heavy, 1 row, 32 clients`."""
    network = "heavy, " if entry["network"] == "heavy" else ""
    rows = format_count(entry["rows"], "row")
    return f"{network}{rows}, {format_count(entry['connections'], 'client')}"


def format_memory(result: Result, contender: str) -> str:
    """Return the largest memory of a contender under the workloads of the light network, in MB."""
    memory_mb = [
        entry["sides"][contender]["memory_mb"]
        for entry in list_workloads(result)
        if entry["network"] == "light" and contender in entry["sides"]
    ]
    return format_number(max(memory_mb)) if memory_mb else ""


def make_summary_table(result: Result) -> str:
    """Return the table of all servers, with a note on those of separate runs."""
    rows = []
    for contender in _list_contenders(result):
        summaries = [entry["sides"].get(contender) for entry in list_workloads(result)]
        cells = [
            f"{s['requests_per_second']:,.0f} ({s['p99_ms']:.1f})" if s else "" for s in summaries
        ]
        name = get_display_name(contender)
        shown_name = f"**{name}**" if contender == "ours" else name
        rows.append([shown_name, *cells, format_memory(result, contender)])
    workloads = map(describe_workload, list_workloads(result))
    table = format_table(["requests/s (p99 in ms)", *workloads, "MB"], rows)
    return "\n\n".join([table, *describe_separate_runs(result)])


def make_ratio_table(result: Result, measure: str) -> str:
    """Return the table of our ratios to the others, for one measure."""
    rows = []
    for contender in _list_contenders(result):
        ratios = [entry["ratios"].get(f"ours / {contender}") for entry in list_workloads(result)]
        if any(ratios):
            cells = (format_quartiles(ratio[measure]) if ratio else "" for ratio in ratios)
            rows.append([get_display_name(contender), *cells])
    workloads = map(describe_workload, list_workloads(result))
    return format_table(["ours / theirs", *workloads], rows)


def describe_errors(result: Result) -> str:
    """Return the numbers of failed requests, or `none`."""
    errors = [
        f"{get_display_name(name)} under {describe_workload(entry)}: {summary['errors']:,}"
        for entry in result["results"]
        for name, summary in entry["sides"].items()
        if summary["errors"]
    ]
    return "; ".join(errors) if errors else "none"


def list_added_latencies(result: Result) -> list[dict[str, str]]:
    """Return network, time of ONNX Runtime alone and added time, each in µs, as text."""
    return [
        {
            "network": entry["network"],
            "onnxruntime_us": format_number(entry["onnxruntime_us"]),
            "added_us": format_quartiles(entry["added_us"]),
        }
        for entry in result["results"]
        if entry.get("added_us")
    ]


def describe_result(result: Result) -> str:
    """Return our requests per second as a multiple of the best-known servers', in one sentence."""
    parts = []
    for rival in ("triton", "triton-binary", "mosec-batching", "fastapi"):
        medians = [
            entry["ratios"][f"ours / {rival}"]["requests_per_second"]["median"]
            for entry in list_workloads(result)
            if f"ours / {rival}" in entry["ratios"]
        ]
        if medians:
            low, high = format_number(min(medians)), format_number(max(medians))
            parts.append(f"{low}–{high} × {get_display_name(rival)}")
    return f"Requests per second: {'; '.join(parts)}."


def make_range_summary(result: Result) -> str:
    """Return the table of the range of our requests per second as a multiple of each rival's."""
    ratios: dict[str, list[tuple[str, dict[str, float]]]] = {}
    for entry in list_workloads(result):
        for ours, rival, by_measure in list_rival_ratios(entry["ratios"]):
            if ours == "ours":
                ratio = by_measure["requests_per_second"]
                ratios.setdefault(rival, []).append((describe_workload(entry), ratio))
    return make_range_table({name: ratios[name] for name in sort_contenders(set(ratios))})


def draw(result: Result, folder: Path) -> None:
    """Draw requests per second as bars."""
    entries = list_workloads(result)
    rates = {
        get_display_name(name): [
            entry["sides"].get(name, {}).get("requests_per_second") for entry in entries
        ]
        for name in _list_contenders(result)
    }
    workloads = [describe_workload(entry).replace(", ", "\n") for entry in entries]
    draw_bars(folder / "serve.svg", workloads, rates, label="requests/s")


def list_comparisons(result: Result) -> Iterator[Comparison]:
    """Yield the comparisons of throughput, latency and memory."""
    for entry in list_workloads(result):
        for ours, other, by_measure in list_rival_ratios(entry["ratios"]):
            for key, (measure, is_more_better) in MEASURES.items():
                yield compare_ratio(
                    by_measure[key],
                    is_more_better=is_more_better,
                    measure=measure,
                    ours=ours,
                    benchmark=BENCHMARK,
                    workload=describe_workload(entry),
                    other=other,
                )
