"""Statistics of a run: latency, throughput and errors, as a whole and second by second.

Latency counts from the time a request was due, which includes a wait for a connection while the
server stalls. Service time counts from the time the request was sent. A client that waits for each
answer before it sends again can measure only that (see `serving.loadtest.open_loop`).
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
MIN_REQUESTS_BEYOND = 10  # beyond a percentile; with fewer, another run would find another value
MAX_FAULT_EXAMPLES = 3
OK_STATUS = 200
# An open loop falls behind if the median latency of its last third exceeds that of its first third
# by this factor and this many seconds more. A third needs enough requests for a median.
GROWTH_FACTOR, MIN_GROWTH_SECONDS = 2.0, 0.001
MIN_REQUESTS_PER_THIRD = 30
# The parameters of HdrHistogram, whose values are microseconds.
_MAX_MICROSECONDS = 3_600_000_000  # an hour
_SIGNIFICANT_DIGITS = 3
_SUB_BUCKET_BITS = 11  # leading bits of a value that the buckets distinguish, at three digits
_TICKS_PER_HALF_DISTANCE = 5  # points of a curve per halving of the distance to 100 %


@dataclass(frozen=True, eq=False)
class TimeDistribution:
    """A distribution of times as an HdrHistogram: exact to 0.1 %, and mergeable with others.

    Attributes:
        count: Number of times.
        mean: Mean in seconds; NaN if there are none.
        maximum: Longest time in seconds; NaN if there are none.
        percentiles: Seconds by name, such as `p99.9`; NaN if there are none.
        histogram: HdrHistogram of the times, in microseconds.
    """

    count: int
    mean: float
    maximum: float
    percentiles: dict[str, float]
    histogram: HdrHistogram

    @classmethod
    def from_seconds(cls, seconds: NDArray[np.float64]) -> TimeDistribution:
        """Compute the distribution of times.

        Args:
            seconds: Times in seconds, float64 `(n,)`. Negative times count as 0, times above an
                hour as an hour.
        """
        histogram = HdrHistogram(1, _MAX_MICROSECONDS, _SIGNIFICANT_DIGITS)
        times = np.clip(np.rint(seconds * 1e6), 0, _MAX_MICROSECONDS).astype(np.int64)
        # The histogram is slow, as it is written in Python: values of the same bucket are counted
        # here first, and recorded together.
        shift = np.maximum(np.frexp(times)[1] - _SUB_BUCKET_BITS, 0)
        times = times >> shift << shift
        for value, count in zip(*map(np.ndarray.tolist, np.unique_counts(times)), strict=True):
            histogram.record_value(value, count)
        mean = float(seconds.mean()) if len(seconds) else math.nan
        maximum = float(seconds.max()) if len(seconds) else math.nan
        distribution = cls(len(seconds), mean, maximum, {}, histogram)
        distribution.percentiles.update(
            {format_percentile_name(p): distribution.compute_percentile(p) for p in PERCENTILES}
        )
        return distribution

    @property
    def uncertain_percentiles(self) -> tuple[str, ...]:
        """Names of the percentiles with fewer than ten times beyond them."""
        return tuple(format_percentile_name(p) for p in PERCENTILES if self.is_uncertain(p))

    def compute_percentile(self, percentile: float) -> float:
        """Return the smallest time that this percentage of all times does not exceed.

        It equals `numpy.percentile` with the method `inverted_cdf`, up to the width of a bucket.

        Args:
            percentile: Percentile, above 0 and up to 100.

        Returns:
            Seconds; NaN if there are no times.
        """
        if not self.count:
            return math.nan
        rank = math.ceil(round(self.count * percentile / 100, 6))
        # HdrHistogram rounds the rank instead of rounding it up, so it is given a whole rank.
        microseconds = self.histogram.get_value_at_percentile(100 * rank / self.count)
        return min(float(microseconds) / 1e6, self.maximum)

    def is_uncertain(self, percentile: float) -> bool:
        """Return whether fewer than ten times lie beyond a percentile."""
        return round(self.count * (100 - percentile) / 100, 6) < MIN_REQUESTS_BEYOND

    def compute_curve(self) -> NDArray[np.float64]:
        """Return the points of a plot of time against percentile, on HdrHistogram's scale.

        Returns:
            Float64 `(k, 2)`: first 1 / (1 - q) for the quantile q, from 1 to the number of times,
            which gives each further nine the same width on a logarithmic axis; then seconds.
        """
        points = list(self._iterate_points())
        if self.count:
            points.append((float(self.count), self.maximum))
        return np.array(points, np.float64).reshape(-1, 2)

    def _iterate_points(self) -> Iterator[tuple[float, float]]:
        for item in self.histogram.get_percentile_iterator(_TICKS_PER_HALF_DISTANCE):
            beyond = 1 - item.percentile_level_iterated_to / 100
            if beyond * self.count > 1:
                yield 1 / beyond, min(item.value_iterated_to / 1e6, self.maximum)

    def encode_histogram(self) -> str:
        """Return the histogram of microseconds in HdrHistogram's V2 format, deflated, in base64."""
        return bytes(self.histogram.encode()).decode("ascii")

    def as_json(self) -> dict[str, Any]:
        """Return milliseconds by name, null for NaN; `few` lists the uncertain percentiles."""
        times = {**self.percentiles, "mean": self.mean, "max": self.maximum}
        return {
            **{name: _to_json_number(1000 * seconds) for name, seconds in times.items()},
            "requests": self.count,
            "few": list(self.uncertain_percentiles),
        }


