"""MLServer, which answers in the one process that parses.

Its inference in processes of its own (`parallel_workers` of 1, the default, and more) was slower by
half on such networks, for what passes between the processes; it also wants uvloop below 0.22.
"""

from __future__ import annotations

import json

from benchmarks.contenders.contender import Command, Place, Side, copy
from benchmarks.contenders.encodings import V2


def _start(place: Place) -> Command:
    http, grpc, metrics = place.ports
    settings = {
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "parallel_workers": 0,
        "debug": False,
    }
    model = {"name": place.network, "implementation": "app.Served"}
    folder = place.folder / place.network
    copy("mlserver", "app.py", folder)
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    return Command([place.program("mlserver"), "start", str(folder)])


SIDES = (Side("mlserver", _start, V2, peer="mlserver", package="mlserver"),)
