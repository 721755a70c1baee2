"""FastAPI under uvicorn[standard], which brings uvloop and httptools."""

from __future__ import annotations

from benchmarks.contenders.contender import PEERS, WORKERS, Command, Place, Side


def _start(place: Place) -> Command:
    return Command(
        [
            place.program("uvicorn"),
            "app:app",
            "--app-dir",
            str(PEERS / "fastapi"),
            "--port",
            str(place.ports[0]),
            "--workers",
            str(WORKERS),
            "--no-access-log",
            "--log-level",
            "warning",
        ]
    )


SIDES = (Side("fastapi", _start, peer="fastapi", package="fastapi"),)
