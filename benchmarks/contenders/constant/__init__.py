"""A ceiling: our configuration of gunicorn and our worker, before an application of three lines."""

from __future__ import annotations

import sys

from benchmarks.contenders.contender import ROOT, WORKERS, Command, Place, Side
from benchmarks.contenders.workloads import LIGHT
from serving.settings.options import ENV_PREFIX


def _start(place: Place) -> Command:
    arguments = [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "python:serving.server.gunicorn_conf",
        "benchmarks.contenders.constant.app:app",
    ]
    chosen = {"PORT": str(place.ports[0]), "WORKERS": str(WORKERS)}
    variables = {f"{ENV_PREFIX}{name}": value for name, value in chosen.items()}
    return Command(arguments, {"PYTHONPATH": str(ROOT), **variables})


SIDES = (Side("constant", _start, loads=LIGHT, answers=False),)
