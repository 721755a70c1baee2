"""Do clients receive an answer that is given before their body has been read?

Python's http.client, curl, Node's fetch and Java's HttpClient post large bodies that are refused
at once: without a key (401), to an unknown URL (404), above the limit (413), to a full queue
(503). A server that closes its socket with the answer resets the connection, and the status, with
its `Retry-After`, is lost. Clients that are not installed are left out.

    python -m benchmarks.robustness.early_answers [--requests N] [--models FOLDER]
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

HERE = Path(__file__).parent
MEGABYTES = (2, 5, 9)
START_SECONDS, CLIENT_SECONDS = 60.0, 300.0
JSON = "Content-Type: application/json"

# Path and options of a server that gives this status.
CASES: dict[int, tuple[str, tuple[str, ...]]] = {
    401: ("/predict", ("--keys", "{keys}")),
    404: ("/nowhere", ()),
    413: ("/predict", ("--max-body", "1000")),
    503: ("/predict", ("--queue-seconds", "1e-9")),  # less than a turn of the event loop
}


def post_with_python(url: str, requests: int, size: int, _folder: Path) -> list[str]:
    """Return the outcome of each request: "STATUS RETRY-AFTER", or the error."""
    parts, body, met = urlsplit(url), bytes(size), []
    for _ in range(requests):
        connection = HTTPConnection(str(parts.hostname), parts.port, timeout=CLIENT_SECONDS)
        try:
            connection.request("POST", parts.path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            met.append(f"{response.status} {response.headers.get('Retry-After', '-')}")
        except (OSError, HTTPException) as error:
            met.append(repr(error))
        finally:
            connection.close()
    return met


def post_with_curl(url: str, requests: int, size: int, folder: Path, *extra: str) -> list[str]:
    """Post with curl, which waits for "100 Continue" unless `extra` forbids it."""
    body = folder / f"{size}.json"
    body.write_bytes(bytes(size))
    command = [
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-H",
        JSON,
        "--data-binary",
        f"@{body}",
        *extra,
        "-w",
        "%{http_code} %header{retry-after}",
        url,
    ]
    met = []
    for _ in range(requests):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False
        )
        met.append(done.stdout.strip() if done.returncode == 0 else done.stderr.strip())
    return met


def post_with_curl_at_once(url: str, requests: int, size: int, folder: Path) -> list[str]:
    """Post with curl that does not wait for "100 Continue"."""
    return post_with_curl(url, requests, size, folder, "-H", "Expect:")


def post_with(*command: str) -> Callable[[str, int, int, Path], list[str]]:
    """Return a function that posts with a program of this folder."""

    def post(url: str, requests: int, size: int, _folder: Path) -> list[str]:
        done = subprocess.run(
            [*command, url, str(requests), str(size)],
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
            check=True,
        )
        return done.stdout.splitlines()

    return post


CLIENTS: dict[str, tuple[str, Callable[[str, int, int, Path], list[str]]]] = {
    "Python http.client": (sys.executable, post_with_python),
    "curl": ("curl", post_with_curl),
    "curl, no Expect": ("curl", post_with_curl_at_once),
    "Node fetch": ("node", post_with("node", str(HERE / "post.mjs"))),
    "Java HttpClient": ("javac", post_with("java", str(HERE / "Post.java"))),
}


@contextmanager
def serving(models: Path, options: tuple[str, ...]) -> Iterator[str]:
    """Run a server of one worker until the end of the block, and yield its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "serving",
        "run",
        "--models",
        str(models),
        "--workers",
        "1",
        "--port",
        str(port),
        "--log-level",
        "error",
        *options,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_until_ready(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        connection = HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise TimeoutError(f"expected a ready server within {START_SECONDS:g} s; got none")


def write(text: str, *, to: TextIO = sys.stdout) -> None:
    """Write a line at once."""
    to.write(f"{text}\n")
    to.flush()


def main() -> int:
    """Print a table of statuses received; return 1 if one was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20, help="requests of each case")
    parser.add_argument("--models", type=Path, default=Path("models"), help="repository to serve")
    chosen = parser.parse_args()
    clients = {
        name: post for name, (program, post) in CLIENTS.items() if shutil.which(program) is not None
    }
    for name in [name for name in CLIENTS if name not in clients]:
        write(f"left out: {name}, since {CLIENTS[name][0]} is not installed", to=sys.stderr)
    lost = 0
    write("| client | status | " + " | ".join(f"{size} MB" for size in MEGABYTES) + " |")
    write("|---|---|" + "---|" * len(MEGABYTES))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = folder / "keys.txt"
        keys.write_text(f"someone predict sha256:{'0' * 64}\n")
        for status, (path, template) in CASES.items():
            options = tuple(option.format(keys=keys) for option in template)
            expected = f"{status} {'1' if status == 503 else '-'}"
            with serving(chosen.models, options) as url:
                for client, post in clients.items():
                    cells = []
                    for size in MEGABYTES:
                        met = post(url + path, chosen.requests, size * 10**6, folder)
                        right = sum(
                            one.removesuffix(" -") == expected.removesuffix(" -") for one in met
                        )
                        lost += chosen.requests - right
                        cells.append(f"{right} of {chosen.requests}")
                        for other in sorted(set(met) - {expected, expected.removesuffix(" -")}):
                            write(f"  {client}, {status}: {other}", to=sys.stderr)
                    write(f"| {client} | {status} | " + " | ".join(cells) + " |")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
