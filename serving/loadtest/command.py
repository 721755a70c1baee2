"""The command `serving loadtest`."""

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
from serving.loadtest.engine import LoadEngine, LoadEngineError
from serving.loadtest.generator import ArrivalProcess, LoadGenerator
from serving.loadtest.http_client import UnusableServerError
from serving.loadtest.instance_file import InstanceFileError, read_instances
from serving.loadtest.instances import generate_instances
from serving.loadtest.objectives import Objective, ObjectiveError, parse_objectives
from serving.loadtest.progress import ProgressDisplay
from serving.loadtest.report import LoadTestReport
from serving.loadtest.report.terminal import print_report
from serving.loadtest.request_builder import DEFAULT_REQUEST_COUNT, build_requests
from serving.loadtest.run_record import STATUS_NAMES, WRONG_ANSWER, PreparedRequest
from serving.loadtest.runner import CapacityError, LoadTestRunner
from serving.loadtest.target import LoadTarget, read_target

EXIT_MISSED, EXIT_UNUSABLE, EXIT_GENERATOR_LIMITED = 1, 2, 3  # exit statuses
MAX_SECONDS = 86_400.0  # a day
MAX_RATE = 1e6  # requests per second
MAX_TOTAL_ROWS = 20_000  # instances in all prepared requests together
DEFAULT_USERS = 16  # users of a closed loop


class LoadTestCommandError(click.ClickException):
    """There is no server to test, or nothing to send to it."""

    exit_code = EXIT_UNUSABLE


def _bounded_number(maximum: float, *, zero: bool = False) -> Callable[..., float | None]:
    """Return a callback of click that parses a number above 0 (or from 0) up to a maximum."""

    def parse(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
        if value is None:
            return None
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not (0 <= number <= maximum) or (not number and not zero):
            low = "from 0" if zero else "above 0"
            raise click.BadParameter(f"expected a number {low} up to {maximum:,g}; got {value!r}")
        return number

    return parse


def _parse_row_counts(
    _: click.Context, __: click.Parameter, values: Sequence[str]
) -> tuple[int, ...]:
    listed = ",".join(values)
    try:
        counts = tuple(int(part) for part in listed.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise click.BadParameter(f"expected numbers of rows such as 1 or 1,32; got {listed!r}")
    return counts


def _parse_slo(_: click.Context, __: click.Parameter, value: Sequence[str]) -> Any:
    try:
        return parse_objectives(value)
    except ObjectiveError as error:
        raise click.BadParameter(str(error)) from error


def _require_folder(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    """Refuse a page in a missing folder now, not after the load."""
    if value is not None and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"expected an existing folder; got {value.parent}")
    return value


@click.command()
@click.argument("url", default="http://127.0.0.1:8000")
@click.option(
    "--rate",
    callback=_bounded_number(MAX_RATE),
    metavar="R",
    help="send R requests per second, whether or not earlier ones have been answered (open loop)",
)
@click.option(
    "--users",
    type=click.IntRange(1),
    metavar="N",
    help="simulate N users, each of which sends its next request when the last one is answered "
    f"(closed loop)  [default, without --rate and --find-capacity: {DEFAULT_USERS}]",
)
@click.option(
    "--find-capacity",
    is_flag=True,
    help="search for the highest rate that meets the objectives of --slo",
)
@click.option(
    "--duration",
    callback=_bounded_number(MAX_SECONDS),
    default="10",
    show_default=True,
    metavar="S",
    help="duration of the measured load, in seconds",
)
@click.option(
    "--warm-up",
    callback=_bounded_number(MAX_SECONDS, zero=True),
    default="1",
    show_default=True,
    metavar="S",
    help="duration of the same load before the measurement, in seconds; --find-capacity has none",
)
@click.option(
    "--arrivals",
    type=click.Choice(["poisson", "constant"]),
    default="poisson",
    show_default=True,
    help="with --rate or --find-capacity: poisson sends at random intervals, as independent users "
    "do; constant at equal intervals",
)
@click.option(
    "--connections",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    metavar="N",
    help="with --rate or --find-capacity: largest number of connections; a request waits if all "
    "are busy",
)
@click.option(
    "--timeout",
    callback=_bounded_number(MAX_SECONDS),
    default="10",
    show_default=True,
    metavar="S",
    help="seconds after which a request is given up",
)
@click.option(
    "--rows",
    callback=_parse_row_counts,
    multiple=True,
    default=["1"],
    show_default=True,
    metavar="N,M",
    help="number of instances (rows) in each request; several numbers are used in turn; repeatable",
)
@click.option(
    "--format",
    "request_format",
    type=click.Choice(["json", "oip", "binary"]),
    default="json",
    show_default=True,
    help="format of the requests: json is POST /predict; oip the Open Inference Protocol in JSON; "
    "binary the same protocol with binary tensors",
)
@click.option("--model", metavar="NAME", help="model to test; required if the server has several")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="file of instances to send: JSON, JSON Lines or CSV  [default: generated from the model's "
    "schema]",
)
@click.option(
    "--key",
    envvar="LOADTEST_KEY",
    metavar="KEY",
    help="API key, if the server requires one  [env: LOADTEST_KEY]",
)
@click.option(
    "--ca",
    "ca_file",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="PEM file of the certificates to trust instead of the system's",
)
@click.option(
    "--slo",
    "objectives",
    multiple=True,
    callback=_parse_slo,
    metavar="P99=50MS,…",
    help="objectives that decide between success and failure, such as p99=50ms (99 % of the "
    "requests take at most 50 ms), errors=0.1% and rate=500 (answers per second); separated by "
    "commas; repeatable",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="seed of the random arrival times and instances",
)
@click.option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    callback=_require_folder,
    metavar="FILE",
    help="also write the report, with plots, to this HTML file",
)
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of tables")
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
    request_format: RequestFormat,
    model: str | None,
    data: Path | None,
    key: str | None,
    ca_file: str | None,
    objectives: tuple[Objective, ...],
    seed: int,
    html_file: Path | None,
    as_json: bool,
) -> None:
    """Measure a running server under load: latency, throughput, errors.

    URL is the address of the server [default: http://127.0.0.1:8000]. Requests are generated from
    the model's schema, which the server publishes. Each answer is compared with the answer to the
    same request before the load; a wrong answer counts as an error. Latency counts from the time at
    which a request was due, not from the time at which it was sent: a server that stalls delays the
    requests after it too, and that delay counts.

    \b
    Exit status:
      0  all objectives were met; or none were given and no answer was wrong
      1  an objective was missed, nothing was answered, or an answer was wrong
      2  nothing could be measured: no server, no such model, invalid options
      3  a latency objective was missed, but the load generator itself was
         overloaded or late: the result says nothing about the server
    """  # noqa: D301 - click reads the character \b, which a raw docstring does not have
    if sum((rate is not None, users is not None, find_capacity)) > 1:
        raise click.UsageError("expected one of --rate, --users and --find-capacity; got several")
    latency_objectives = [objective for objective in objectives if objective.kind == "latency"]
    if find_capacity and not latency_objectives:
        raise click.UsageError("expected --slo with a latency, as p99=50ms, for --find-capacity")
    if find_capacity and any(objective.kind == "rate" for objective in objectives):
        raise click.UsageError("expected no rate in --slo with --find-capacity, which finds it")
    try:
        target = read_target(url, model=model, key=key, ca_file=ca_file)
        requests = _build_requests(target, rows, request_format, data, seed)
        progress = ProgressDisplay()
        engine = LoadEngine(
            target.address,
            requests,
            connections=connections,
            timeout=timeout,
            on_progress=progress.on_progress,
        )
        generator = LoadGenerator(engine, arrivals=arrivals, seed=seed)
        runner = LoadTestRunner(generator, target, progress, objectives)
        if find_capacity:
            percentile = max(objective.percentile for objective in latency_objectives)
            load = runner.find_capacity(connections, duration, percentile)
        elif rate is not None:
            intervals = "random" if arrivals == "poisson" else "equal"
            load = f"{rate:,g} requests/s at {intervals} intervals (open loop)"
            runner.run_load(partial(generator.run_open_loop, rate), warm_up, duration)
        else:
            user_count = users or DEFAULT_USERS
            load = f"{user_count} users, each sends again when answered (closed loop)"
            runner.run_load(partial(generator.run_closed_loop, user_count), warm_up, duration)
    except (UnusableServerError, InstanceFileError, LoadEngineError, CapacityError) as error:
        raise LoadTestCommandError(str(error)) from error
    listed = " or ".join(map(str, rows))
    noun = "row" if rows == (1,) else "rows"
    load += f", {duration:g} s, {listed} {noun} per request, {request_format}"
    report = runner.build_report(load, _format_command())
    page_error = ""  # raised after the results have been printed
    if html_file is not None:
        # Imported here, because Matplotlib takes long to import.
        from serving.loadtest.report.html_page import render_page  # noqa: PLC0415

        try:
            html_file.write_text(render_page(report), encoding="utf-8")
        except OSError as error:
            page_error = f"{html_file}: expected a writable file; got: {error.strerror or error}"
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=1))
    else:
        print_report(report, Console())
    if page_error:
        raise LoadTestCommandError(page_error)
    sys.exit(_choose_exit_status(report))


