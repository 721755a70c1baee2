"""A comparison: one figure of ours beside one of a rival, and what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.report.markdown import spread

ROUNDS = 3  # at least, for quartiles to say something


@dataclass(frozen=True)
class Comparison:
    """Ours beside another's.

    Attributes:
        benchmark: it comes from.
        where: which network, load or rows.
        measure: what is compared.
        mine: our side's name.
        rival: the other side's name.
        figure: as it is shown.
        behind: whether the rival is ahead, by the middle figure.
        within: whether the spread holds both: no difference is shown; None if there is no spread,
            as of fewer than three rounds.
    """

    benchmark: str
    where: str
    measure: str
    mine: str
    rival: str
    figure: str
    behind: bool
    within: bool | None

    @property
    def verdict(self) -> str:
        """In words."""
        if self.within is None:
            return "one figure, no spread"
        return "no difference shown" if self.within else "behind"


def of_ratio(
    found: Mapping[str, float],
    *,
    more_is_better: bool,
    benchmark: str,
    where: str,
    measure: str,
    mine: str,
    rival: str,
) -> Comparison:
    """What the median and the quartiles of a ratio ours / theirs show."""
    spoken = found.get("rounds", ROUNDS) >= ROUNDS
    return Comparison(
        benchmark,
        where,
        measure,
        mine,
        rival,
        f"{spread(found)} ×",
        behind=found["median"] < 1 if more_is_better else found["median"] > 1,
        within=found["low"] <= 1 <= found["high"] if spoken else None,
    )
