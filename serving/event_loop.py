"""Turns: how long work lets others have theirs."""

from __future__ import annotations

import time

import gevent
from gevent import Greenlet, getcurrent


def yield_to_loop() -> None:
    """Let whoever is ready have a turn: other connections, or other threads.

    In a gevent loop by a timer, if the shortest: without one the loop would come back dozens of
    times before it looked at any connection.
    """
    if isinstance(getcurrent(), Greenlet):
        gevent.sleep(1e-9)
    else:
        time.sleep(0)


class TurnBudget:
    """Work that is done in steps; others have their turn after so many units of it.

    Args:
        units_per_turn: Units of a turn.
    """

    def __init__(self, units_per_turn: int) -> None:
        self._most = self._units_left = units_per_turn

    def spend(self, units: int) -> None:
        """Count units as done, and give way if they are more than the turn has left."""
        self._units_left -= units
        if self._units_left < 0:
            self._units_left = self._most
            yield_to_loop()
