"""BentoML, two workers.

Adaptive batching is off: with it, some requests of 16 clients were answered with 503.
"""

from __future__ import annotations

from benchmarks.contenders.contender import CONTENDERS_FOLDER, Contender, Placement, StartCommand


def _make_command(placement: Placement) -> StartCommand:
    arguments = [
        placement.locate_program("bentoml"),
        "serve",
        "app:BentomlService",
        "--working-dir",
        str(CONTENDERS_FOLDER / "bentoml"),
        "--host",
        "127.0.0.1",
        "--port",
        str(placement.ports[0]),
    ]
    return StartCommand(
        arguments, {"BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(placement.folder)}
    )


CONTENDERS = (Contender("bentoml", _make_command, environment_name="bentoml", package="bentoml"),)
