"""Run a load test from the warm-up to the report: one load, or a search for the capacity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from serving.loadtest.capacity import CapacitySearch, RateProbe, is_sustained
from serving.loadtest.generator import (
    LoadGenerator,
    choose_duration,
    find_lowest_measurable_rate,
)
from serving.loadtest.generator_health import GeneratorHealth
from serving.loadtest.http_client import UnusableServerError, format_url
from serving.loadtest.objectives import Objective, evaluate_objectives
from serving.loadtest.progress import ProgressDisplay
from serving.loadtest.report import LoadTestReport
from serving.loadtest.report.content import describe_machine
from serving.loadtest.server_metrics import compare_metrics
from serving.loadtest.statistics import RunStatistics
from serving.loadtest.target import LoadTarget

PROBE_SECONDS = 2.0  # shortest measurement of a rate in a search
# The lowest rate of a search is the throughput of a closed loop divided by this.
LOWEST_RATE_DIVISOR = 64
# A rate that was sustained in short probes may fail over the whole duration. It is then multiplied
# by this factor and run again, up to this number of runs.
STEP_BACK_FACTOR = 0.93
MAX_CONFIRMATION_RUNS = 5

RunLoad = Callable[[float], tuple[RunStatistics, GeneratorHealth]]  # takes the duration in seconds


class CapacityError(Exception):
    """The capacity of this server cannot be measured with these objectives."""


class LoadTestRunner:
    """Runs a load test.

    Args:
        generator: Sender of the requests.
        target: Server and model.
        progress: Display of the progress on the terminal.
        objectives: Objectives to evaluate.
    """

    def __init__(
        self,
        generator: LoadGenerator,
        target: LoadTarget,
        progress: ProgressDisplay,
        objectives: Sequence[Objective],
    ) -> None:
        self._generator, self._target, self._progress = generator, target, progress
        self._objectives = objectives
        self._probes: list[RateProbe] = []
        self._capacity: float | None = None
        self._results: tuple[RunStatistics, GeneratorHealth]
        self._metrics = ("", "")

    def run_load(self, run: RunLoad, warm_up_seconds: float, load_seconds: float) -> None:
        """Run one load.

        Args:
            run: Function that runs the load for a number of seconds.
            warm_up_seconds: Duration of the same load beforehand, without measurement.
            load_seconds: Duration of the load.
        """
        if warm_up_seconds:
            with self._progress.show(warm_up_seconds, "warm-up"):
                run(warm_up_seconds)
        before = self._read_metrics()
        with self._progress.show(load_seconds, "load"):
            self._results = run(load_seconds)
        self._metrics = before, self._read_metrics()

    def find_capacity(self, users: int, load_seconds: float, percentile: float) -> str:
        """Search for the highest sustained rate, and confirm it over the whole duration.

        Args:
            users: Number of users of the closed loop that estimates the throughput.
            load_seconds: Duration of the load that confirms the rate, in seconds.
            percentile: Highest percentile of the objectives.

        Returns:
            A short description of the load.

        Raises:
            CapacityError: If the server is too slow to measure the percentile.
        """
        with self._progress.show(1.0, "throughput estimate"):
            saturated, _ = self._generator.run_closed_loop(users, 1.0)
        lowest_measurable = find_lowest_measurable_rate(percentile)
        if saturated.throughput < lowest_measurable:
            raise CapacityError(
                f"expected a server that answers {lowest_measurable:,.0f} requests/s or more, "
                f"because at fewer p{percentile:g} cannot be measured; got one that answers "
                f"{saturated.throughput:,.0f}/s; ask for a lower percentile"
            )

        def measure(rate: float) -> tuple[RunStatistics, GeneratorHealth]:
            seconds = choose_duration(rate, min(PROBE_SECONDS, load_seconds), percentile)
            with self._progress.show(seconds, f"{rate:,.0f}/s"):
                return self._generator.run_open_loop(rate, seconds)

        lowest_rate = max(lowest_measurable, saturated.throughput / LOWEST_RATE_DIVISOR)
        search = CapacitySearch(measure, min_rate=lowest_rate)
        start_rate = max(lowest_rate, saturated.throughput / 2)
        rate = search.find_highest_rate(self._objectives, start_rate)
        self._probes = search.list_probes(self._objectives)
        for _ in range(MAX_CONFIRMATION_RUNS if rate else 1):
            confirmed_rate = rate or lowest_rate
            self.run_load(
                partial(self._generator.run_open_loop, confirmed_rate),
                0.0,
                choose_duration(confirmed_rate, load_seconds, percentile),
            )
            statistics, generator = self._results
            sustained = is_sustained(statistics, self._objectives)
            self._probes.append(RateProbe(confirmed_rate, statistics, generator, sustained))
            if sustained:
                self._capacity = confirmed_rate
                break
            rate *= STEP_BACK_FACTOR
        found = f", {rate:,.0f} requests/s sustained" if self._capacity else ""
        return f"search for the highest rate (open loop){found}"

    def build_report(self, load: str, command: str) -> LoadTestReport:
        """Build the report of the last load.

        Args:
            load: Short description of the load.
            command: Command line of the load test, for the report.
        """
        statistics, generator = self._results
        target = self._target
        return LoadTestReport(
            target=f"{target.model}/{target.version} at "
            f"{format_url(target.address)}{target.base_path}",
            command=command,
            load=load,
            statistics=statistics,
            results=evaluate_objectives(statistics, self._objectives),
            server=compare_metrics(*self._metrics, target.model),
            generator=generator,
            probes=self._probes,
            machine=describe_machine(),
            capacity=self._capacity,
        )

    def _read_metrics(self) -> str:
        """Return the server's metrics; an empty text if there are none."""
        if not self._target.has_metrics:
            return ""
        try:
            status, body = self._target.get("/metrics")
        except UnusableServerError:  # the statistics of the load show that the server has ended
            return ""
        return body.decode(errors="replace") if status == 200 else ""
