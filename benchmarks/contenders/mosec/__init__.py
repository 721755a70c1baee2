"""Mosec, without and with its dynamic batching, which makes a single request wait."""

from __future__ import annotations

from functools import partial

from benchmarks.contenders.contender import Contender, Placement, StartCommand, locate_app


def _make_command(placement: Placement, batch_size: int) -> StartCommand:
    arguments = [
        placement.locate_program("python"),
        locate_app("mosec"),
        "--address",
        "127.0.0.1",
        "--port",
        str(placement.ports[0]),
        "--log-level",
        "warning",
    ]
    return StartCommand(arguments, {"BATCH_SIZE": str(batch_size)})


CONTENDERS = (
    Contender(
        "mosec", partial(_make_command, batch_size=1), environment_name="mosec", package="mosec"
    ),
    Contender(
        "mosec-batching",
        partial(_make_command, batch_size=16),
        environment_name="mosec",
        package="mosec",
    ),
)
