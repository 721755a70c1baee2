"""How long an innocent client waits while hostile bodies and bundles are dealt with.

A real server of one worker serves two small models. Each hostile body of `bodies.BODIES` is sent
to it, several times at once, while a client in another process sends one row every 5 ms. Printed
are the body's name, the statuses that it was answered with, the seconds until all answers were
read, the client's longest wait, and the most CPU time that the worker took during one wait, which
is what the wait would be on a machine with nothing else to do. Then hostile bundles are put into
the folder of models, one after the other, until they are refused.

    python -m benchmarks.robustness.stalls --parallel 4 --only csv
"""

from __future__ import annotations

import argparse
import http.client
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.robustness.stalls.hostile_bodies import BODIES, Body
from benchmarks.robustness.stalls.hostile_bundles import MAKERS, put
from benchmarks.robustness.stalls.models import NAMES, Server, server
from benchmarks.robustness.stalls.probe_client import Innocent

MIB = 2**20
BOUND = 0.5  # seconds that the client may wait
PATHS = {
    "rows": "/predict?model={}",
    "tensorflow": "/v1/models/{}:predict",
    "inference_v2": "/v2/models/{}/infer",
}

Act = Callable[[Server], str]  # Something hostile; returns in a few words what came of it.


def send(body: Body, size: int, parallel: int, target: Server) -> str:
    """Send a hostile body several times at once.

    Args:
        body: The body.
        size: Bytes of it, once decompressed.
        parallel: Number of connections that send it.
        target: The server.

    Returns:
        The statuses of the answers, such as "422" or "200, 503".
    """
    content = body.make(size)
    path = PATHS[body.protocol].format(NAMES[body.model])
    headers = {"Content-Type": body.media} | body.headers(content)
    headers |= {"Accept": body.accept} if body.accept else {}
    headers |= {"Content-Encoding": body.encoding} if body.encoding else {}

    def one(_: int) -> str:
        connection = target.connect()
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
        statuses = Counter(pool.map(one, range(parallel)))
    return ", ".join(sorted(statuses))


def acts(size: int, parallel: int) -> Iterator[tuple[str, Act]]:
    """Yield the name of each hostile act, and the function that does it."""
    for body in BODIES:
        yield body.name, partial(send, body, size, parallel)
    for name, make in MAKERS.items():
        yield name, partial(put, make)


def main() -> int:
    """Do all that is hostile, and return 1 if the innocent client waited too long once."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--size", type=float, default=9.9, help="MiB of a body [default: 9.9]")
    parser.add_argument(
        "--parallel",
        type=int,
        default=4,
        help="connections that send the body at once [default: 4]",
    )
    parser.add_argument("--only", default="", help="part of the names of those to send [all]")
    options = parser.parse_args()
    too_long = []
    with server() as target:
        innocent = Innocent(target.host, target.port, target.workers())
        try:
            for name, act in acts(int(options.size * MIB), options.parallel):
                if options.only not in name:
                    continue
                innocent.waits()
                began = time.perf_counter()
                result = act(target)
                seconds = time.perf_counter() - began
                waits = innocent.waits()
                is_slow = waits.worst > BOUND or waits.failures > 0
                too_long += [name] * is_slow
                say(
                    f"{name:45} {result:14} {seconds:7.2f} s   worst wait "
                    f"{waits.worst * 1000:6.0f} ms, CPU of the worker in it "
                    f"{waits.worst_cpu * 1000:6.0f} ms{'   TOO LONG' * is_slow}"
                )
        finally:
            innocent.stop()
    say(f"{len(too_long)} of them made the client wait for more than {BOUND:g} s, or fail")
    return bool(too_long)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
