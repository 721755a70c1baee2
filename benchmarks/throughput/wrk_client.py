"""The client: wrk, on one thread, with every connection kept open."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.encodings import Request
from benchmarks.contenders.processes import memory_mb

SCRIPT = """\
wrk.method = "POST"
{headers}
local file = io.open({body}, "rb")
wrk.body = file:read("*a")
file:close()
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{{"requests": %d, "us": %d, "refused": %d, "broken": %d, "p50": %f, "p99": %f}}\\n',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""
BETWEEN_LOOKS = 1  # second; a look at the memory takes milliseconds from the server
GRACE = 60  # seconds for wrk to come to an end


@dataclass(frozen=True)
class Heard:
    """What a client saw.

    Attributes:
        requests_per_second: answered with a status below 400.
        p50_ms: of the latency, the median.
        p99_ms: of the latency, the 99th percentile.
        errors: requests that were refused or broke.
        memory_mb: of the server, the most that was seen.
    """

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    memory_mb: float


class Client:
    """Posts one request, again and again.

    Args:
        request: what it posts.
        folder: for its script and the body; made if need be.
    """

    def __init__(self, request: Request, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        body, self.script = folder / "body", folder / "post.lua"
        body.write_bytes(request.body)
        headers = "\n".join(
            f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}"
            for name, value in request.headers.items()
        )
        text = SCRIPT.format(headers=headers, body=json.dumps(str(body)))
        self.script.write_text(text, encoding="utf-8")

    def warm(self, url: str) -> None:
        """Ask for a second over so many connections that every worker has some."""
        self._end(self._start(url, 16, 1))

    def ask(self, url: str, *, connections: int, seconds: int) -> Heard:
        """Ask and measure.

        Args:
            url: where to post.
            connections: each with one request at a time.
            seconds: to ask for.
        """
        process = self._start(url, connections, seconds)
        looks = []
        for _ in range(seconds + GRACE):
            looks.append(memory_mb(but=process.pid))
            with suppress(subprocess.TimeoutExpired):
                process.wait(BETWEEN_LOOKS)
                break
        found = self._end(process)
        return Heard(
            requests_per_second=(found["requests"] - found["refused"]) / found["us"] * 1e6,
            p50_ms=found["p50"] / 1e3,
            p99_ms=found["p99"] / 1e3,
            errors=int(found["refused"] + found["broken"]),
            memory_mb=max([*looks, memory_mb()]),
        )

    def _start(self, url: str, connections: int, seconds: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                "wrk",
                "-t1",
                f"-c{connections}",
                f"-d{seconds}s",
                "--timeout",
                "10s",
                "--latency",
                "-s",
                str(self.script),
                url,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _end(self, process: subprocess.Popen[str]) -> dict[str, float]:
        said, _ = process.communicate(timeout=GRACE)
        if process.returncode:
            raise RuntimeError(f"expected wrk to end well; it said: {said}")
        heard: dict[str, float] = json.loads(said.splitlines()[-1])
        return heard
