"""Progress on a terminal, drawn seldom: what it takes of the processor is late for a request."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import click

from serving.loadtest.engine import ProgressCallback

STEPS_PER_SECOND = 10  # of a bar, a second


class ProgressDisplay:
    """A bar on standard error, where that is a terminal.

    Attributes:
        tell: for the engine; None where there is no terminal.
    """

    def __init__(self) -> None:
        self.tell: ProgressCallback | None = self._tell if sys.stderr.isatty() else None
        self._bar: Any = None
        self._at = 0

    @contextlib.contextmanager
    def over(self, seconds: float, what: str) -> Iterator[None]:
        """For a run of so many seconds."""
        if self.tell is None:
            yield
            return
        with click.progressbar(
            length=round(seconds * STEPS_PER_SECOND),
            label=f"{what:<22}",
            file=sys.stderr,
            show_eta=False,
        ) as self._bar:
            self._at = 0
            yield

    def _tell(self, seconds: float, _: int) -> None:
        steps = round(seconds * STEPS_PER_SECOND)
        if self._bar is not None and steps > self._at:
            self._bar.update(steps - self._at)
            self._at = steps
