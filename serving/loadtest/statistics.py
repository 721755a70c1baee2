"""Figures of a run: how long its requests took, how many were answered, and what went wrong.

What someone waits for is counted from the time a request was due. A closed loop, and any client
that waits for an answer before it asks again, counts from the time it left, and so leaves out the
wait of all that would have come meanwhile (Tene's coordinated omission); both are told here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from serving.loadtest.run_record import STATUS_NAMES, TIMED_OUT, PreparedRequest, RunRecord

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)
MIN_REQUESTS_BEYOND = 10  # requests beyond a percentile; where fewer lie, it says little
MAX_FAULT_EXAMPLES = 3  # sentences on what was wrong
OK_STATUS = 200
MIN_REQUESTS_PER_THIRD = 30  # requests of a third of a run, to say whether it fell behind
GROWTH_FACTOR, MIN_GROWTH_SECONDS = (
    2.0,
    0.001,
)  # of the median from the first third to the last; seconds
_MAX_MICROSECONDS = 3_600_000_000  # µs of a histogram: an hour
_SIGNIFICANT_DIGITS = 3  # of its values that count
_SUB_BUCKET_BITS = 11  # of a value that its buckets tell apart, for so many digits
_TICKS_PER_HALF_DISTANCE = 5  # points of a curve until what lies beyond is halved


@dataclass(frozen=True, eq=False)
class TimeDistribution:
    """Times, in an HdrHistogram: exact to a thousandth, and to be merged with those of other runs.

    Attributes:
        count: of the times.
        mean: seconds; NaN of none.
        most: the longest, seconds; NaN of none.
        percentiles: seconds, by name, as `p99.9`; NaN of none.
        histogram: microseconds.
    """

    count: int
    mean: float
    most: float
    percentiles: dict[str, float]
    histogram: HdrHistogram

    @classmethod
    def of(cls, seconds: NDArray[np.float64]) -> TimeDistribution:
        """The distribution of times.

        Args:
            seconds: float64 `(n,)`; negative ones are taken for 0, those above an hour for one.
        """
        histogram = HdrHistogram(1, _MAX_MICROSECONDS, _SIGNIFICANT_DIGITS)
        times = np.clip(np.rint(seconds * 1e6), 0, _MAX_MICROSECONDS).astype(np.int64)
        # The histogram is Python, and slow: what falls into one bucket of it is counted first.
        width = np.maximum(np.frexp(times)[1] - _SUB_BUCKET_BITS, 0)
        times = times >> width << width
        for value, count in zip(*map(np.ndarray.tolist, np.unique_counts(times)), strict=True):
            histogram.record_value(value, count)
        mean = float(seconds.mean()) if len(seconds) else math.nan
        most = float(seconds.max()) if len(seconds) else math.nan
        found = cls(len(seconds), mean, most, {}, histogram)
        found.percentiles.update(
            {format_percentile_name(p): found.percentile(p) for p in PERCENTILES}
        )
        return found

    @property
    def few(self) -> tuple[str, ...]:
        """Names of the percentiles that rest on few requests."""
        return tuple(format_percentile_name(p) for p in PERCENTILES if self.rests_on_few(p))

    def percentile(self, percentile: float) -> float:
        """The least time that so many percent of all are not above; seconds, NaN of none.

        It is `numpy.percentile` by the method `inverted_cdf`, but for the width of a bucket.

        Args:
            percentile: above 0, up to 100.
        """
        if not self.count:
            return math.nan
        rank = math.ceil(round(self.count * percentile / 100, 6))
        # It rounds where it has to round up, which would be a request too early.
        found = self.histogram.get_value_at_percentile(100 * rank / self.count)
        return min(float(found) / 1e6, self.most)

    def rests_on_few(self, percentile: float) -> bool:
        """Whether fewer than ten times lie beyond it: another run would find another."""
        return round(self.count * (100 - percentile) / 100, 6) < MIN_REQUESTS_BEYOND

    def percentile_curve(self) -> NDArray[np.float64]:
        """Points of a plot on HdrHistogram's scale.

        Returns:
            float64 `(k, 2)`: 1 / (1 - q), so that each nine is as wide as the one before, from 1
            to the number of times; seconds.
        """
        points = list(self._points())
        if self.count:
            points.append((float(self.count), self.most))
        return np.array(points, np.float64).reshape(-1, 2)

    def _points(self) -> Iterator[tuple[float, float]]:
        for item in self.histogram.get_percentile_iterator(_TICKS_PER_HALF_DISTANCE):
            beyond = 1 - item.percentile_level_iterated_to / 100
            if beyond * self.count > 1:
                yield 1 / beyond, min(item.value_iterated_to / 1e6, self.most)

    def encode(self) -> str:
        """The histogram as HdrHistogram's tools read and add it: V2, deflated, base64; in µs."""
        return bytes(self.histogram.encode()).decode("ascii")

    def as_json(self) -> dict[str, Any]:
        """Milliseconds by name, `null` of none; `few`: which of them rest on few requests."""
        times = {**self.percentiles, "mean": self.mean, "max": self.most}
        return {
            **{key: _to_json_number(1000 * value) for key, value in times.items()},
            "requests": self.count,
            "few": list(self.few),
        }


