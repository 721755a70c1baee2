"""Tables of the training benchmark: steps per second, the matrix products alone, and memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report.comparisons import Comparison, compare_ratio
from benchmarks.report.contender_names import (
    get_display_name,
    is_ours,
    is_rival,
    list_rival_ratios,
    sort_contenders,
)
from benchmarks.report.formatting import (
    NO_VALUE,
    format_number,
    format_percent,
    format_quartiles,
    format_table,
)
from benchmarks.report.plots import draw_bars

BENCHMARK = "training"
# The one ratio that is recorded for the Intel processor.
INTEL_RIVAL = "torch-fused"
INTEL_RATIO = f"ours / {INTEL_RIVAL}"

Result = Mapping[str, Any]


def list_cases(result: Result) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the name of each network with its batch, and its entry in the results."""
    return [(f"{entry['name']}, batch {entry['batch']}", entry) for entry in result["results"]]


def describe_result(result: Result, intel: Result | None) -> str:
    """Return the ranges of our steps per second as a multiple of each rival's, in one sentence.

    Args:
        result: Results of the benchmark.
        intel: Ratios on the Intel processor; None if there are none.
    """
    texts = [
        f"{_format_range(entry['ratios'][f'ours / {rival}'] for _, entry in list_cases(result))} × "
        f"{get_display_name(rival)}"
        for rival in _list_contenders(result)
        if is_rival(rival)
    ]
    text = f"Steps per second on {result['machine']['cpu']}: {', '.join(texts)}."
    if intel is None:
        return text
    ratios = (entry["ratios"][INTEL_RATIO] for entry in intel["results"])
    return (
        f"{text} On {intel['machine']['cpu']}: {_format_range(ratios)} × "
        f"{get_display_name(INTEL_RIVAL)}."
    )


def _format_range(ratios: Iterable[Mapping[str, float]]) -> str:
    medians = [ratio["median"] for ratio in ratios]
    return f"{format_number(min(medians))}–{format_number(max(medians))}"


def make_answer_table(result: Result, intel: Result | None) -> str:
    """Return the table of our steps per second as a multiple of PyTorch's and scikit-learn's.

    Args:
        result: Results of the benchmark.
        intel: Ratios on the Intel processor; None if there are none.
    """
    rivals = [name for name in _list_contenders(result) if is_rival(name)]
    cpu = result["machine"]["cpu"]
    headings = ["network", *(f"× {get_display_name(rival)}, {cpu}" for rival in rivals)]
    rows = [
        [
            case,
            *(format_number(entry["ratios"][f"ours / {rival}"]["median"]) for rival in rivals),
        ]
        for case, entry in list_cases(result)
    ]
    if intel is not None:
        headings.append(f"× {get_display_name(INTEL_RIVAL)}, {intel['machine']['cpu']}")
        on_intel = {
            case: format_number(entry["ratios"][INTEL_RATIO]["median"])
            for case, entry in list_cases(intel)
        }
        rows = [[*row, on_intel.get(row[0], NO_VALUE)] for row in rows]
    return format_table(headings, rows)


def _list_contenders(result: Result) -> list[str]:
    return sort_contenders(set(result["results"][0]["steps_per_second"]))


def make_speed_tables(result: Result) -> list[str]:
    """Return a table of steps per second for each variant of ours."""
    contenders = _list_contenders(result)
    rivals = [name for name in contenders if is_rival(name)]
    return [
        format_table(
            [
                "network",
                f"{get_display_name(ours)}, steps/s",
                *(f"× {get_display_name(rival)}" for rival in rivals),
            ],
            [
                [
                    case,
                    format_number(entry["steps_per_second"][ours]),
                    *(format_quartiles(entry["ratios"][f"{ours} / {rival}"]) for rival in rivals),
                ]
                for case, entry in list_cases(result)
            ],
        )
        for ours in contenders
        if is_ours(ours)
    ]


def make_products_table(result: Result) -> str:
    """Return the table of the matrix products alone."""
    contenders = _list_contenders(result)
    variants = [name for name in contenders if is_ours(name)]
    rivals = [name for name in contenders if is_rival(name)]
    return format_table(
        [
            "network",
            *(f"share of {get_display_name(ours)}" for ours in variants),
            *(f"× {get_display_name(rival)}" for rival in rivals),
        ],
        [
            [
                case,
                *(format_percent(entry["ratios"][f"{o} / products"]["median"]) for o in variants),
                *(format_quartiles(entry["ratios"][f"products / {rival}"]) for rival in rivals),
            ]
            for case, entry in list_cases(result)
        ],
    )


def make_memory_table(result: Result) -> str:
    """Return the table of each contender's peak memory."""
    contenders = _list_contenders(result)
    return format_table(
        ["network", *map(get_display_name, contenders)],
        [
            [case, *(str(entry["peak_mb"][name]) for name in contenders)]
            for case, entry in list_cases(result)
        ],
    )


def draw(result: Result, folder: Path) -> None:
    """Draw the ratios of our steps per second to each rival's as bars."""
    ratios = {
        get_display_name(rival): [
            entry["ratios"][f"ours / {rival}"]["median"] for _, entry in list_cases(result)
        ]
        for rival in _list_contenders(result)
        if is_rival(rival)
    }
    cases = [case.replace(", ", "\n") for case, _ in list_cases(result)]
    draw_bars(folder / "train.svg", cases, ratios, label="our steps/s ÷ theirs", line=1)


def list_comparisons(result: Result) -> Iterator[Comparison]:
    """Yield the comparisons of steps per second and of peak memory."""
    for case, entry in list_cases(result):
        for ours, other, ratio in list_rival_ratios(entry["ratios"]):
            yield compare_ratio(
                ratio,
                is_more_better=True,
                benchmark=BENCHMARK,
                workload=case,
                measure="steps/s",
                ours=ours,
                other=other,
            )
            our_mb, other_mb = entry["peak_mb"][ours], entry["peak_mb"][other]
            yield Comparison(
                BENCHMARK,
                case,
                "peak memory",
                ours,
                other,
                f"{format_number(our_mb / other_mb)} ×",
                is_behind=our_mb > other_mb,
                is_undecided=None,
            )


def list_intel_comparisons(intel: Result) -> Iterator[Comparison]:
    """Yield the comparisons on the Intel processor, for which no spread is recorded."""
    for case, entry in list_cases(intel):
        median = entry["ratios"][INTEL_RATIO]["median"]
        yield Comparison(
            BENCHMARK,
            f"{case}, {intel['machine']['cpu']}",
            "steps/s",
            "ours",
            INTEL_RIVAL,
            f"{format_number(median)} ×",
            is_behind=median < 1,
            is_undecided=None,
        )
