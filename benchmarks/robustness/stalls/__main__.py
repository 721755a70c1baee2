"""Measure how long a client waits while the server handles hostile bodies and bundles.

A real server of one worker serves two small models. Each hostile body of `hostile_bodies.BODIES` is
sent to it, several times at once, while a client in another process sends one row every 5 ms.
Printed are the body's name, the statuses of its answers, the seconds until all of them were read,
the client's longest wait, and the most CPU time that the worker took during one wait, which is what
the wait would be on an idle machine. Then hostile bundles are put into the folder of models, one
after the other, until the server refuses them.

    python -m benchmarks.robustness.stalls --parallel 4 --only csv
"""

from __future__ import annotations

import argparse
import http.client
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.robustness.server import RunningServer, run_server
from benchmarks.robustness.stalls.hostile_bodies import BODIES, Body
from benchmarks.robustness.stalls.hostile_bundles import DAMAGES, add_hostile_bundle
from benchmarks.robustness.stalls.models import MODEL_NAMES, write_models
from benchmarks.robustness.stalls.probe_client import ProbeClient

MIB = 2**20
MAX_WAIT_SECONDS = 0.5
PATHS = {
    "rows": "/predict?model={}",
    "tensorflow": "/v1/models/{}:predict",
    "inference_v2": "/v2/models/{}/infer",
}

Attack = Callable[[RunningServer], str]  # returns the outcome in a few words


def send_body(body: Body, size: int, parallel: int, server: RunningServer) -> str:
    """Send a hostile body several times at once.

    Args:
        body: The body.
        size: Length of the body in bytes, before it is compressed.
        parallel: Number of connections that send it.
        server: The server.

    Returns:
        The statuses of the answers, such as "422" or "200, 503".
    """
    content = body.make(size)
    path = PATHS[body.protocol].format(MODEL_NAMES[body.model])
    headers = {"Content-Type": body.media_type} | body.make_headers(content)
    headers |= {"Accept": body.accept} if body.accept else {}
    headers |= {"Content-Encoding": body.encoding} if body.encoding else {}

    def send(_: int) -> str:
        connection = server.connect()
        try:
            connection.request("POST", path, content, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        finally:
            connection.close()
        return str(answer.status)

    with ThreadPoolExecutor(parallel) as pool:
        statuses = Counter(pool.map(send, range(parallel)))
    return ", ".join(sorted(statuses))


def list_attacks(size: int, parallel: int) -> Iterator[tuple[str, Attack]]:
    """Yield the name of each attack, and the function that carries it out."""
    for body in BODIES:
        yield body.name, partial(send_body, body, size, parallel)
    for name, damage in DAMAGES.items():
        yield name, partial(add_hostile_bundle, damage)


def measure_attack(name: str, attack: Attack, server: RunningServer, client: ProbeClient) -> bool:
    """Carry out an attack, print a line about it, and return whether the client waited too long."""
    client.read_waits()
    started = time.perf_counter()
    outcome = attack(server)
    seconds = time.perf_counter() - started
    waits = client.read_waits()
    is_too_long = waits.max_seconds > MAX_WAIT_SECONDS or waits.failures > 0
    print_line(
        f"{name:45} {outcome:14} {seconds:7.2f} s   longest wait "
        f"{waits.max_seconds * 1000:6.0f} ms, CPU of the worker in it "
        f"{waits.max_cpu_seconds * 1000:6.0f} ms{'   TOO LONG' * is_too_long}"
    )
    return is_too_long


def print_line(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Carry out all attacks, and return 1 if the client waited too long during one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument(
        "--size", type=float, default=9.9, help="length of a body, in MiB [default: 9.9]"
    )
    parser.add_argument(
        "--parallel",
        type=int,
        default=4,
        help="number of connections that send the body at once [default: 4]",
    )
    parser.add_argument(
        "--only", default="", help="part of the names of the attacks to carry out [default: all]"
    )
    options = parser.parse_args()
    slow_count = 0
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        write_models(models)
        with run_server(models, workers=1) as server:
            client = ProbeClient(server)
            try:
                for name, attack in list_attacks(int(options.size * MIB), options.parallel):
                    if options.only in name:
                        slow_count += measure_attack(name, attack, server, client)
            finally:
                client.stop()
    print_line(
        f"{slow_count} attacks made the client wait for more than {MAX_WAIT_SECONDS:g} s, or fail"
    )
    return bool(slow_count)


if __name__ == "__main__":
    sys.exit(main())