def _build_requests(
    target: LoadTarget,
    row_counts: tuple[int, ...],
    request_format: RequestFormat,
    data: Path | None,
    seed: int,
) -> list[PreparedRequest]:
    # Fewer large requests are prepared, because answering 64 of them could take minutes.
    affordable = MAX_TOTAL_ROWS * len(row_counts) // sum(row_counts)
    count = max(len(row_counts), min(DEFAULT_REQUEST_COUNT, affordable))
    instance_count = sum(row_counts[number % len(row_counts)] for number in range(count))
    instances = (
        read_instances(data, target)
        if data is not None
        else generate_instances(target, instance_count, np.random.default_rng(seed))
    )
    return build_requests(target, row_counts, request_format, instances, count=count)


def _format_command() -> str:
    """Return the command line, without the API key."""
    words = ["serving", *sys.argv[1:]]
    for index, word in enumerate(words):
        if word.startswith("--key="):
            words[index] = "--key=KEY"
        elif word == "--key" and index + 1 < len(words):
            words[index + 1] = "KEY"
    return shlex.join(words)


def _choose_exit_status(report: LoadTestReport) -> int:
    statistics = report.statistics
    if report.objectives_met is None:
        has_wrong_answers = STATUS_NAMES[WRONG_ANSWER] in statistics.error_counts
        return 0 if statistics.answered_count and not has_wrong_answers else EXIT_MISSED
    if report.objectives_met and statistics.answered_count:
        return 0
    is_latency_missed = any(
        not result.is_met and result.objective.kind == "latency" and not result.reason
        for result in report.results
    )
    is_generator_limited = is_latency_missed and report.generator.warning is not None
    return EXIT_GENERATOR_LIMITED if is_generator_limited else EXIT_MISSED
