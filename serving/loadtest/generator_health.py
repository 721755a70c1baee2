"""Whether the load generator was the bottleneck, in which case a run says little of the server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.loadtest.engine import LoadEngine
from serving.loadtest.http_client import ServerAddress
from serving.loadtest.run_record import PreparedRequest, RunRecord

MAX_BUSY_SHARE = 0.8  # a generator that is busy for more of the time sends late
MAX_RATE_SHARE = 0.8  # largest safe share of the highest rate that it can send
MAX_DELAY_SHARE = 0.33  # largest share of the p99 latency that may be the generator's delay
MIN_DELAY_MS = 0.5  # shorter delays are not reported
# Duration and users of the run that measures the highest rate.
CALIBRATION_SECONDS, CALIBRATION_USERS = 0.5, 16
EXIT_TIMEOUT_SECONDS = 5.0  # wait for the baseline server to end


@dataclass(frozen=True)
class GeneratorHealth:
    """The load and the delays of the generator itself during a run.

    Attributes:
        cpu_share: Share of one core that the generator used, 0 to 1.
        send_delay_p99_ms: 99th percentile of the delay between the time a request could be sent
            and the time it was, in milliseconds.
        max_rate: Requests per second that the generator can send on one core; None if unknown.
        warning: Sentence that says that the generator was overloaded or late; None if it was not.
    """

    cpu_share: float
    send_delay_p99_ms: float
    max_rate: float | None
    warning: str | None

    def as_json(self) -> dict[str, float | str | None]:
        """Return the entry `generator` of the output of `--json`."""
        return {
            "processor_share": self.cpu_share,
            "late_p99_ms": self.send_delay_p99_ms,
            "most": self.max_rate,
            "verdict": self.warning,
        }


def measure_max_rate(requests: Sequence[PreparedRequest]) -> float:
    """Measure the highest rate that the generator can send on one core.

    The generator sends to the baseline server, which only answers. The rate is per second of
    processor time: where there are few cores, the baseline server takes a part of them.

    Args:
        requests: Requests to send. Each is answered with the expected body of the first.

    Returns:
        Requests per second.
    """
    body = requests[0].expected_body or b"{}"
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
            with_one_answer = [
                PreparedRequest(request.http_bytes, request.rows, body, lambda _: None)
                for request in requests
            ]
            record = LoadEngine(address, with_one_answer).run_closed_loop(
                CALIBRATION_USERS, CALIBRATION_SECONDS, np.arange(len(requests), dtype=np.int32)
            )
            process.stdin.close()
            process.wait(EXIT_TIMEOUT_SECONDS)
        finally:
            process.kill()
    return len(record.due_at) / record.cpu_seconds


def assess_generator(record: RunRecord, max_rate: float | None) -> GeneratorHealth:
    """Assess whether the generator was overloaded or late during a run.

    Args:
        record: Measurements of the run.
        max_rate: Result of `measure_max_rate` for its requests; None if unknown.
    """
    if not len(record.due_at):
        return GeneratorHealth(0.0, 0.0, max_rate, None)
    cpu_share = record.cpu_seconds / record.wall_seconds
    busy_share = max(record.cpu_seconds, record.busy_seconds) / record.wall_seconds
    delay_ms = float(np.percentile(record.send_delay, 99)) * 1e3
    latency_ms = float(np.percentile(record.latency, 99)) * 1e3
    rate = len(record.due_at) / record.load_seconds
    warning = cause = None
    if busy_share >= MAX_BUSY_SHARE:
        cause = f"it was busy {busy_share:.0%} of the time on the one core it uses"
    elif max_rate is not None and rate > MAX_RATE_SHARE * max_rate:
        cause = f"{rate:.0f} requests/s were due, and it can send {max_rate:.0f}/s on this machine"
    if cause is not None:
        warning = (
            f"The load generator was the bottleneck: {cause}. The results say little about the "
            "server; lower the load, or run the generator on another machine or on its own core."
        )
    elif delay_ms > max(MIN_DELAY_MS, MAX_DELAY_SHARE * latency_ms):
        warning = (
            f"The load generator was late: it sent requests up to {delay_ms:.1f} ms after they "
            f"were due (p99), which is part of the reported latency of {latency_ms:.1f} ms. It had "
            "to wait for the processor; run it on another machine or on its own core."
        )
    return GeneratorHealth(cpu_share, delay_ms, max_rate, warning)
