"""This project's server, as its command line starts it."""

from __future__ import annotations

import sys

from benchmarks.serve.encodings import V2_BINARY
from benchmarks.serve.loads import LIGHT, LOADS
from benchmarks.serve.peers.side import ROOT, WORKERS, Command, Place, Side, StartError
from serving.settings import ENV_PREFIX, Settings

UNBATCHED = {"max_batch_rows": "1"}  # the setting that keeps requests apart


def _start(place: Place) -> Command:
    arguments = [
        sys.executable, "-m", "serving", "run", "--models", str(place.models),
        "--port", str(place.ports[0]), "--workers", str(WORKERS),
    ]  # fmt: skip
    return Command(arguments, {"PYTHONPATH": str(ROOT)})  # not another checkout that is installed


def _start_unbatched(place: Place) -> Command:
    if not UNBATCHED.keys() <= Settings.model_fields.keys():
        raise StartError(f"expected the settings {', '.join(UNBATCHED)}; this server has no such")
    command = _start(place)
    chosen = {f"{ENV_PREFIX}{name.upper()}": value for name, value in UNBATCHED.items()}
    return Command(command.arguments, {**command.variables, **chosen})


SIDES = (
    Side("ours", _start, loads=frozenset(load.name for load in LOADS)),
    Side("ours-binary", _start, V2_BINARY, loads=LIGHT),
    Side("ours-unbatched", _start_unbatched, loads=frozenset({"heavy-1row-c32"})),
)
