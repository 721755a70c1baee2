"""Turns: how long work lets others have theirs."""

from __future__ import annotations

import time

import gevent
from gevent import Greenlet, getcurrent


def give_way() -> None:
    """Let whoever is ready have a turn: other connections, or other threads.

    In a gevent loop by a timer, if the shortest: without one the loop would come back dozens of
    times before it looked at any connection.
    """
    if isinstance(getcurrent(), Greenlet):
        gevent.sleep(1e-9)
    else:
        time.sleep(0)


class Work:
    """Work that is done in steps; others have their turn after so many units of it.

    Args:
        most: Units of a turn.
    """

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def spend(self, units: int) -> None:
        """Count units as done, and give way if they are more than the turn has left."""
        self._left -= units
        if self._left < 0:
            self._left = self._most
            give_way()
