"""The plot of a study: where each setting draws the line, and how its loss fell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from serving.bundle import write_atomically
from trainer.study.experiments import ExperimentResult

CLASSES = ("#d55e00", "#0072b2")  # told apart by all eyes (Okabe and Ito 2008)
GRID = 200  # points a side


def draw_study(outcomes: Sequence[ExperimentResult], title: str, path: Path) -> None:
    """Write a picture: above a plane for each setting, below the losses of all.

    Args:
        outcomes: of one study.
        title: above it all.
        path: its ending says which format.

    Raises:
        OSError: it cannot be written.
        ValueError: there is no such format.
    """
    n = len(outcomes)
    figure = Figure(figsize=(2.8 * max(n, 3), 6.4), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(2, n)
    for i, outcome in enumerate(outcomes):
        _plane(figure.add_subplot(grid[0, i]), outcome)
    _losses(figure.add_subplot(grid[1, :]), outcomes)
    with write_atomically(path) as building:
        figure.savefig(building, dpi=120)


def _plane(axes: Axes, outcome: ExperimentResult) -> None:
    X, y = outcome.rows
    margin = 0.15 * np.ptp(X, axis=0).max()
    (left, bottom), (right, top) = X.min(axis=0) - margin, X.max(axis=0) + margin
    grid = np.meshgrid(np.linspace(left, right, GRID), np.linspace(bottom, top, GRID))
    p = outcome.probability(np.column_stack([part.ravel() for part in grid]))
    axes.contourf(
        *grid,
        p.reshape(GRID, GRID),
        levels=np.linspace(0, 1, 21),
        cmap="RdYlBu",
        vmin=0,
        vmax=1,
        alpha=0.6,
    )
    axes.contour(*grid, p.reshape(GRID, GRID), levels=[0.5], colors="black", linewidths=1)
    for label, colour in enumerate(CLASSES):
        axes.scatter(
            X[y == label, 0],
            X[y == label, 1],
            s=60 if len(X) < 10 else 6,
            color=colour,
            edgecolors="white",
            linewidths=0.3,
            label=f"class {label}",
        )
    axes.set(title=f"{outcome.setting}\n{outcome.median:.1%}", aspect="equal", xticks=[], yticks=[])


def _losses(axes: Axes, outcomes: Sequence[ExperimentResult]) -> None:
    for outcome in outcomes:
        axes.plot(range(1, len(outcome.losses) + 1), outcome.losses, label=outcome.setting)
    axes.axhline(np.log(2), color="grey", linestyle=":", label="even odds, ln 2")
    axes.set(xlabel="epoch", ylabel="training loss", yscale="log")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
