"""This project's server, as its command line starts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial

from benchmarks.contenders.contender import ROOT, WORKERS, Command, Place, Side, StartError
from benchmarks.contenders.encodings import ROWS, V2_BINARY, Encoding
from benchmarks.contenders.workloads import LIGHT, LOADS
from serving.settings.options import ENV_PREFIX, Settings

UNBATCHED = {"max_batch_rows": "1"}  # the setting that keeps requests apart
NONE: frozenset[str] = frozenset()  # of the closed loops


def _start(place: Place) -> Command:
    arguments = [
        sys.executable,
        "-m",
        "serving",
        "run",
        "--models",
        str(place.models),
        "--port",
        str(place.ports[0]),
    ]
    # Not another checkout that is installed.
    workers = {f"{ENV_PREFIX}WORKERS": str(WORKERS)}
    return Command(arguments, {"PYTHONPATH": str(ROOT)} | workers)


def _start_before(place: Place) -> Command:
    """Start the server of another checkout of this project, which BENCH_BEFORE names."""
    command = _start(place)
    return Command(command.arguments, {**command.variables, "PYTHONPATH": BEFORE})


def _start_stock_worker(place: Place) -> Command:
    """Start the same application under gunicorn's stock gevent worker."""
    variables = {
        "PYTHONPATH": str(ROOT),
        f"{ENV_PREFIX}MODELS": str(place.models),
        f"{ENV_PREFIX}PORT": str(place.ports[0]),
        f"{ENV_PREFIX}WORKERS": str(WORKERS),
    }
    config = "python:benchmarks.contenders.ours.stock_worker"
    return Command([sys.executable, "-m", "gunicorn", "--config", config], variables)


def _start_with(place: Place, settings: Mapping[str, str]) -> Command:
    if unknown := settings.keys() - Settings.model_fields.keys():
        raise StartError(f"expected the settings {', '.join(unknown)}; this server has no such")
    command = _start(place)
    chosen = {f"{ENV_PREFIX}{name.upper()}": value for name, value in settings.items()}
    return Command(command.arguments, {**command.variables, **chosen})


def _variant(variant: str, encoding: Encoding = ROWS) -> Side:
    """A compressed variant, which only the open loops ask."""
    name = f"ours-{variant}" if encoding is ROWS else f"ours-{variant}-binary"
    start = partial(_start_with, settings={"variant": variant})
    return Side(name, start, encoding, loads=NONE, variant=variant)


BEFORE = os.environ.get("BENCH_BEFORE", "")
ALL_LOADS = frozenset(load.name for load in LOADS)
# One worker, to compare clients with.
ALONE = Side("ours-alone", partial(_start_with, settings={"workers": "1"}), loads=NONE)
SIDES = (
    Side("ours", _start, loads=ALL_LOADS),
    *((Side("before", _start_before, loads=ALL_LOADS),) if BEFORE else ()),
    Side("ours-stock-worker", _start_stock_worker, loads=LIGHT),
    Side("ours-binary", _start, V2_BINARY, loads=LIGHT),
    Side(
        "ours-unbatched",
        partial(_start_with, settings=UNBATCHED),
        loads=frozenset({"heavy-1row-c32"}),
    ),
    _variant("int8"),
    _variant("pruned-int8"),
    _variant("pruned-int8", V2_BINARY),
)
