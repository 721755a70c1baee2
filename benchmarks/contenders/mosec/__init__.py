"""Mosec, without and with its dynamic batching, which makes a lone request wait."""

from __future__ import annotations

from functools import partial

from benchmarks.contenders.contender import Command, Place, Side, app


def _start(place: Place, rows: int) -> Command:
    arguments = [
        place.program("python"),
        app("mosec"),
        "--address",
        "127.0.0.1",
        "--port",
        str(place.ports[0]),
        "--log-level",
        "warning",
    ]
    return Command(arguments, {"ROWS": str(rows)})


SIDES = (
    Side("mosec", partial(_start, rows=1), peer="mosec", package="mosec"),
    Side("mosec-batching", partial(_start, rows=16), peer="mosec", package="mosec"),
)
