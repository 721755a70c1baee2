"""LitServe with its queue over ZeroMQ (`fast_queue`), two workers and two processes for HTTP."""

from __future__ import annotations

from benchmarks.contenders.contender import Command, Place, Side, app


def _start(place: Place) -> Command:
    return Command([place.program("python"), app("litserve"), str(place.ports[0])])


SIDES = (Side("litserve", _start, peer="litserve", package="litserve"),)
