"""The cost of HTTP alone: our gunicorn configuration and worker with a constant answer."""

from __future__ import annotations

import sys

from benchmarks.contenders.contender import WORKER_COUNT, Contender, Placement, StartCommand
from benchmarks.contenders.workloads import LIGHT_WORKLOAD_NAMES
from benchmarks.machine import ROOT
from serving.settings.environment import ENV_PREFIX


def _make_command(placement: Placement) -> StartCommand:
    arguments = [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "python:serving.server.gunicorn_conf",
        "benchmarks.contenders.constant.app:app",
    ]
    settings = {"PORT": str(placement.ports[0]), "WORKERS": str(WORKER_COUNT)}
    variables = {f"{ENV_PREFIX}{name}": value for name, value in settings.items()}
    return StartCommand(arguments, {"PYTHONPATH": str(ROOT), **variables})


CONTENDERS = (
    Contender("constant", _make_command, workload_names=LIGHT_WORKLOAD_NAMES, has_model=False),
)
