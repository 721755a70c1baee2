"""The command: `serving loadtest`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console

from serving.loadtest.answer_check import RequestFormat
from serving.loadtest.engine import LoadEngineError
from serving.loadtest.generator import ArrivalProcess, LoadGenerator
from serving.loadtest.http_client import UnusableServerError
from serving.loadtest.instance_file import InstanceFileError, read_instances
from serving.loadtest.instances import generate_instances
from serving.loadtest.objectives import Objective, ObjectiveError, parse_objectives
from serving.loadtest.progress import ProgressDisplay
from serving.loadtest.report import LoadTestReport
from serving.loadtest.report.content import build_document
from serving.loadtest.report.terminal import print_report
from serving.loadtest.request_builder import DEFAULT_REQUEST_COUNT, build_requests
from serving.loadtest.run_record import PreparedRequest
from serving.loadtest.runner import CapacityError, LoadTestRunner
from serving.loadtest.target import LoadTarget, read_target

EXIT_MISSED, EXIT_UNUSABLE, EXIT_GENERATOR_LIMITED = 1, 2, 3  # exit statuses
MAX_SECONDS = 86_400.0  # seconds
MAX_TOTAL_ROWS = 20_000  # that are asked about, all requests together
DEFAULT_USERS = 16  # of a closed loop, where nothing else is asked for


def _bounded_number(most: float, *, zero: bool = False) -> Callable[..., float | None]:
    """What reads a number above 0, or 0 too, up to a bound."""

    def read(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
        if value is None:
            return None
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not (0 <= number <= most) or (not number and not zero):
            low = "from 0" if zero else "above 0"
            raise click.BadParameter(f"expected a number {low}, up to {most:,g}; got {value!r}")
        return number

    return read


class LoadTestCommandError(click.ClickException):
    """There is nothing to put a load on, or nothing to put there."""

    exit_code = EXIT_UNUSABLE


def _parse_row_counts(
    _: click.Context, __: click.Parameter, values: Sequence[str]
) -> tuple[int, ...]:
    listed = ",".join(values)
    try:
        sizes = tuple(int(part) for part in listed.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise click.BadParameter(f"expected numbers of rows such as 1 or 1,32; got {listed!r}")
    return sizes


def _parse_slo(_: click.Context, __: click.Parameter, value: Sequence[str]) -> Any:
    try:
        return parse_objectives(value)
    except ObjectiveError as error:
        raise click.BadParameter(str(error)) from error


def _require_folder(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    """Found out now, and not when the load is over."""
    if value is not None and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"expected a folder that is there; got {value.parent}")
    return value


@click.command()
@click.argument("url", default="http://127.0.0.1:8000")
@click.option(
    "--rate",
    callback=_bounded_number(1e6),
    metavar="R",
    help="open loop: requests a second, sent when due, whatever is answered",
)
@click.option(
    "--users",
    type=click.IntRange(1),
    metavar="N",
    help=f"closed loop: users who ask again when answered  [default: {DEFAULT_USERS}]",
)
@click.option(
    "--find-capacity",
    is_flag=True,
    help="open loops: the highest rate that keeps the objectives of --slo",
)
@click.option(
    "--duration",
    callback=_bounded_number(MAX_SECONDS),
    default="10",
    show_default=True,
    metavar="S",
    help="seconds that requests are sent for",
)
@click.option(
    "--warm-up",
    callback=_bounded_number(MAX_SECONDS, zero=True),
    default="1",
    show_default=True,
    metavar="S",
    help="seconds of the same load beforehand, which do not count; a search needs none",
)
@click.option(
    "--arrivals",
    type=click.Choice(["poisson", "constant"]),
    default="poisson",
    show_default=True,
    help="of open loops: as independent users come, or at equal distances",
)
@click.option(
    "--connections",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    metavar="N",
    help="of open loops; a request that finds all busy waits, with the clock running",
)
@click.option(
    "--timeout",
    callback=_bounded_number(MAX_SECONDS),
    default="10",
    show_default=True,
    metavar="S",
    help="after which a request is given up",
)
@click.option(
    "--rows",
    callback=_parse_row_counts,
    multiple=True,
    default=["1"],
    show_default=True,
    metavar="N,M",
    help="instances of a request; of several sizes, each comes as often; may come again",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "oip", "binary"]),
    default="json",
    show_default=True,
    help="POST /predict; the Open Inference Protocol's JSON; its bytes",
)
@click.option("--model", metavar="NAME", help="which, where the server has several")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="instances to ask about, JSON or CSV  [made from the schema]",
)
@click.option(
    "--key",
    envvar="LOADTEST_KEY",
    metavar="KEY",
    help="where the server wants one  [env: LOADTEST_KEY]",
)
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="certificates to trust instead of the system's",
)
@click.option(
    "--slo",
    "objectives",
    multiple=True,
    callback=_parse_slo,
    metavar="P99=50MS,…",
    help="objectives: p99=50ms, p99.9=0.2s, errors=0.1%, rate=500; may come again",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="of arrivals and instances"
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    callback=_require_folder,
    metavar="FILE",
    help="write the report, with its plots, to one page",
)
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of the tables")
def loadtest(
    url: str,
    rate: float | None,
    users: int | None,
    find_capacity: bool,
    duration: float,
    warm_up: float,
    arrivals: ArrivalProcess,
    connections: int,
    timeout: float,
    rows: tuple[int, ...],
    form: RequestFormat,
    model: str | None,
    data: Path | None,
    key: str | None,
    ca: str | None,
    objectives: tuple[Objective, ...],
    seed: int,
    html: Path | None,
    as_json: bool,
) -> None:
    """Put a load on the server at URL, and say what its users would feel.

    The schema is read from the server, valid instances are made from it, and each answer is
    compared with the one the server gave without load: one that is wrong is an error. Latency
    counts from the time at which a request was to leave: a server that stalls cannot hide it.

    Exits with 0; 1 if an objective was missed, nothing was answered, or, without objectives, an
    answer was wrong; 2 if there was nothing to measure; 3 if a latency was missed while the
    generator was the bottleneck, or late, which says nothing of the server.
    """
    if sum((rate is not None, users is not None, find_capacity)) > 1:
        raise click.UsageError("expected one of --rate, --users and --find-capacity; got several")
    bounds = [each for each in objectives if each.kind == "latency"]
    if find_capacity and not bounds:
        raise click.UsageError("expected --slo with a latency, as p99=50ms, for --find-capacity")
    if find_capacity and any(each.kind == "rate" for each in objectives):
        raise click.UsageError("expected no rate in --slo beside --find-capacity, which finds it")
    try:
        target = read_target(url, model=model, key=key, ca=ca)
        made = _build_requests(target, rows, form, data, seed)
        progress = ProgressDisplay()
        generator = LoadGenerator(
            target.address,
            made,
            connections=connections,
            timeout=timeout,
            arrivals=arrivals,
            seed=seed,
            tell=progress.tell,
        )
        session = LoadTestRunner(generator, target, progress, objectives)
        if find_capacity:
            load = session.find_capacity(
                connections, duration, max(each.percentile for each in bounds)
            )
        elif rate is not None:
            load = f"open loop, {rate:,g} requests/s, {arrivals} arrivals"
            session.once(partial(generator.rate, rate), warm_up, duration)
        else:
            load = f"closed loop, {users or DEFAULT_USERS} users"
            session.once(
                lambda seconds: generator.users(users or DEFAULT_USERS, seconds), warm_up, duration
            )
    except (UnusableServerError, InstanceFileError, LoadEngineError, CapacityError) as error:
        raise LoadTestCommandError(str(error)) from error
    sizes = " or ".join(map(str, rows))
    load += f", {duration:g} s, {sizes} {'row' if rows == (1,) else 'rows'} a request, {form}"
    report = session.report(load, _format_command())
    fault = ""  # of the page, told once the figures are
    if html is not None:
        from serving.loadtest.report.html_page import render_page  # noqa: PLC0415 - matplotlib takes its time

        try:
            html.write_text(render_page(report), encoding="utf-8")
        except OSError as error:
            fault = f"{html}: expected a page that can be written; got: {error.strerror or error}"
    if as_json:
        click.echo(json.dumps(build_document(report), indent=1))
    else:
        print_report(report, Console())
    if fault:
        raise LoadTestCommandError(fault)
    sys.exit(_choose_exit_status(report))


def _build_requests(
    target: LoadTarget, rows: tuple[int, ...], form: RequestFormat, data: Path | None, seed: int
) -> list[PreparedRequest]:
    # Large requests are fewer, or it would take minutes to make them.
    count = max(len(rows), min(DEFAULT_REQUEST_COUNT, MAX_TOTAL_ROWS * len(rows) // sum(rows)))
    enough = sum(rows[number % len(rows)] for number in range(count))
    made = (
        read_instances(data, target)
        if data is not None
        else generate_instances(target, enough, np.random.default_rng(seed))
    )
    return build_requests(target, rows, form, made, count=count)


def _format_command() -> str:
    """As it was typed, without the key."""
    words = ["serving", *sys.argv[1:]]
    for place, word in enumerate(words):
        if word.startswith("--key="):
            words[place] = "--key=KEY"
        elif word == "--key" and place + 1 < len(words):
            words[place + 1] = "KEY"
    return shlex.join(words)


def _choose_exit_status(report: LoadTestReport) -> int:
    if report.met is None:
        right = report.figures.answered and "wrong" not in report.figures.errors
        return 0 if right else EXIT_MISSED
    if report.met and report.figures.answered:
        return 0
    slow = any(
        not verdict.met and verdict.objective.kind == "latency" and not verdict.reason
        for verdict in report.verdicts
    )
    return EXIT_GENERATOR_LIMITED if slow and report.limits.verdict is not None else EXIT_MISSED
