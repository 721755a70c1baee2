"""What we lose: every figure of every benchmark in which the other side is ahead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.report.comparison import Comparison
from benchmarks.report.contender_names import named
from benchmarks.report.markdown import section, table

TITLE = "What we lose"
WHAT = """\
Every comparison of all results above in which the other side is ahead by the median, picked by the
program that writes this page and by nobody. Ratios are ours / theirs. "Behind" is said where both
quartiles (for metrics, the 95 % interval) say so too, else "no difference shown"."""
WITHIN = """\
And those in which ours is ahead or level by the median, and the spread holds both: no difference is
shown there either."""
NONE = "None."
HEADINGS = ("benchmark", "under", "of", "ours", "theirs", "figure")


def _cells(found: Comparison) -> list[str]:
    return [
        found.benchmark,
        found.where,
        found.measure,
        named(found.mine),
        named(found.rival),
        found.figure,
    ]


def tally(comparisons: Iterable[Comparison]) -> str:
    """How many there are, and of how many, in one sentence."""
    found = list(comparisons)
    behind = [c for c in found if c.behind]
    shown = [c for c in behind if c.within is False]
    single = [c for c in behind if c.within is None]
    return (
        f"Of {len(found)} comparisons the other side is ahead by the median in {len(behind)}, "
        f"in {len(shown)} of them beyond the spread, in {len(single)} by a single figure."
    )


def render(comparisons: Sequence[Comparison]) -> str:
    """The section."""
    behind = [[*_cells(c), c.verdict] for c in comparisons if c.behind]
    within = [_cells(c) for c in comparisons if not c.behind and c.within]
    return section(
        TITLE,
        WHAT,
        tally(comparisons),
        table([*HEADINGS, "shown"], behind) if behind else NONE,
        WITHIN,
        table(HEADINGS, within) if within else NONE,
    )
