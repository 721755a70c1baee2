"""Swap versions hundreds of times under load, on a real server with two workers.

Versions appear, are rolled back and loaded again while clients keep asking. No request may fail;
each answer must be that of the version it names, as NumPy computes it; all workers must serve the
same version within a second; and the workers' memory must not grow. A second, shorter run uses a
server that keeps every session (`leaking_config.py`) and must find that its memory grows.

    python -m benchmarks.robustness.swaps --swaps 300
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes
from sklearn.datasets import load_digits

from benchmarks.robustness.background_client import BackgroundClient, ReceivedAnswer, prepare_post
from benchmarks.robustness.digits_versions import MAX_PROBABILITY_ERROR, MODEL_NAME, DigitsVersion
from benchmarks.robustness.server import HANG_SECONDS, RunningServer, run_server
from serving.loadtest.http_client import JSON_MEDIA_TYPE
from serving.loadtest.run_record import PreparedRequest

CONNECTIONS = 4
# One request in so many closes its connection, so that the next connection may meet another worker.
REQUESTS_PER_CONNECTION = 25
BODY_COUNT, ROWS_PER_BODY = 16, 4
SWAP_KINDS = ("rollback", "load", "appears")
SETTLE_SECONDS = 0.3  # a swap is over once the old version has not answered for this long
CHECK_INTERVAL_SECONDS = 0.02
MAX_DISAGREEMENT_SECONDS = 1.0
# Growth of two workers per swap. A session of this small model takes ten times as much.
MAX_GROWTH_KIB = 20.0
WARM_UP_SHARE = 0.2  # of the swaps; their memory is not counted


class VersionAnswer(NamedTuple):
    """When a request was sent and answered, and the version that answered it.

    Attributes:
        sent_at: Time at which the request was sent, of `time.perf_counter()`.
        received_at: Time at which it was answered, of `time.perf_counter()`.
        version: Version that the answer names.
    """

    sent_at: float
    received_at: float
    version: int


class VersionChecker:
    """Checks that each answer is that of the version it names.

    Args:
        server: The server that is asked.

    Attributes:
        requests: The requests to send.
        versions: Numbers of all versions that may answer.
        answers: All answers with status 200, in order.
        faults: Descriptions of requests that failed and of answers that are wrong.
    """

    def __init__(self, server: RunningServer) -> None:
        digits = load_digits().data.astype(np.float32)
        self._rows = digits[: BODY_COUNT * ROWS_PER_BODY].reshape(BODY_COUNT, ROWS_PER_BODY, 64)
        self._expected: dict[int, NDArray[np.float32]] = {}
        self.requests = self._prepare_requests(server)
        self.answers: list[VersionAnswer] = []
        self.faults: list[str] = []

    def _prepare_requests(self, server: RunningServer) -> list[PreparedRequest]:
        headers = {"Content-Type": JSON_MEDIA_TYPE, **server.headers}
        bodies = [json.dumps({"instances": rows.tolist()}).encode() for rows in self._rows]
        keep_alive, closing = (
            [
                prepare_post(server.address, "/predict", body, rows=ROWS_PER_BODY, headers=chosen)
                for body in bodies
            ]
            for chosen in (headers, headers | {"Connection": "close"})
        )
        return keep_alive * (REQUESTS_PER_CONNECTION - 1) + closing

    @property
    def versions(self) -> set[int]:
        """Numbers of all versions that may answer."""
        return set(self._expected)

    def add(self, version: DigitsVersion) -> None:
        """Accept the answers of a version from here on.

        Raises:
            AssertionError: If another version would give nearly the same answers, so that a mixed
                answer would not be noticed.
        """
        expected = np.stack([version.predict(rows) for rows in self._rows])
        for other in self._expected.values():
            if np.abs(other - expected).max(axis=(1, 2)).min() < 100 * MAX_PROBABILITY_ERROR:
                raise AssertionError(
                    f"expected versions that answer differently; got {version.number}, which "
                    f"answers almost like another"
                )
        self._expected[version.number] = expected

    def on_received(self, answer: ReceivedAnswer) -> None:
        """Check an answer, and record its version."""
        if answer.status != 200:
            self.faults.append(f"failed: {answer.status} {answer.body[:200]!r}")
            return
        content = json.loads(answer.body)
        expected = self._expected[content["version"]][answer.request_index % BODY_COUNT]
        difference = np.abs(np.array(content["probabilities"]) - expected).max()
        labels = expected.argmax(axis=1).tolist()
        if difference > MAX_PROBABILITY_ERROR or content["predictions"] != labels:
            self.faults.append(
                f"mixed: differs from version {content['version']} by {difference:.1e}"
            )
        self.answers.append(VersionAnswer(answer.sent_at, answer.received_at, content["version"]))


@dataclass
class VersionSwap:
    """What a swap of versions took.

    Attributes:
        kind: Cause of the swap: `appears`, `rollback` or `load`.
        first_answer_seconds: Seconds from the cause to the first answer of the new version.
        disagreement_seconds: Seconds from that answer until the last request that the old version
            answered was sent.
        memory_kib: Memory of all workers afterwards, in KiB (PSS).
    """

    kind: str
    first_answer_seconds: float
    disagreement_seconds: float
    memory_kib: float


@dataclass
class SwapRun:
    """The swaps of one run, and what its clients received.

    Attributes:
        swaps: All swaps, in order.
        checker: The answers and faults.
    """

    swaps: list[VersionSwap]
    checker: VersionChecker

    def measure_growth_kib(self) -> float:
        """Return the growth of the workers' memory per swap in KiB, without the warm-up.

        It is the slope of Theil and Sen (see `drift.py`), which a single step hardly changes.
        """
        warm_up = int(len(self.swaps) * WARM_UP_SHARE)
        sizes = [swap.memory_kib for swap in self.swaps[warm_up:]]
        return float(theilslopes(sizes).slope)


def run_swaps(
    count: int,
    *,
    config: str | None = None,
    poll: float = 1,
    settle_seconds: float = SETTLE_SECONDS,
) -> SwapRun:
    """Swap versions of a server while clients ask.

    Args:
        count: Number of swaps.
        config: Module of gunicorn settings to use instead of `serving run`.
        poll: Seconds after which the server looks for new versions again.
        settle_seconds: Seconds without an answer of the old version after which a swap is over.
    """
    with tempfile.TemporaryDirectory() as folder:
        models, staging = Path(folder) / "models", Path(folder) / "staging"
        (models / MODEL_NAME).mkdir(parents=True)
        for number in (1, 2):
            DigitsVersion(number).write(staging).rename(models / MODEL_NAME / str(number))
        with run_server(models, config=config, poll=poll, has_admin_key=True) as server:
            checker = VersionChecker(server)
            for number in (1, 2):
                checker.add(DigitsVersion(number))
            client = BackgroundClient(
                server.address,
                checker.requests,
                connections=CONNECTIONS,
                on_received=checker.on_received,
            )
            with client:
                swaps = _swap_repeatedly(count, server, checker, staging, settle_seconds)
            checker.faults += ["failed: no answer"] * client.count_lost()
        return SwapRun(swaps, checker)


def _swap_repeatedly(
    count: int, server: RunningServer, checker: VersionChecker, staging: Path, settle_seconds: float
) -> list[VersionSwap]:
    swaps: list[VersionSwap] = []
    highest = live = max(checker.versions)
    for index in range(count):
        kind = SWAP_KINDS[index % len(SWAP_KINDS)]
        if kind == "appears":
            highest += 1
            version = DigitsVersion(highest)
            checker.add(version)
            path = version.write(staging)
            cause: Callable[[], object] = partial(
                path.rename, server.models / MODEL_NAME / path.name
            )
        else:
            cause = partial(server.change_model, MODEL_NAME, kind)
        before, live = live, highest - 1 if kind == "rollback" else highest
        first, disagreement = _wait_for_swap(checker, cause, before, live, settle_seconds)
        memory_kib = server.measure_workers_mb() * 1024
        swaps.append(VersionSwap(kind, first, disagreement, memory_kib))
    return swaps


def _wait_for_swap(
    checker: VersionChecker,
    cause: Callable[[], object],
    before: int,
    after: int,
    settle_seconds: float,
) -> tuple[float, float]:
    """Cause a swap, and wait until all workers have made it.

    Returns:
        Seconds from the cause to the first answer of the new version, and from that answer until
        the last request that the old version answered was sent.
    """
    started, position = time.perf_counter(), len(checker.answers)
    cause()
    while True:
        time.sleep(CHECK_INTERVAL_SECONDS)
        answers, now = checker.answers[position:], time.perf_counter()
        first = min(
            (a.received_at for a in answers if a.version == after and a.sent_at >= started),
            default=None,
        )
        last = max((a.sent_at for a in answers if a.version == before), default=started)
        if first is not None and min(now - last, now - first) > settle_seconds:
            return first - started, max(0.0, last - first)
        if now - started > HANG_SECONDS:
            raise AssertionError(
                f"expected version {after} to answer; got none: {checker.faults[:3]}"
            )


def describe_run(title: str, run: SwapRun) -> str:
    """Return a paragraph about a run."""
    checker, swaps = run.checker, run.swaps
    lines = [
        f"{title}: {len(swaps)} swaps of {len(checker.versions)} versions, "
        f"{len(checker.answers):,} requests, of which "
        f"{sum(fault.startswith('failed') for fault in checker.faults)} failed and "
        f"{sum(fault.startswith('mixed') for fault in checker.faults)} were answered by a mixture "
        "of versions",
        *(f"  {fault}" for fault in checker.faults[:5]),
        *(_describe_kind(kind, swaps) for kind in SWAP_KINDS if any(s.kind == kind for s in swaps)),
    ]
    disagreements = [swap.disagreement_seconds * 1000 for swap in swaps]
    latencies = [(answer.received_at - answer.sent_at) * 1000 for answer in checker.answers]
    p50, p99 = np.percentile(latencies, [50, 99])
    lines += [
        f"  workers serve different versions for {statistics.median(disagreements):.0f} ms, "
        f"{max(disagreements):.0f} ms at most",
        f"  latency {p50:.1f} ms, p99 {p99:.0f} ms, {max(latencies):.0f} ms at most",
        f"  memory of both workers (PSS): {swaps[0].memory_kib / 1024:.0f} MiB at first, "
        f"{swaps[-1].memory_kib / 1024:.0f} MiB at last, {run.measure_growth_kib():+.1f} KiB per "
        "swap",
    ]
    return "\n".join(lines)


def _describe_kind(kind: str, swaps: Sequence[VersionSwap]) -> str:
    seconds = [swap.first_answer_seconds for swap in swaps if swap.kind == kind]
    return (
        f"  {kind}: first answer after {statistics.median(seconds):.2f} s, "
        f"{max(seconds):.2f} s at most"
    )


def main() -> None:
    """Swap versions of both servers, print what was measured, and fail if something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=300, help="number of swaps [default: 300]")
    options = parser.parse_args()
    run = run_swaps(options.swaps)
    sys.stdout.write(describe_run("the server", run) + "\n")
    leaking = run_swaps(options.swaps // 3, config="benchmarks.robustness.leaking_config")
    sys.stdout.write(describe_run("a server that leaks", leaking) + "\n")
    disagreement = max(swap.disagreement_seconds for swap in run.swaps)
    failures = {
        "requests failed or were answered wrongly": bool(run.checker.faults),
        f"workers disagreed for {disagreement:.1f} s": disagreement > MAX_DISAGREEMENT_SECONDS,
        "the server's memory grows": run.measure_growth_kib() >= MAX_GROWTH_KIB,
        "the leak was not noticed": leaking.measure_growth_kib() < MAX_GROWTH_KIB,
    }
    if any(failures.values()):
        reasons = "; ".join(failure for failure, has_failed in failures.items() if has_failed)
        raise SystemExit(
            "expected no fault, no growth, workers that agree within "
            f"{MAX_DISAGREEMENT_SECONDS:g} s and a leak that is noticed; got: {reasons}"
        )


if __name__ == "__main__":
    main()
