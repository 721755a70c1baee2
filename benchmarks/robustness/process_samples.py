"""Samples of a server's processes over time: memory, file descriptors, connections and threads."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.processes import PROCESS_ENDED, list_children, read_memory_mb

TCP_ESTABLISHED = "01"  # include/net/tcp_states.h


@dataclass(frozen=True)
class ServerSample:
    """A server's processes at one moment.

    Attributes:
        at: Seconds since the start of the sampler.
        rss_mb: Resident memory of all workers, in MB.
        pss_mb: Memory of all workers in MB, with shared memory counted once.
        arbiter_mb: Resident memory of gunicorn's arbiter, in MB.
        descriptors: Number of open file descriptors in all processes, sockets included.
        connections: Number of connections to the server that are open at the clients' end.
        threads: Number of threads of all processes.
        workers: Process ids of the workers.
    """

    at: float
    rss_mb: float
    pss_mb: float
    arbiter_mb: float
    descriptors: int
    connections: int
    threads: int
    workers: tuple[int, ...]


class ProcessSampler(threading.Thread):
    """Takes samples at equal intervals, from `start` to `stop`.

    Args:
        arbiter: Process id of gunicorn's arbiter.
        port: Port of 127.0.0.1 that the server listens on.
        interval: Seconds between two samples.

    Attributes:
        samples: The samples, in order.
        start_time: Time of `time.monotonic()` from which the samples' seconds are counted.
    """

    def __init__(self, arbiter: int, port: int, interval: float) -> None:
        super().__init__(name="process sampler")
        self.samples: list[ServerSample] = []
        self.start_time = time.monotonic()
        self._arbiter, self._port, self._interval = arbiter, port, interval
        self._stop_requested = threading.Event()

    def run(self) -> None:
        """Take samples until `stop` is called."""
        while not self._stop_requested.wait(self._interval):
            # If a process ends during a sample, that sample is left out. The next one has other
            # process ids, which shows that it ended.
            with suppress(*PROCESS_ENDED):
                at = time.monotonic() - self.start_time
                self.samples.append(sample_server(self._arbiter, self._port, at))

    def stop(self) -> None:
        """Take no more samples."""
        self._stop_requested.set()
        self.join()


def sample_server(arbiter: int, port: int, at: float) -> ServerSample:
    """Take a sample now.

    Args:
        arbiter: Process id of gunicorn's arbiter.
        port: Port that the server listens on.
        at: Seconds since the start, which are stored in the sample.

    Raises:
        FileNotFoundError: If a process ends during the sample.
        ProcessLookupError: If a process ends during the sample.
    """
    connections = _count_connections(port)
    workers = list_children(arbiter)
    processes = [arbiter, *workers]
    memory = [read_memory_mb(worker) for worker in workers]
    return ServerSample(
        at=at,
        rss_mb=sum(rss for rss, _ in memory),
        pss_mb=sum(pss for _, pss in memory),
        arbiter_mb=read_memory_mb(arbiter)[0],
        descriptors=sum(_count_entries(process, "fd") for process in processes),
        connections=connections,
        threads=sum(_count_entries(process, "task") for process in processes),
        workers=tuple(workers),
    )


def _count_entries(process: int, folder: str) -> int:
    return sum(1 for _ in Path(f"/proc/{process}/{folder}").iterdir())


def _count_connections(port: int) -> int:
    """Count the connections that their client keeps open.

    Sockets that the server keeps after its client has closed are not counted, so that a leak of
    descriptors shows.
    """
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(row[2].endswith(f":{port:04X}") and row[3] == TCP_ESTABLISHED for row in rows)