@dataclass(frozen=True)
class SecondStatistics:
    """One second of a run.

    Attributes:
        second: Number of the second, from 0.
        throughput: Correct answers that arrived in it, per second.
        p50: Median latency of the requests due in it, in seconds; NaN if none was answered.
        p99: 99th percentile of that latency, in seconds; NaN if none was answered.
        errors: Number of requests due in it without a correct answer.
    """

    second: int
    throughput: float
    p50: float
    p99: float
    errors: int

    def as_json(self) -> dict[str, Any]:
        """Return an entry of `by_second` of the output of `--json`."""
        return {
            "second": self.second,
            "rate": _to_json_number(self.throughput),
            "p50_ms": _to_json_number(1000 * self.p50),
            "p99_ms": _to_json_number(1000 * self.p99),
            "errors": self.errors,
        }


@dataclass(frozen=True, eq=False)
class RunStatistics:
    """The statistics of a run.

    Rates count what happened during the load: answers that arrive after it do not count.

    Attributes:
        load_seconds: Duration of the load, in seconds.
        is_open_loop: Whether requests were sent when due, whatever had been answered.
        max_connections: Largest number of connections open at the same time.
        offered_rate: Requested rate, per second; None for a closed loop.
        request_count: Number of requests that were due.
        sent_count: Number of requests that were sent.
        answered_count: Number of correct answers.
        sent_rate: Requests sent per second.
        throughput: Correct answers per second.
        rows_per_second: Instances in correct answers, per second.
        error_counts: Number of requests without a correct answer, by HTTP status or by the name of
            another failure.
        latency: Time from due to the end, of correct answers and of requests that timed out.
        service_time: Time from sent to the end, of the same requests.
        send_delay: Delay caused by the generator, of all requests sent.
        is_falling_behind: Whether latency grew during an open loop, so that a longer run would find
            a higher one: the server gets more requests than it can answer.
        by_second: Statistics second by second.
        fault_examples: The most frequent faults, each with its number of occurrences.
    """

    load_seconds: float
    is_open_loop: bool
    max_connections: int
    offered_rate: float | None
    request_count: int
    sent_count: int
    answered_count: int
    sent_rate: float
    throughput: float
    rows_per_second: float
    error_counts: dict[str, int]
    latency: TimeDistribution
    service_time: TimeDistribution
    send_delay: TimeDistribution
    is_falling_behind: bool
    by_second: tuple[SecondStatistics, ...]
    fault_examples: tuple[tuple[str, int], ...]

    @property
    def error_share(self) -> float:
        """Share of requests without a correct answer, 0 to 1; 1 if there were no requests."""
        if not self.request_count:
            return 1.0
        return sum(self.error_counts.values()) / self.request_count

    def as_json(self) -> dict[str, Any]:
        """Return the output of `--json`: milliseconds, rates per second, shares from 0 to 1."""
        return {
            "latency_ms": self.latency.as_json(),
            "rate": _to_json_number(self.throughput),
            "errors": {
                "count": sum(self.error_counts.values()),
                "share": self.error_share,
                "by_status": self.error_counts,
                "examples": [
                    {"fault": fault, "count": count} for fault, count in self.fault_examples
                ],
            },
            "offered": self.offered_rate,
            "sent_rate": _to_json_number(self.sent_rate),
            "requests": self.request_count,
            "sent": self.sent_count,
            "answered": self.answered_count,
            "rows_per_second": _to_json_number(self.rows_per_second),
            "seconds": self.load_seconds,
            "open_loop": self.is_open_loop,
            "connections": self.max_connections,
            "falls_behind": self.is_falling_behind,
            "service_ms": self.service_time.as_json(),
            "late_ms": self.send_delay.as_json(),
            "by_second": [second.as_json() for second in self.by_second],
            "histograms_us": {
                "latency": self.latency.encode_histogram(),
                "service": self.service_time.encode_histogram(),
            },
        }


