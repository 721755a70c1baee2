"""Samples: what a server's processes hold, read out of /proc now and then."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GONE = (FileNotFoundError, ProcessLookupError)
ESTABLISHED = "01"  # include/net/tcp_states.h


@dataclass(frozen=True)
class Sample:
    """A server at one moment.

    Attributes:
        at: seconds from the start.
        rss_mb: memory of all workers, MB.
        pss_mb: the same, of what they share with others each its part.
        arbiter_mb: memory of the process that starts them (RSS).
        descriptors: open in all processes, sockets included.
        connections: to the server that are open at the clients' end.
        threads: of all processes.
        workers: their process ids.
    """

    at: float
    rss_mb: float
    pss_mb: float
    arbiter_mb: float
    descriptors: int
    connections: int
    threads: int
    workers: tuple[int, ...]


class Sampler(threading.Thread):
    """Takes samples from `start` to `end`.

    Args:
        master: process id of the server's arbiter.
        port: that it listens on, at 127.0.0.1.
        every: seconds from one to the next.

    Attributes:
        samples: in order.
        start_time: of `time.monotonic`, from which seconds are counted.
    """

    def __init__(self, master: int, port: int, every: float) -> None:
        super().__init__(name="sampler")
        self.samples: list[Sample] = []
        self.start_time = time.monotonic()
        self._master, self._port, self._every = master, port, every
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Until it is told to end."""
        while not self._stop_asked.wait(self._every):
            # A process that ends meanwhile is missed here, and noticed by the next sample's ids.
            with suppress(*GONE):
                at = time.monotonic() - self.start_time
                self.samples.append(sample(self._master, self._port, at))

    def end(self) -> None:
        """Take no more."""
        self._stop_asked.set()
        self.join()


def sample(master: int, port: int, at: float) -> Sample:
    """A server at this moment.

    Args:
        master: process id of its arbiter.
        port: that it listens on.
        at: seconds from the start, to be noted.

    Raises:
        FileNotFoundError, ProcessLookupError: one of its processes ended meanwhile.
    """
    connections = _connections(port)
    workers = [
        int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()
    ]
    everyone = [master, *workers]
    memory = [_memory_mb(pid) for pid in workers]
    return Sample(
        at=at,
        rss_mb=sum(rss for rss, _ in memory),
        pss_mb=sum(pss for _, pss in memory),
        arbiter_mb=_memory_mb(master)[0],
        descriptors=sum(_entries(pid, "fd") for pid in everyone),
        connections=connections,
        threads=sum(_entries(pid, "task") for pid in everyone),
        workers=tuple(workers),
    )


def _memory_mb(pid: int) -> tuple[float, float]:
    """RSS and PSS."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = dict(re.findall(r"^(Rss|Pss): +(\d+) kB", text, re.MULTILINE))
    if not found:  # a process that has ended, and was not yet waited for
        raise ProcessLookupError(f"expected a living process; got {pid}, which has no memory")
    return int(found["Rss"]) / 1024, int(found["Pss"]) / 1024


def _entries(pid: int, folder: str) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/{folder}").iterdir())


def _connections(port: int) -> int:
    """Connections whose client has not closed them; what the server keeps beyond is its own."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(row[2].endswith(f":{port:04X}") and row[3] == ESTABLISHED for row in rows)
