"""The load generator wrk, on one thread and with persistent connections."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.contenders.encodings import PostRequest
from benchmarks.contenders.processes import measure_memory_mb

LUA_SCRIPT = """\
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
MEMORY_INTERVAL_SECONDS = 1  # a measurement of the memory costs the server milliseconds
MAX_STOP_SECONDS = 60
WARM_UP_CONNECTIONS, WARM_UP_SECONDS = 16, 1  # enough connections that every worker gets some


@dataclass(frozen=True)
class WrkResult:
    """What wrk measured.

    Attributes:
        requests_per_second: Answers with a status below 400, per second.
        p50_ms: Median of the latency, in ms.
        p99_ms: 99th percentile of the latency, in ms.
        errors: Number of requests that were refused or whose connection failed.
        memory_mb: Largest memory of the server during the load, in MB (PSS).
    """

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    memory_mb: float


class WrkClient:
    """Sends the same request over and over.

    Args:
        request: The request.
        folder: Folder for wrk's script and the body; created if it does not exist.
    """

    def __init__(self, request: PostRequest, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        body, self._script = folder / "body", folder / "post.lua"
        body.write_bytes(request.body)
        headers = "\n".join(
            f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}"
            for name, value in request.headers.items()
        )
        script = LUA_SCRIPT.format(headers=headers, body=json.dumps(str(body)))
        self._script.write_text(script, encoding="utf-8")

    def warm_up(self, url: str) -> None:
        """Send requests for a second, so that every worker has answered some."""
        self._read_result(self._start(url, WARM_UP_CONNECTIONS, WARM_UP_SECONDS))

    def run(self, url: str, *, connections: int, seconds: int) -> WrkResult:
        """Put a load on a server and measure it.

        Args:
            url: URL to post to.
            connections: Number of connections, each with one request at a time.
            seconds: Duration of the load, in seconds.
        """
        process = self._start(url, connections, seconds)
        memory_mb = []
        for _ in range(seconds + MAX_STOP_SECONDS):
            memory_mb.append(measure_memory_mb(excluded=process.pid))
            with suppress(subprocess.TimeoutExpired):
                process.wait(MEMORY_INTERVAL_SECONDS)
                break
        result = self._read_result(process)
        return WrkResult(
            requests_per_second=(result["requests"] - result["refused"]) / result["us"] * 1e6,
            p50_ms=result["p50"] / 1e3,
            p99_ms=result["p99"] / 1e3,
            errors=int(result["refused"] + result["broken"]),
            memory_mb=max([*memory_mb, measure_memory_mb()]),
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
                str(self._script),
                url,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _read_result(self, process: subprocess.Popen[str]) -> dict[str, float]:
        output, _ = process.communicate(timeout=MAX_STOP_SECONDS)
        if process.returncode:
            raise RuntimeError(
                f"expected wrk to exit with status 0; got {process.returncode}: {output}; check "
                "that the server is still running"
            )
        result: dict[str, float] = json.loads(output.splitlines()[-1])
        return result


def require_wrk() -> None:
    """Refuse to run if wrk is not installed.

    Raises:
        click.ClickException: If wrk is not on PATH.
    """
    if shutil.which("wrk") is None:
        raise click.ClickException("expected wrk on PATH; got none; run: apt-get install wrk")


def read_wrk_version() -> str:
    """Return the version of the installed wrk, or `unknown`."""
    # wrk prints its version and exits with status 1.
    output = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"wrk (\S+)", output)
    return match[1] if match else "unknown"