@dataclass(frozen=True)
class SecondStatistics:
    """One second of a run.

    Attributes:
        second: from the start.
        rate: right answers that came in it, a second.
        p50: of the latency of requests that were due in it, seconds; NaN if none was answered.
        p99: likewise.
        errors: requests due in it that were not answered rightly.
    """

    second: int
    rate: float
    p50: float
    p99: float
    errors: int

    def as_json(self) -> dict[str, Any]:
        """Times in milliseconds."""
        return {
            "second": self.second,
            "rate": _to_json_number(self.rate),
            "p50_ms": _to_json_number(1000 * self.p50),
            "p99_ms": _to_json_number(1000 * self.p99),
            "errors": self.errors,
        }


@dataclass(frozen=True, eq=False)
class RunStatistics:
    """A run, summed up.

    Attributes:
        seconds: that requests were sent for. Rates count what happened within them: answers that
            come when the load is over are no throughput.
        open_loop: whether requests left when due, answered or not.
        connections: most that were open at once.
        offered: requests a second that were asked for; None in a closed loop.
        requests: that were due.
        sent: of those, how many left at all.
        answered: rightly.
        sent_rate: requests a second.
        rate: right answers a second.
        rows_per_second: in right answers.
        errors: requests that were not answered rightly, by name of what came instead.
        latency: from the due time, of what was answered rightly and of what timed out, at the time
            it was given up.
        service: from leaving, of the same; what a closed loop sees.
        late: what the generator itself added, of all that left.
        falls_behind: whether those due in the last third of an open loop waited far longer than
            those of the first: what waits grows, and in a longer run latency would have no bound.
        by_second: second by second.
        faults: up to three sentences on what was wrong, with how often each was seen.
    """

    seconds: float
    open_loop: bool
    connections: int
    offered: float | None
    requests: int
    sent: int
    answered: int
    sent_rate: float
    rate: float
    rows_per_second: float
    errors: dict[str, int]
    latency: TimeDistribution
    service: TimeDistribution
    late: TimeDistribution
    falls_behind: bool
    by_second: tuple[SecondStatistics, ...]
    faults: tuple[tuple[str, int], ...]

    @property
    def error_share(self) -> float:
        """Of all requests, from 0 to 1; 1 if there were none."""
        return sum(self.errors.values()) / self.requests if self.requests else 1.0

    def as_json(self) -> dict[str, Any]:
        """What `--json` shows: times in milliseconds, rates a second, shares from 0 to 1."""
        return {
            "latency_ms": self.latency.as_json(),
            "rate": _to_json_number(self.rate),
            "errors": {
                "count": sum(self.errors.values()),
                "share": self.error_share,
                "by_status": self.errors,
                "examples": [{"fault": said, "count": count} for said, count in self.faults],
            },
            "offered": self.offered,
            "sent_rate": _to_json_number(self.sent_rate),
            "requests": self.requests,
            "sent": self.sent,
            "answered": self.answered,
            "rows_per_second": _to_json_number(self.rows_per_second),
            "seconds": self.seconds,
            "open_loop": self.open_loop,
            "connections": self.connections,
            "falls_behind": self.falls_behind,
            "service_ms": self.service.as_json(),
            "late_ms": self.late.as_json(),
            "by_second": [second.as_json() for second in self.by_second],
            "histograms_us": {"latency": self.latency.encode(), "service": self.service.encode()},
        }


