"""What the generator can do here, and whether it, and not the server, was what a run measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from serving.loadtest.engine import LoadEngine
from serving.loadtest.http_client import ServerAddress
from serving.loadtest.run_record import PreparedRequest, RunRecord

MAX_BUSY_SHARE = 0.8  # of the time; a generator that is busy for longer is not punctual any more
MAX_RATE_SHARE = 0.8  # of the most it can send
MAX_DELAY_SHARE = 0.33  # of the latency at p99
MIN_DELAY_MS = 0.5  # that are not worth a word
CALIBRATION_SECONDS, CALIBRATION_USERS = 0.5, 16  # of the measurement of what it can send
EXIT_TIMEOUT_SECONDS = 5.0  # seconds for the process that answers to end


@dataclass(frozen=True)
class GeneratorHealth:
    """The generator's part in a run.

    Attributes:
        processor_share: of one core that it used.
        late_p99_ms: how late requests left for no fault of the server's, 99th percentile.
        most: requests a second that it can send of these calls with one core; None if not measured.
        verdict: a sentence if it was the bottleneck, or late, else None.
    """

    processor_share: float
    late_p99_ms: float
    most: float | None
    verdict: str | None

    def as_json(self) -> dict[str, object]:
        """For the report."""
        return asdict(self)


def measure_max_rate(calls: Sequence[PreparedRequest]) -> float:
    """Requests a second that one core lets the generator send, to a process that only answers.

    Counted in processor time: where there are few cores, that process takes some of them.

    Args:
        calls: what is to be sent; the answer is as long as the first one's expected body.
    """
    body = calls[0].expected or b"{}"
    with subprocess.Popen(
        [sys.executable, "-m", "serving.loadtest.baseline_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            if process.stdin is None or process.stdout is None:
                raise AssertionError("both are pipes")
            process.stdin.write(b"%d\n" % len(body) + body)
            process.stdin.flush()
            address = ServerAddress("127.0.0.1", int(process.stdout.readline()))
            same = [PreparedRequest(call.wire, call.rows, body, lambda _: None) for call in calls]
            record = LoadEngine(address, same).closed_loop(
                CALIBRATION_USERS, CALIBRATION_SECONDS, np.arange(len(calls), dtype=np.int32)
            )
            process.stdin.close()
            process.wait(EXIT_TIMEOUT_SECONDS)
        finally:
            process.kill()
    return len(record.due) / record.processor


def assess_generator(record: RunRecord, sendable: float | None) -> GeneratorHealth:
    """Judge the generator in a run.

    Args:
        record: of the run.
        sendable: what `most` found for its calls, or None.
    """
    if not len(record.due):
        return GeneratorHealth(0.0, 0.0, sendable, None)
    share = record.processor / record.wall
    busy = max(record.processor, record.busy) / record.wall
    late = float(np.percentile(record.late, 99)) * 1e3
    latency = float(np.percentile(record.latency, 99)) * 1e3
    rate = len(record.due) / record.seconds
    verdict = None
    if busy >= MAX_BUSY_SHARE:
        verdict = f"it was busy {busy:.0%} of the time, on the one core it uses"
    elif sendable is not None and rate > MAX_RATE_SHARE * sendable:
        verdict = f"{rate:.0f} requests/s were to leave, and it can send {sendable:.0f} here"
    if verdict is not None:
        verdict = (
            f"The generator was the bottleneck: {verdict}. These figures say little of the server; "
            f"ask for less, or run it on another machine or a core of its own"
        )
    elif late > max(MIN_DELAY_MS, MAX_DELAY_SHARE * latency):
        verdict = (
            f"The generator was late: requests left up to {late:.1f} ms after their time (p99), of "
            f"{latency:.1f} ms that are reported, for it did not get the processor when it wanted "
            f"it; run it on another machine or a core of its own"
        )
    return GeneratorHealth(share, late, sendable, verdict)