def compute_statistics(
    record: RunRecord, requests: Sequence[PreparedRequest], offered_rate: float | None
) -> RunStatistics:
    """Compute the statistics of a run.

    Args:
        record: Measurements of the run.
        requests: Prepared requests that `record.request_index` refers to.
        offered_rate: Requested rate, per second; None for a closed loop.
    """
    is_correct = record.status == OK_STATUS
    is_in_time = is_correct & (record.ended_at <= record.load_seconds)
    is_timed = is_correct | (record.status == TIMED_OUT)
    is_sent = np.isfinite(record.sent_at)
    rows = np.array([request.rows for request in requests], np.int64)
    sent_in_time = np.count_nonzero(record.sent_at <= record.load_seconds)
    answered_rows = int(rows[record.request_index[is_in_time]].sum())
    timed_due, timed_latency = record.due_at[is_timed], record.latency[is_timed]
    return RunStatistics(
        load_seconds=record.load_seconds,
        is_open_loop=record.is_open_loop,
        max_connections=record.max_connections,
        offered_rate=offered_rate,
        request_count=len(record.due_at),
        sent_count=int(np.count_nonzero(is_sent)),
        answered_count=int(np.count_nonzero(is_correct)),
        sent_rate=_per_second(sent_in_time, record.load_seconds),
        throughput=_per_second(np.count_nonzero(is_in_time), record.load_seconds),
        rows_per_second=_per_second(answered_rows, record.load_seconds),
        error_counts=_count_errors(record.status[~is_correct]),
        latency=TimeDistribution.from_seconds(timed_latency),
        service_time=TimeDistribution.from_seconds(record.service_time[is_timed & is_sent]),
        send_delay=TimeDistribution.from_seconds(record.send_delay[is_sent]),
        is_falling_behind=record.is_open_loop and _is_growing(timed_due, timed_latency),
        by_second=tuple(_summarize_seconds(record, is_correct, is_timed)),
        fault_examples=tuple(record.fault_counts.most_common(MAX_FAULT_EXAMPLES)),
    )


def format_percentile_name(percentile: float) -> str:
    """Return the name of a percentile in objectives and JSON, such as `p99.9`."""
    return f"p{percentile:.10g}"


def _count_errors(statuses: NDArray[np.int16]) -> dict[str, int]:
    """Count each status, by name, the most frequent first."""
    values, counts = np.unique(statuses, return_counts=True)
    names = [STATUS_NAMES.get(status, str(status)) for status in values.tolist()]
    pairs = zip(names, counts.tolist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))


def _is_growing(due_at: NDArray[np.float64], latency: NDArray[np.float64]) -> bool:
    """Return whether the median latency of the last third is far above that of the first."""
    third = len(due_at) // 3
    if third < MIN_REQUESTS_PER_THIRD:
        return False
    first, last = np.median(latency[:third]), np.median(latency[-third:])
    return bool(last > GROWTH_FACTOR * first + MIN_GROWTH_SECONDS)


def _summarize_seconds(
    record: RunRecord, is_correct: NDArray[np.bool_], is_timed: NDArray[np.bool_]
) -> Iterator[SecondStatistics]:
    count = max(1, math.ceil(record.load_seconds))
    order = np.argsort(record.due_at, kind="stable")
    borders = np.searchsorted(record.due_at[order], np.arange(1, count))
    latency = record.latency
    arrived = np.bincount(record.ended_at[is_correct].astype(np.int64), minlength=count)
    for second, indices in enumerate(np.split(order, borders)):
        width = min(1.0, record.load_seconds - second)  # the last second may not be whole
        correct_count = int(np.count_nonzero(is_correct[indices]))
        times = latency[indices[is_timed[indices]]]
        p50, p99 = (
            np.percentile(times, (50, 99), method="inverted_cdf").tolist()
            if len(times)
            else (math.nan, math.nan)
        )
        throughput = _per_second(int(arrived[second]), width)
        yield SecondStatistics(second, throughput, p50, p99, len(indices) - correct_count)


def _per_second(count: int | np.intp, seconds: float) -> float:
    return float(count) / seconds if seconds > 0 else math.nan


def _to_json_number(value: float) -> float | None:
    """Return a finite number, or None for NaN and infinity, which JSON cannot express."""
    return value if math.isfinite(value) else None