def compute_statistics(
    record: RunRecord, calls: Sequence[PreparedRequest], offered: float | None
) -> RunStatistics:
    """Sum up a run.

    Args:
        record: of its requests.
        calls: that `record.call` counts through.
        offered: requests a second that were asked for; None in a closed loop.
    """
    right = record.status == OK_STATUS
    in_time = right & (record.ended <= record.seconds)
    felt = right | (record.status == TIMED_OUT)
    left = np.isfinite(record.sent)
    rows = np.array([call.rows for call in calls], np.int64)
    sent_in_time = np.count_nonzero(record.sent <= record.seconds)
    return RunStatistics(
        seconds=record.seconds,
        open_loop=record.open_loop,
        connections=record.connections,
        offered=offered,
        requests=len(record.due),
        sent=int(np.count_nonzero(left)),
        answered=int(np.count_nonzero(right)),
        sent_rate=_per_second(sent_in_time, record.seconds),
        rate=_per_second(np.count_nonzero(in_time), record.seconds),
        rows_per_second=_per_second(int(rows[record.call[in_time]].sum()), record.seconds),
        errors=_count_errors(record.status[~right]),
        latency=TimeDistribution.of(record.latency[felt]),
        service=TimeDistribution.of(record.service[felt & left]),
        late=TimeDistribution.of(record.late[left]),
        falls_behind=record.open_loop and _is_growing(record.due[felt], record.latency[felt]),
        by_second=tuple(_summarize_seconds(record, right, felt)),
        faults=tuple(record.faults.most_common(MAX_FAULT_EXAMPLES)),
    )


def format_percentile_name(percentile: float) -> str:
    """As JSON and objectives have it: `p99.9`."""
    return f"p{percentile:.10g}"


def _count_errors(statuses: NDArray[np.int16]) -> dict[str, int]:
    """How often each came, the commonest first."""
    found, counts = np.unique(statuses, return_counts=True)
    named = [STATUS_NAMES.get(status, str(status)) for status in found.tolist()]
    pairs = zip(named, counts.tolist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))


def _is_growing(due: NDArray[np.float64], latency: NDArray[np.float64]) -> bool:
    """Whether the last third waited more than twice as long as the first, by the median."""
    third = len(due) // 3
    if third < MIN_REQUESTS_PER_THIRD:
        return False
    first, last = np.median(latency[:third]), np.median(latency[-third:])
    return bool(last > GROWTH_FACTOR * first + MIN_GROWTH_SECONDS)


def _summarize_seconds(
    record: RunRecord, right: NDArray[np.bool_], felt: NDArray[np.bool_]
) -> Iterator[SecondStatistics]:
    count = max(1, math.ceil(record.seconds))
    order = np.argsort(record.due, kind="stable")
    borders = np.searchsorted(record.due[order], np.arange(1, count))
    latency = record.latency
    came = np.bincount(record.ended[right].astype(np.int64), minlength=count)
    for second, places in enumerate(np.split(order, borders)):
        width = min(1.0, record.seconds - second)  # the last may not be whole
        well = int(np.count_nonzero(right[places]))
        times = latency[places[felt[places]]]
        p50, p99 = (
            np.percentile(times, (50, 99), method="inverted_cdf").tolist()
            if len(times)
            else (math.nan, math.nan)
        )
        yield SecondStatistics(
            second, _per_second(int(came[second]), width), p50, p99, len(places) - well
        )


def _per_second(count: int | np.intp, seconds: float) -> float:
    return float(count) / seconds if seconds > 0 else math.nan


def _to_json_number(value: float) -> float | None:
    """A number as JSON can have it."""
    return value if math.isfinite(value) else None
