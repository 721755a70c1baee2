"""MLServer, which answers in the one process that parses requests.

With inference in processes of their own (`parallel_workers` of 1, the default, or more) it was half
as fast on such small networks, because of the data passed between the processes. That mode also
needs uvloop below 0.22.
"""

from __future__ import annotations

import json

from benchmarks.contenders.contender import Contender, Placement, StartCommand, copy_app_file
from benchmarks.contenders.encodings import OPEN_INFERENCE


def _make_command(placement: Placement) -> StartCommand:
    http, grpc, metrics = placement.ports
    settings = {
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "parallel_workers": 0,
        "debug": False,
    }
    model = {"name": placement.network, "implementation": "app.MlserverModel"}
    folder = placement.folder / placement.network
    copy_app_file("mlserver", "app.py", folder)
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    return StartCommand([placement.locate_program("mlserver"), "start", str(folder)])


CONTENDERS = (
    Contender(
        "mlserver", _make_command, OPEN_INFERENCE, environment_name="mlserver", package="mlserver"
    ),
)
