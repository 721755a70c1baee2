"""Do clients receive an answer that is sent before their body has been read?

Python's http.client, curl, Node's fetch and Java's HttpClient post large bodies that are refused
at once: without a key (401), to an unknown URL (404), above the limit (413), to a full queue
(503). If a server closes its socket right after the answer, the connection is reset, and the client
loses the status and its `Retry-After`. Clients that are not installed are skipped.

    python -m benchmarks.robustness.early_answers [--requests N] [--models FOLDER]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from benchmarks.robustness.server import run_server

HERE = Path(__file__).parent
BODY_MEGABYTES = (2, 5, 9)
CLIENT_SECONDS = 300.0
NO_RETRY_AFTER = "-"

# Function of URL, number of requests, length of a body in bytes and a folder for files. It returns
# the outcome of each request: "STATUS RETRY-AFTER", or the error.
PostBodies = Callable[[str, int, int, Path], list[str]]


@dataclass(frozen=True)
class RefusalCase:
    """A refusal, and the settings of a server that refuses so.

    Attributes:
        status: Status that must be received.
        path: Path to post to.
        settings: Settings of the server.
        needs_key: Whether the server requires a key.
        retry_after: Value of the header `Retry-After`; `-` for none.
    """

    status: int
    path: str
    settings: dict[str, Any]
    needs_key: bool = False
    retry_after: str = NO_RETRY_AFTER


CASES = (
    RefusalCase(401, "/predict", {}, needs_key=True),
    RefusalCase(404, "/nowhere", {}),
    RefusalCase(413, "/predict", {"max_body": 1000}),
    # Less than a turn of the event loop, so that the queue is always full.
    RefusalCase(503, "/predict", {"queue_seconds": 1e-9}, retry_after="1"),
)


def post_with_python(url: str, requests: int, size: int, _folder: Path) -> list[str]:
    """Post with http.client, and return the outcome of each request."""
    parts, body, outcomes = urlsplit(url), bytes(size), []
    for _ in range(requests):
        connection = HTTPConnection(str(parts.hostname), parts.port, timeout=CLIENT_SECONDS)
        try:
            connection.request("POST", parts.path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            retry_after = response.headers.get("Retry-After", NO_RETRY_AFTER)
            outcomes.append(f"{response.status} {retry_after}")
        except (OSError, HTTPException) as error:
            outcomes.append(repr(error))
        finally:
            connection.close()
    return outcomes


def post_with_curl(url: str, requests: int, size: int, folder: Path, *options: str) -> list[str]:
    """Post with curl, which waits for "100 Continue" unless an option forbids it."""
    body = folder / f"{size}.json"
    body.write_bytes(bytes(size))
    command = [
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-H",
        "Content-Type: application/json",
        "--data-binary",
        f"@{body}",
        *options,
        "-w",
        "%{http_code} %header{retry-after}",
        url,
    ]
    outcomes = []
    for _ in range(requests):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False
        )
        is_answered = done.returncode == 0
        # Without the header, curl prints nothing in its place.
        outcome = f"{done.stdout.strip()} {NO_RETRY_AFTER}".split()[:2]
        outcomes.append(" ".join(outcome) if is_answered else done.stderr.strip())
    return outcomes


def post_with_curl_at_once(url: str, requests: int, size: int, folder: Path) -> list[str]:
    """Post with curl that does not wait for "100 Continue"."""
    return post_with_curl(url, requests, size, folder, "-H", "Expect:")


def make_program_client(*command: str) -> PostBodies:
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


# By name: the program that must be installed, and the function that posts.
CLIENTS: dict[str, tuple[str, PostBodies]] = {
    "Python http.client": (sys.executable, post_with_python),
    "curl": ("curl", post_with_curl),
    "curl, no Expect": ("curl", post_with_curl_at_once),
    "Node fetch": ("node", make_program_client("node", str(HERE / "post.mjs"))),
    "Java HttpClient": ("javac", make_program_client("java", str(HERE / "Post.java"))),
}


def find_installed_clients() -> dict[str, PostBodies]:
    """Return the clients whose program is installed, and print the names of the others."""
    installed = {}
    for name, (program, post) in CLIENTS.items():
        if shutil.which(program) is None:
            print_line(f"skipped: {name}, because {program} is not installed", to=sys.stderr)
        else:
            installed[name] = post
    return installed


def measure_client(
    case: RefusalCase, name: str, post: PostBodies, url: str, requests: int, folder: Path
) -> int:
    """Print a row of the table for a client, and return the number of answers that it lost."""
    expected, cells, lost = f"{case.status} {case.retry_after}", [], 0
    for megabytes in BODY_MEGABYTES:
        outcomes = Counter(post(url, requests, megabytes * 10**6, folder))
        received = outcomes.pop(expected, 0)
        lost += requests - received
        cells.append(f"{received} of {requests}")
        for outcome in sorted(outcomes):
            print_line(f"  {name}, {case.status}: {outcome}", to=sys.stderr)
    print_line(f"| {name} | {case.status} | " + " | ".join(cells) + " |")
    return lost


def print_line(text: str, *, to: TextIO = sys.stdout) -> None:
    """Print a line at once."""
    to.write(f"{text}\n")
    to.flush()


def main() -> int:
    """Print a table of the answers received; return 1 if one was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--requests", type=int, default=20, help="number of requests of each case [default: 20]"
    )
    parser.add_argument(
        "--models",
        type=Path,
        default=Path("models"),
        help="model repository to serve [default: models]",
    )
    options = parser.parse_args()
    clients, lost = find_installed_clients(), 0
    print_line("| client | status | " + " | ".join(f"{mb} MB" for mb in BODY_MEGABYTES) + " |")
    print_line("|---|---|" + "---|" * len(BODY_MEGABYTES))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = folder / "keys.txt"
        keys.write_text(f"someone predict sha256:{'0' * 64}\n")
        for case in CASES:
            settings = case.settings | ({"keys": keys} if case.needs_key else {})
            with run_server(options.models.absolute(), workers=1, **settings) as server:
                lost += sum(
                    measure_client(
                        case, client, post, server.url + case.path, options.requests, folder
                    )
                    for client, post in clients.items()
                )
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
