"""BentoML, two workers.

Without adaptive batching: with it, a part of the requests was answered 503 under 16 clients.
"""

from __future__ import annotations

from benchmarks.contenders.contender import PEERS, Command, Place, Side


def _start(place: Place) -> Command:
    arguments = [
        place.program("bentoml"),
        "serve",
        "app:Served",
        "--working-dir",
        str(PEERS / "bentoml"),
        "--host",
        "127.0.0.1",
        "--port",
        str(place.ports[0]),
    ]
    return Command(arguments, {"BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(place.folder)})


SIDES = (Side("bentoml", _start, peer="bentoml", package="bentoml"),)
