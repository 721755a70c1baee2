"""A session: what is measured of a server, one load or a search, on the way to a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from serving.loadtest.capacity import CapacitySearch, RateProbe, is_sustained
from serving.loadtest.generator import LoadGenerator, choose_duration, find_lowest_measurable_rate
from serving.loadtest.generator_health import GeneratorHealth
from serving.loadtest.http_client import UnusableServerError, format_url
from serving.loadtest.objectives import Objective, evaluate_objectives
from serving.loadtest.progress import ProgressDisplay
from serving.loadtest.report import LoadTestReport
from serving.loadtest.report.content import describe_machine
from serving.loadtest.server_metrics import compare_metrics
from serving.loadtest.statistics import RunStatistics
from serving.loadtest.target import LoadTarget

PROBE_SECONDS = 2.0  # seconds of a rate that a search tries
LOWEST_RATE_DIVISOR = 64  # a rate so many times below what users get answered is not worth a probe
STEP_BACK_FACTOR = 0.93  # of a rate that was held for a moment, and not for the whole time
MAX_STEPS_BACK = 5

RunLoad = Callable[[float], tuple[RunStatistics, GeneratorHealth]]  # of seconds


class CapacityError(Exception):
    """What was asked for cannot be measured of this server."""


class LoadTestRunner:
    """Measures one server.

    Args:
        generator: of the load.
        target: the server.
        progress: shown meanwhile.
        objectives: to be judged by.
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
        self._held: float | None = None
        self._found: tuple[RunStatistics, GeneratorHealth]
        self._metrics = ("", "")

    def once(self, measure: RunLoad, warm_up: float, duration: float) -> None:
        """One load, after a warm-up."""
        if warm_up:
            with self._progress.over(warm_up, "warm-up"):
                measure(warm_up)
        before = self._look()
        with self._progress.over(duration, "load"):
            self._found = measure(duration)
        self._metrics = before, self._look()

    def find_capacity(self, users: int, duration: float, percentile: float) -> str:
        """Search, then hold what was found for the whole duration, or a little less, or less."""
        with self._progress.over(1.0, "as fast as it answers"):
            saturated, _ = self._generator.users(users, 1.0)
        least = find_lowest_measurable_rate(percentile)
        if saturated.rate < least:
            raise CapacityError(
                f"expected a server that answers {least:,.0f} requests/s or more, for of fewer "
                f"p{percentile:g} cannot be told; got one that answers {saturated.rate:,.0f}; ask "
                f"for a lower percentile"
            )

        def measure(rate: float) -> tuple[RunStatistics, GeneratorHealth]:
            seconds = choose_duration(rate, min(PROBE_SECONDS, duration), percentile)
            with self._progress.over(seconds, f"{rate:,.0f}/s"):
                return self._generator.rate(rate, seconds)

        lowest = max(least, saturated.rate / LOWEST_RATE_DIVISOR)
        search = CapacitySearch(measure, lowest=lowest)
        rate = search.highest(self._objectives, max(lowest, saturated.rate / 2))
        self._probes = search.probes(self._objectives)
        for _ in range(MAX_STEPS_BACK if rate else 1):
            shown = rate or lowest
            self.once(
                partial(self._generator.rate, shown),
                0.0,
                choose_duration(shown, duration, percentile),
            )
            figures, limits = self._found
            held = is_sustained(figures, self._objectives)
            self._probes.append(RateProbe(shown, figures, limits, held))
            if held:
                self._held = shown
                break
            rate *= STEP_BACK_FACTOR
        return "search of capacity" + (f", {rate:,.0f} requests/s held" if self._held else "")

    def report(self, load: str, command: str) -> LoadTestReport:
        """All that was measured.

        Args:
            load: in a few words.
            command: as it was typed.
        """
        figures, limits = self._found
        target = self._target
        return LoadTestReport(
            target=f"{target.model}/{target.version} at {format_url(target.address)}{target.base}",
            command=command,
            load=load,
            figures=figures,
            verdicts=evaluate_objectives(figures, self._objectives),
            server_side=compare_metrics(*self._metrics, target.model),
            limits=limits,
            probes=self._probes,
            machine=describe_machine(),
            held=self._held,
        )

    def _look(self) -> str:
        """The server's own metrics; nothing of one that tells none."""
        if not self._target.metrics:
            return ""
        try:
            status, body = self._target.get("/metrics")
        except UnusableServerError:  # it is gone, which the figures say
            return ""
        return body.decode(errors="replace") if status == 200 else ""
