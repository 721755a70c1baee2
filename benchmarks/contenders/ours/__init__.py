"""This project's server, as its command line starts it, and with other settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial

from benchmarks.contenders.contender import (
    WORKER_COUNT,
    Contender,
    Placement,
    StartCommand,
    StartError,
)
from benchmarks.contenders.encodings import JSON_INSTANCES, OPEN_INFERENCE_BINARY, RequestEncoding
from benchmarks.contenders.workloads import LIGHT_WORKLOAD_NAMES, WORKLOADS
from benchmarks.machine import ROOT
from serving.settings.environment import ENV_PREFIX
from serving.settings.options import Settings

NO_WORKLOADS: frozenset[str] = frozenset()
ALL_WORKLOAD_NAMES = frozenset(workload.name for workload in WORKLOADS)
# Checkout of another commit of this project, which `make bench-before` compares with.
OTHER_CHECKOUT = os.environ.get("BENCH_BEFORE", "")


def _make_command(placement: Placement) -> StartCommand:
    arguments = [
        sys.executable,
        "-m",
        "serving",
        "run",
        "--models",
        str(placement.models),
        "--port",
        str(placement.ports[0]),
    ]
    # PYTHONPATH makes sure that this checkout runs, even if another one is installed.
    workers = {f"{ENV_PREFIX}WORKERS": str(WORKER_COUNT)}
    return StartCommand(arguments, {"PYTHONPATH": str(ROOT)} | workers)


def _make_command_of_other_checkout(placement: Placement) -> StartCommand:
    command = _make_command(placement)
    return StartCommand(command.arguments, {**command.variables, "PYTHONPATH": OTHER_CHECKOUT})


def _make_command_with_stock_worker(placement: Placement) -> StartCommand:
    """Return the command of the same application under gunicorn's own gevent worker."""
    variables = {
        "PYTHONPATH": str(ROOT),
        f"{ENV_PREFIX}MODELS": str(placement.models),
        f"{ENV_PREFIX}PORT": str(placement.ports[0]),
        f"{ENV_PREFIX}WORKERS": str(WORKER_COUNT),
    }
    config = "python:benchmarks.contenders.ours.stock_worker"
    return StartCommand([sys.executable, "-m", "gunicorn", "--config", config], variables)


def _make_command_with(placement: Placement, settings: Mapping[str, str]) -> StartCommand:
    if unknown := settings.keys() - Settings.model_fields.keys():
        raise StartError(
            f"expected options of `serving run`; got {', '.join(unknown)}; correct the names"
        )
    command = _make_command(placement)
    variables = {f"{ENV_PREFIX}{name.upper()}": value for name, value in settings.items()}
    return StartCommand(command.arguments, {**command.variables, **variables})


def _make_variant(variant: str, encoding: RequestEncoding = JSON_INSTANCES) -> Contender:
    """Return a contender that serves a compressed variant, for the open loops only."""
    name = f"ours-{variant}" if encoding is JSON_INSTANCES else f"ours-{variant}-binary"
    make_command = partial(_make_command_with, settings={"variant": variant})
    return Contender(name, make_command, encoding, workload_names=NO_WORKLOADS, variant=variant)


# The server with one worker, under which clients are compared.
SINGLE_WORKER = Contender(
    "ours-alone",
    partial(_make_command_with, settings={"workers": "1"}),
    workload_names=NO_WORKLOADS,
)
OTHER_CHECKOUTS = (
    (Contender("before", _make_command_of_other_checkout, workload_names=ALL_WORKLOAD_NAMES),)
    if OTHER_CHECKOUT
    else ()
)
CONTENDERS = (
    Contender("ours", _make_command, workload_names=ALL_WORKLOAD_NAMES),
    *OTHER_CHECKOUTS,
    Contender(
        "ours-stock-worker", _make_command_with_stock_worker, workload_names=LIGHT_WORKLOAD_NAMES
    ),
    Contender(
        "ours-binary", _make_command, OPEN_INFERENCE_BINARY, workload_names=LIGHT_WORKLOAD_NAMES
    ),
    Contender(
        "ours-unbatched",
        partial(_make_command_with, settings={"max_batch_rows": "1"}),
        workload_names=frozenset({"heavy-1row-c32"}),
    ),
    _make_variant("int8"),
    _make_variant("pruned-int8"),
    _make_variant("pruned-int8", OPEN_INFERENCE_BINARY),
)
