"""A progress bar on the terminal, drawn rarely, because drawing delays requests."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import click

from serving.loadtest.engine import ProgressCallback

STEPS_PER_SECOND = 10


class ProgressDisplay:
    """A progress bar on standard error, if that is a terminal.

    Attributes:
        on_progress: Callback for `LoadEngine`; None if standard error is not a terminal.
    """

    def __init__(self) -> None:
        self.on_progress: ProgressCallback | None = (
            self._on_progress if sys.stderr.isatty() else None
        )
        self._bar: Any = None
        self._drawn_steps = 0

    @contextlib.contextmanager
    def show(self, seconds: float, label: str) -> Iterator[None]:
        """Show a bar for the run inside the block.

        Args:
            seconds: Duration of the load, in seconds.
            label: Text before the bar.
        """
        if self.on_progress is None:
            yield
            return
        with click.progressbar(
            length=round(seconds * STEPS_PER_SECOND),
            label=f"{label:<22}",
            file=sys.stderr,
            show_eta=False,
        ) as self._bar:
            self._drawn_steps = 0
            yield

    def _on_progress(self, seconds: float, _: int) -> None:
        steps = round(seconds * STEPS_PER_SECOND)
        if self._bar is not None and steps > self._drawn_steps:
            self._bar.update(steps - self._drawn_steps)
            self._drawn_steps = steps
