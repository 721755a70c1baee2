"""Comparisons: a figure of ours and one of another's, what it shows, and the list of our losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.report.contender_names import get_display_name
from benchmarks.report.formatting import (
    NO_VALUE,
    format_number,
    format_quartiles,
    format_table,
)

MIN_ROUNDS = 3  # with fewer rounds, quartiles show no spread
HEADINGS = ("benchmark", "workload", "measure", "ours", "other", "figure")


@dataclass(frozen=True)
class Comparison:
    """A figure of ours compared with another's.

    Attributes:
        benchmark: Name of the benchmark.
        workload: Network, load or rows.
        measure: Name of the figure that is compared.
        ours: Name of our contender.
        other: Name of the other contender.
        figure: Ratio or difference, as it is shown.
        is_behind: Whether the other is ahead by the median.
        is_undecided: Whether the spread includes both results; None if there is no spread, because
            there were fewer than three rounds.
    """

    benchmark: str
    workload: str
    measure: str
    ours: str
    other: str
    figure: str
    is_behind: bool
    is_undecided: bool | None

    @property
    def verdict(self) -> str:
        """What the figure shows, in words."""
        if self.is_undecided is None:
            return "one figure, no spread"
        return "no difference shown" if self.is_undecided else "behind"

    def list_cells(self) -> list[str]:
        """Return the cells of its row in a table."""
        names = get_display_name(self.ours), get_display_name(self.other)
        return [self.benchmark, self.workload, self.measure, *names, self.figure]


def compare_ratio(
    ratio: Mapping[str, float],
    *,
    is_more_better: bool,
    benchmark: str,
    workload: str,
    measure: str,
    ours: str,
    other: str,
) -> Comparison:
    """Compare by the quartiles of a ratio of ours to another's.

    Args:
        ratio: Entry of the results, with `median`, `low` and `high`.
        is_more_better: Whether a ratio above 1 means that ours is ahead.
        benchmark: Name of the benchmark.
        workload: Network, load or rows.
        measure: Name of the figure that is compared.
        ours: Name of our contender.
        other: Name of the other contender.
    """
    has_spread = ratio.get("rounds", MIN_ROUNDS) >= MIN_ROUNDS
    return Comparison(
        benchmark,
        workload,
        measure,
        ours,
        other,
        f"{format_quartiles(ratio)} ×",
        is_behind=bool(ratio["median"] < 1 if is_more_better else ratio["median"] > 1),
        # Not a bool of NumPy, which is never `False` itself.
        is_undecided=bool(ratio["low"] <= 1 <= ratio["high"]) if has_spread else None,
    )


def make_range_table(ratios: Mapping[str, Sequence[tuple[str, Mapping[str, float]]]]) -> str:
    """Return a table of the range of our ratios to each rival, and of the ratios below 1.

    Args:
        ratios: Workloads and the ratio under each, by rival.
    """
    rows = []
    for rival, by_workload in ratios.items():
        medians = [ratio["median"] for _, ratio in by_workload]
        behind = "; ".join(
            f"{workload}: {format_quartiles(ratio)}"
            for workload, ratio in by_workload
            if ratio["median"] < 1
        )
        shown = f"{format_number(min(medians))}–{format_number(max(medians))}"
        rows.append([get_display_name(rival), shown, behind])
    return format_table(["ours / theirs", "lowest and highest median", "below 1"], rows)


def summarize_losses(comparisons: Iterable[Comparison]) -> str:
    """Return the number of comparisons in which the other is ahead, in one sentence."""
    listed = list(comparisons)
    behind = [comparison for comparison in listed if comparison.is_behind]
    decided = sum(comparison.is_undecided is False for comparison in behind)
    single = sum(comparison.is_undecided is None for comparison in behind)
    return (
        f"Of {len(listed)} comparisons, the other is ahead by the median in {len(behind)}: in "
        f"{decided} beyond the spread, in {single} by a single figure."
    )


def make_loss_table(comparisons: Sequence[Comparison]) -> str:
    """Return the table of all comparisons in which the other is ahead by the median."""
    rows = [[*c.list_cells(), c.verdict] for c in comparisons if c.is_behind]
    return format_table([*HEADINGS, "shown"], rows) if rows else "None."


def make_undecided_table(comparisons: Sequence[Comparison]) -> str:
    """Return the table of those in which ours is ahead or level and the spread includes both."""
    rows = [c.list_cells() for c in comparisons if not c.is_behind and c.is_undecided]
    return format_table(HEADINGS, rows) if rows else "None."


def make_loss_summary(comparisons: Iterable[Comparison]) -> str:
    """Return a table of the number of comparisons and losses of each benchmark."""
    by_benchmark: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        by_benchmark.setdefault(comparison.benchmark, []).append(comparison)
    rows = []
    for benchmark, listed in by_benchmark.items():
        behind = [comparison for comparison in listed if comparison.is_behind]
        others = Counter(get_display_name(comparison.other) for comparison in behind)
        counts = ", ".join(f"{name} ({count})" for name, count in others.most_common())
        decided = sum(comparison.is_undecided is False for comparison in behind)
        rows.append(
            [benchmark, str(len(listed)), str(len(behind)), str(decided), counts or NO_VALUE]
        )
    headings = ("benchmark", "comparisons", "other ahead", "beyond the spread", "who is ahead")
    return format_table(headings, rows)
