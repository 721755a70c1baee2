"""The server's own measurements of a load, from `/metrics` before and after it.

The rest of the time that the client measures is spent in the network, in the kernel's queues before
a worker accepts a request, and in the load generator.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

METRIC_PREFIX = "forwardpass_"
REQUESTS_METRIC = "forwardpass_requests_total"
SECONDS_METRIC = "forwardpass_request_seconds"
STAGE_SECONDS_METRIC = "forwardpass_stage_seconds"
BATCH_ROWS_METRIC = "forwardpass_batch_rows"
STAGES = ("decode", "queue", "run", "encode")  # in the order of a request
PERCENTILES = (50, 90, 99)
FIRST_ERROR_STATUS = 400
NO_MODEL = ""  # label of requests that were refused before their model was known

_Counters = dict[tuple[str, frozenset[tuple[str, str]]], float]  # by name and labels


@dataclass(frozen=True)
class PercentileBounds:
    """A percentile of a Prometheus histogram, which is known only to lie in a bucket.

    Attributes:
        low: Lower bound of the bucket.
        high: Upper bound of the bucket; infinite for the last one.
        estimate: Value between them, if the values in the bucket are uniform; `low` for the last
            bucket.
    """

    low: float
    high: float
    estimate: float


@dataclass(frozen=True)
class HistogramSummary:
    """The values that were added to a Prometheus histogram between two readings.

    Attributes:
        count: Number of values.
        mean: Exact mean of the values; NaN if there are none.
        percentiles: Bounds by name, such as `p99`; empty if there are no values.
    """

    count: int
    mean: float
    percentiles: dict[str, PercentileBounds]

    def as_json(self) -> dict[str, Any]:
        """Return count, mean, and the bounds of each percentile; null for infinity and NaN."""
        return {
            "count": self.count,
            "mean": self.mean if self.count else None,
            **{
                name: [bounds.low, bounds.high if math.isfinite(bounds.high) else None]
                for name, bounds in self.percentiles.items()
            },
        }


@dataclass(frozen=True)
class ServerMetrics:
    """The server's measurements between two readings; they include requests of other clients.

    Attributes:
        request_count: Number of requests for the model.
        duration: Time per request from its head to its answer, in seconds.
        stages: Time per stage of a request, in seconds, by name and in the order of a request;
            empty if the server does not measure stages.
        batch_rows: Rows of the batch that answered each request; None if not measured.
        refusals: Number of answers by status, for 400 and above; includes those that were refused
            before their model was known.
    """

    request_count: int
    duration: HistogramSummary
    stages: dict[str, HistogramSummary]
    batch_rows: HistogramSummary | None
    refusals: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Return the entry `server` of the output of `--json`; times in seconds."""
        return {
            "requests": self.request_count,
            "seconds": self.duration.as_json(),
            "stages": {name: summary.as_json() for name, summary in self.stages.items()},
            "batch_rows": self.batch_rows.as_json() if self.batch_rows else None,
            "refused": self.refusals,
        }


def compare_metrics(before: str, after: str, model: str) -> ServerMetrics | None:
    """Compute the server's measurements between two readings of `/metrics`.

    Args:
        before: Text of the first reading.
        after: Text of the second reading.
        model: Name of the model. All its versions and protocols are included.

    Returns:
        The measurements; None if a text is not from a forwardpass server, if it has no requests for
        the model, or if a counter went down, which means that the server was restarted.
    """
    try:
        added = _subtract_counters(_parse_counters(before), _parse_counters(after))
    except ValueError:
        return None
    if any(value < 0 for value in added.values()):
        return None
    duration = _summarize_histogram(added, SECONDS_METRIC, {"model": model})
    if duration is None:
        return None
    stages = {
        stage: _summarize_histogram(added, STAGE_SECONDS_METRIC, {"model": model, "stage": stage})
        for stage in STAGES
    }
    return ServerMetrics(
        request_count=duration.count,
        duration=duration,
        stages={stage: summary for stage, summary in stages.items() if summary is not None},
        batch_rows=_summarize_histogram(added, BATCH_ROWS_METRIC, {"model": model}),
        refusals=_count_refusals(added, model),
    )


def _parse_counters(text: str) -> _Counters:
    """Parse all counters and histograms, which are the metrics that never go down.

    Raises:
        ValueError: If the text is not Prometheus' text format, or not from a forwardpass server.
    """
    families = list(text_string_to_metric_families(text))
    if not any(family.name.startswith(METRIC_PREFIX) for family in families):
        raise ValueError(
            f"expected metrics that begin with {METRIC_PREFIX}; got {len(families)} others"
        )
    return {
        (sample.name, frozenset(sample.labels.items())): float(sample.value)
        for family in families
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


def _subtract_counters(before: _Counters, after: _Counters) -> _Counters:
    return {key: value - before.get(key, 0.0) for key, value in after.items()}


def _count_refusals(added: _Counters, model: str) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for (name, pairs), value in added.items():
        labels = dict(pairs)
        if name != REQUESTS_METRIC or labels.get("model") not in (model, NO_MODEL) or not value:
            continue
        code = labels.get("code", "")
        if code.isdecimal() and int(code) >= FIRST_ERROR_STATUS:
            counts[code] += int(value)
    return dict(sorted(counts.items()))


def _summarize_histogram(
    added: _Counters, name: str, required_labels: Mapping[str, str]
) -> HistogramSummary | None:
    """Add up all series of a histogram that have these labels; None if there are none."""
    buckets: dict[float, float] = defaultdict(float)
    total = 0.0
    for (sample, pairs), value in added.items():
        labels = dict(pairs)
        if any(labels.get(label) != required for label, required in required_labels.items()):
            continue
        if sample == f"{name}_bucket":
            buckets[float(labels["le"])] += value
        elif sample == f"{name}_sum":
            total += value
    if not buckets:
        return None
    bounds = sorted(buckets)
    cumulative = [buckets[bound] for bound in bounds]
    count = cumulative[-1]
    percentiles = (
        {f"p{p}": _estimate_percentile(bounds, cumulative, p) for p in PERCENTILES} if count else {}
    )
    return HistogramSummary(int(count), total / count if count else math.nan, percentiles)


def _estimate_percentile(
    bounds: list[float], cumulative: list[float], percentile: float
) -> PercentileBounds:
    """Estimate a percentile as Prometheus' `histogram_quantile` does."""
    rank = cumulative[-1] * percentile / 100
    bucket = next(i for i, count in enumerate(cumulative) if count >= rank and count > 0)
    low, below = (bounds[bucket - 1], cumulative[bucket - 1]) if bucket else (0.0, 0.0)
    high = bounds[bucket]
    if math.isinf(high):
        return PercentileBounds(low, high, low)
    share = (rank - below) / (cumulative[bucket] - below)
    return PercentileBounds(low, high, low + (high - low) * share)
