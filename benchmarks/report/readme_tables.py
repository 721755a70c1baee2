"""The README's table of speed: five servers under four workloads, and where forwardpass loses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.report.contender_names import get_display_name, is_rival
from benchmarks.report.formatting import format_number, format_table
from benchmarks.report.throughput_tables import format_memory, list_workloads

LOSSES_LINK = "docs/benchmarks/where-we-lose.md"
# Rows and clients of the workloads that are shown, on the light network.
WORKLOADS = {
    (1, 1): "1 client",
    (1, 16): "16 clients",
    (1, 64): "64 clients",
    (32, 8): "32 rows, 8 clients",
}
# Measured in the same run. In other settings, Mosec and Triton are named in the text.
CONTENDERS = ("ours", "triton", "mosec", "fastapi", "mlserver")

Result = Mapping[str, Any]


def make_speed_table(result: Result) -> str:
    """Return the table of five servers, and a paragraph on the machine and our losses."""
    workloads = _select_workloads(result)
    rows = [
        [
            f"**{get_display_name(name)}**" if name == "ours" else get_display_name(name),
            *(
                f"{entry['sides'][name]['requests_per_second']:,.0f}"
                for entry in workloads.values()
            ),
            f"{format_memory(result, name)} MB",
        ]
        for name in CONTENDERS
    ]
    headings = ["requests/s", *(WORKLOADS[key] for key in workloads), "memory"]
    table = format_table(headings, rows)
    return f"{table}\n\n{_describe_speed(result)}"


def _select_workloads(result: Result) -> dict[tuple[int, int], Mapping[str, Any]]:
    """Return the workloads that are shown, by rows and clients."""
    found = {
        (entry["rows"], entry["connections"]): entry
        for entry in list_workloads(result)
        if entry["network"] == "light"
    }
    return {key: found[key] for key in WORKLOADS if key in found}


def _describe_speed(result: Result) -> str:
    machine = result["machine"]
    sentences = [
        f"Measured on {machine['cores']} cores of an {machine['cpu']}, which the client shares; "
        "requests are JSON and have one row unless the column says otherwise."
    ]
    if behind := _describe_losses(result):
        sentences.append(
            f"forwardpass answers fewer requests than {' and '.join(behind)}, which the table "
            f"leaves out: [where we lose]({LOSSES_LINK})."
        )
    return " ".join(sentences)


def _describe_losses(result: Result) -> list[str]:
    """Return each rival that is faster under a workload that is shown, with the ratios."""
    behind: dict[str, list[str]] = {}
    for key, entry in _select_workloads(result).items():
        for name, ratios in entry["ratios"].items():
            ours, other = name.split(" / ")
            median = ratios["requests_per_second"]["median"]
            if ours == "ours" and is_rival(other) and median < 1:
                behind.setdefault(other, []).append(
                    f"{format_number(median)} × as many with {WORKLOADS[key]}"
                )
    return [f"{get_display_name(name)} ({', '.join(texts)})" for name, texts in behind.items()]
