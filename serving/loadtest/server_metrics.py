"""The server's side: what it says itself of the requests it had, in /metrics before and after.

What a client feels less what the server counts is the network, the queues of the kernel before a
worker takes a request, and the generator.
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
STAGES = ("decode", "queue", "run", "encode")  # as they follow each other
PERCENTILES = (50, 90, 99)
FIRST_ERROR_STATUS = 400  # HTTP's statuses from here on
NO_MODEL = ""  # of a request that was refused before it was clear what it asked for

_Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True)
class PercentileBounds:
    """A percentile as a histogram of Prometheus knows it.

    Attributes:
        low: bound of the bucket that it lies in.
        high: the other; infinite of the last.
        estimate: between them, were the bucket's values evenly spread; `low` in the last.
    """

    low: float
    high: float
    estimate: float


@dataclass(frozen=True)
class HistogramSummary:
    """What one histogram gained.

    Attributes:
        count: of the values.
        mean: of them; NaN of none. It is exact, percentiles are not.
        percentiles: by name, as `p99`; none of no values.
    """

    count: int
    mean: float
    percentiles: dict[str, PercentileBounds]

    def as_json(self) -> dict[str, Any]:
        """Of percentiles the bounds of their buckets, `null` for none, in the unit they are in."""
        return {
            "count": self.count,
            "mean": self.mean if self.count else None,
            **{
                name: [found.low, found.high if math.isfinite(found.high) else None]
                for name, found in self.percentiles.items()
            },
        }


@dataclass(frozen=True)
class ServerMetrics:
    """What a server says of the time between two looks at it; other clients' requests included.

    Attributes:
        requests: that came for the model.
        seconds: each took, from its head to its answer.
        stages: of that, in seconds, by name, in their order; none if they are not told.
        batch_rows: rows of the run that answered a request, as many times as it answered requests;
            None if not told.
        refused: answers by status, of 400 and above, those before the model was known included.
    """

    requests: int
    seconds: HistogramSummary
    stages: dict[str, HistogramSummary]
    batch_rows: HistogramSummary | None
    refused: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """What `--json` shows; times in seconds."""
        return {
            "requests": self.requests,
            "seconds": self.seconds.as_json(),
            "stages": {name: spread.as_json() for name, spread in self.stages.items()},
            "batch_rows": self.batch_rows.as_json() if self.batch_rows else None,
            "refused": self.refused,
        }


def compare_metrics(before: str, after: str, model: str) -> ServerMetrics | None:
    """What happened between two answers of /metrics.

    Args:
        before: the text of the first.
        after: of the second.
        model: whose requests to look at, of whichever protocol and version.

    Returns:
        None if either is not of such a server, if the second knows no requests for the model, or
        if it counts less than the first: then the server was started anew in between.
    """
    try:
        gained = _subtract_counters(_parse_counters(before), _parse_counters(after))
    except ValueError:
        return None
    if any(value < 0 for value in gained.values()):
        return None
    seconds = _summarize_histogram(gained, SECONDS_METRIC, {"model": model})
    if seconds is None:
        return None
    stages = {
        s: _summarize_histogram(gained, STAGE_SECONDS_METRIC, {"model": model, "stage": s})
        for s in STAGES
    }
    return ServerMetrics(
        requests=seconds.count,
        seconds=seconds,
        stages={stage: spread for stage, spread in stages.items() if spread is not None},
        batch_rows=_summarize_histogram(gained, BATCH_ROWS_METRIC, {"model": model}),
        refused=_count_refusals(gained, model),
    )


def _parse_counters(text: str) -> _Series:
    """The numbers that only ever grow.

    Raises:
        ValueError: if it is not the text format of Prometheus, or another server's.
    """
    families = list(text_string_to_metric_families(text))
    if not any(family.name.startswith(METRIC_PREFIX) for family in families):
        raise ValueError(
            f"expected metrics that begin with {METRIC_PREFIX}, got {len(families)} others"
        )
    return {
        (sample.name, frozenset(sample.labels.items())): float(sample.value)
        for family in families
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


def _subtract_counters(before: _Series, after: _Series) -> _Series:
    return {key: value - before.get(key, 0.0) for key, value in after.items()}


def _count_refusals(gained: _Series, model: str) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for (name, pairs), value in gained.items():
        labels = dict(pairs)
        if name != REQUESTS_METRIC or labels.get("model") not in (model, NO_MODEL) or not value:
            continue
        code = labels.get("code", "")
        if code.isdecimal() and int(code) >= FIRST_ERROR_STATUS:
            found[code] += int(value)
    return dict(sorted(found.items()))


def _summarize_histogram(
    gained: _Series, name: str, asked: Mapping[str, str]
) -> HistogramSummary | None:
    """A histogram, all series with these labels added; None if there are none."""
    buckets: dict[float, float] = defaultdict(float)
    total = 0.0
    for (sample, pairs), value in gained.items():
        labels = dict(pairs)
        if any(labels.get(label) != held for label, held in asked.items()):
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
    """As `histogram_quantile` of Prometheus estimates it."""
    rank = cumulative[-1] * percentile / 100
    place = next(i for i, count in enumerate(cumulative) if count >= rank and count > 0)
    low, below = (bounds[place - 1], cumulative[place - 1]) if place else (0.0, 0.0)
    high = bounds[place]
    if math.isinf(high):
        return PercentileBounds(low, high, low)
    share = (rank - below) / (cumulative[place] - below)
    return PercentileBounds(low, high, low + (high - low) * share)
