"""The plot of a study: the decision boundary of each setting, and the losses of all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from serving.bundle import write_atomically
from trainer.study.experiments import ExperimentResult

# Two colours that colour-blind readers can tell apart (Okabe and Ito 2008).
CLASS_COLOURS = ("#d55e00", "#0072b2")
GRID_POINTS = 200  # of the plane, in each direction


def draw_study(results: Sequence[ExperimentResult], title: str, path: Path) -> None:
    """Write a figure with the plane of each setting and, below, the losses of all settings.

    Args:
        results: The results of one study.
        title: Title of the figure.
        path: Path of the file. Its suffix sets the format.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the format is unknown.
    """
    n = len(results)
    figure = Figure(figsize=(2.8 * max(n, 3), 6.4), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(2, n)
    for i, result in enumerate(results):
        _draw_plane(figure.add_subplot(grid[0, i]), result)
    _draw_losses(figure.add_subplot(grid[1, :]), results)
    with write_atomically(path) as temporary_path:
        figure.savefig(temporary_path, dpi=120)


def _draw_plane(axes: Axes, result: ExperimentResult) -> None:
    """Draw the probability of class 1, the boundary at 0.5, and the rows."""
    X, y = result.rows
    margin = 0.15 * np.ptp(X, axis=0).max()
    (left, bottom), (right, top) = X.min(axis=0) - margin, X.max(axis=0) + margin
    grid = np.meshgrid(np.linspace(left, right, GRID_POINTS), np.linspace(bottom, top, GRID_POINTS))
    points = np.column_stack([coordinate.ravel() for coordinate in grid])
    p = result.predict_probability(points).reshape(GRID_POINTS, GRID_POINTS)
    axes.contourf(
        *grid,
        p,
        levels=np.linspace(0, 1, 21),
        cmap="RdYlBu",
        vmin=0,
        vmax=1,
        alpha=0.6,
    )
    axes.contour(*grid, p, levels=[0.5], colors="black", linewidths=1)
    for label, colour in enumerate(CLASS_COLOURS):
        axes.scatter(
            X[y == label, 0],
            X[y == label, 1],
            s=60 if len(X) < 10 else 6,
            color=colour,
            edgecolors="white",
            linewidths=0.3,
            label=f"class {label}",
        )
    axes.set(title=f"{result.setting}\n{result.median:.1%}", aspect="equal", xticks=[], yticks=[])


def _draw_losses(axes: Axes, results: Sequence[ExperimentResult]) -> None:
    """Draw the training loss of every setting, and that of a constant probability of 0.5."""
    for result in results:
        axes.plot(range(1, len(result.losses) + 1), result.losses, label=result.setting)
    axes.axhline(np.log(2), color="grey", linestyle=":", label="probability 0.5, ln 2")
    axes.set(xlabel="epoch", ylabel="training loss", yscale="log")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
