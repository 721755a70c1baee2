"""FastAPI under uvicorn[standard], which includes uvloop and httptools."""

from __future__ import annotations

from benchmarks.contenders.contender import (
    CONTENDERS_FOLDER,
    WORKER_COUNT,
    Contender,
    Placement,
    StartCommand,
)


def _make_command(placement: Placement) -> StartCommand:
    return StartCommand(
        [
            placement.locate_program("uvicorn"),
            "app:app",
            "--app-dir",
            str(CONTENDERS_FOLDER / "fastapi"),
            "--port",
            str(placement.ports[0]),
            "--workers",
            str(WORKER_COUNT),
            "--no-access-log",
            "--log-level",
            "warning",
        ]
    )


CONTENDERS = (Contender("fastapi", _make_command, environment_name="fastapi", package="fastapi"),)
