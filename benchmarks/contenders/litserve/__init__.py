"""LitServe with its queue over ZeroMQ (`fast_queue`), two workers and two processes for HTTP."""

from __future__ import annotations

from benchmarks.contenders.contender import Contender, Placement, StartCommand, locate_app


def _make_command(placement: Placement) -> StartCommand:
    return StartCommand(
        [placement.locate_program("python"), locate_app("litserve"), str(placement.ports[0])]
    )


CONTENDERS = (
    Contender("litserve", _make_command, environment_name="litserve", package="litserve"),
)
