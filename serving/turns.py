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
