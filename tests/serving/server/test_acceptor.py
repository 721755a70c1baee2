"""Accepting connections: how they are shared among workers, and what happens without room."""

import errno
import os
import resource
import select
import signal
import socket
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from math import inf
from pathlib import Path
from types import SimpleNamespace

import gevent
import gevent.socket
import pytest

from serving.server import accept_turns as waits
from serving.server import acceptor as acceptor_module
from serving.server.accept_turns import PeerWaits
from serving.server.acceptor import Acceptor
from serving.telemetry.shared_counters import NO_WORKER, SharedCounters, WorkerLoads

DEADLINE = 30  # seconds until a test that waits for an event fails
OTHER = 1  # slot of the other worker


def wait_for(condition, what="the event"):
    """Return the first true value of a condition."""
    deadline = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen"
        gevent.sleep(0.01)
    return value


# Real servers


def address(server):
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def worker_pids(server):
    pid = server.process.pid
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def connections_by_process(server):
    """Connections of each worker process, as the kernel knows them: by inode of their sockets."""
    port = f":{address(server)[1]:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    inodes = {f"socket:[{f[9]}]" for f in map(str.split, lines) if f[1].endswith(port)}
    found = {}
    for pid in worker_pids(server):
        targets = []
        for file in Path(f"/proc/{pid}/fd").iterdir():
            try:
                targets.append(str(file.readlink()))
            except OSError:  # closed meanwhile
                continue
        # The listening socket has an inode in the same table.
        found[pid] = sum(target in inodes for target in targets) - 1
    return found


def metrics(connection):
    """Values by metric and labels, asked for over a connection that stays."""
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }


def open_connections(connection):
    """The gauge of each worker."""
    gauge = "forwardpass_open_connections{"
    return [value for name, value in metrics(connection).items() if name.startswith(gauge)]


@pytest.fixture(scope="module")
def pair(shared_server, shipped):
    """A server of two workers."""
    server = shared_server(shipped, "--workers", "2", "--poll", "0")
    wait_until_serving(server, 2)
    return server


def wait_until_serving(server, workers):
    """Wait until so many workers accept connections."""
    asker = HTTPConnection(*address(server), timeout=DEADLINE)
    wait_for(lambda: len(open_connections(asker)) == workers, f"{workers} workers serve")
    asker.close()


def wait_until_idle(server):
    wait_for(lambda: not sum(connections_by_process(server).values()), "all connections closed")


def connect_at_once(clients, server, count):
    """Clients whose connections begin before any was accepted."""
    found = []
    for _ in range(count):
        client = clients.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(address(server))
        found.append(client)
    for client in found:
        select.select([], [client], [], DEADLINE)
        client.settimeout(DEADLINE)
    return found


def health(client):
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    return client.recv(4096)[9:12]


def share_at_once(server, count, *, is_used):
    """Open connections at once, and return by how many the workers' numbers differ."""
    wait_until_idle(server)
    with ExitStack() as clients:
        for client in connect_at_once(clients, server, count):
            if is_used:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: sum(connections_by_process(server).values()) == count)
        held = connections_by_process(server).values()
        return max(held) - min(held)


# A worker that gets no processor for a quarter of a second is passed over, as it should be. On a
# busy machine that happens now and then, and shifts a connection or two; without sharing, nearly
# all of them would be in one worker every time.
ATTEMPTS = 5


@pytest.mark.parametrize("count", [8, 24, 64])
@pytest.mark.parametrize("is_used", [False, True])
def test_accept_connections_at_once_are_shared_equally(count, is_used, pair):
    differences = []
    while 1 not in differences and 0 not in differences and len(differences) < ATTEMPTS:
        differences.append(share_at_once(pair, count, is_used=is_used))
    assert min(differences) <= 1, differences
    assert max(differences) < count // 2, differences


def test_accept_one_after_the_other_is_shared_equally(pair):
    wait_until_idle(pair)
    with ExitStack() as clients:
        for _ in range(12):
            client = clients.enter_context(socket.create_connection(address(pair), DEADLINE))
            assert health(client) == b"200"
        assert list(connections_by_process(pair).values()) == [6, 6]
        # The gauge agrees, and counts the connection that asks.
        asker = HTTPConnection(*address(pair), timeout=DEADLINE)
        assert sorted(open_connections(asker)) == [6.0, 7.0]
        asker.close()


def test_accept_other_worker_stopped_does_not_wait_for_it(pair):
    wait_until_idle(pair)
    stopped = worker_pids(pair)[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        with ExitStack() as clients:
            for client in connect_at_once(clients, pair, 10):
                assert health(client) == b"200"
            assert connections_by_process(pair)[stopped] == 0
    finally:
        os.kill(stopped, signal.SIGCONT)


def test_accept_new_worker_after_a_death_fills_up_first(serve, shipped):
    server = serve(shipped, "--workers", "2", "--poll", "0")
    wait_until_serving(server, 2)
    with ExitStack() as clients:
        for client in connect_at_once(clients, server, 8):
            assert health(client) == b"200"
        dead, alive = worker_pids(server)
        os.kill(dead, signal.SIGKILL)
        wait_for(lambda: set(worker_pids(server)) - {dead, alive}, "a new worker")
        wait_until_serving(server, 2)
        for client in connect_at_once(clients, server, 4):
            assert health(client) == b"200"
        assert list(connections_by_process(server).values()) == [4, 4]


FILES = 60  # that a worker may have open: most of them are the server's own


def test_accept_out_of_descriptors_longest_idle_are_closed(serve, only_digits):
    server = serve(only_digits, "--workers", "1", "--poll", "0.1")
    wait_until_serving(server, 1)
    (worker,) = worker_pids(server)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (FILES, FILES))
    with ExitStack() as clients:
        idle = connect_at_once(clients, server, FILES)
        wait_for(lambda: is_closed(idle[0]), "the first connection was closed")
        for _ in range(3):
            client = clients.enter_context(socket.create_connection(address(server), DEADLINE))
            assert health(client) == b"200"
            assert not is_closed(client)
        closed = [is_closed(client) for client in idle]
        assert closed == sorted(closed, reverse=True)  # none before one that came before it
        # A quarter of the descriptors is left for files: a version can still be loaded.
        files = Path(f"/proc/{worker}/fd")
        wait_for(lambda: len([*files.iterdir()]) <= FILES * 3 // 4, "descriptors became free")
        version = only_digits / "digits" / "2"
        manifest = (only_digits / "digits" / "1" / "bundle.json").read_text()
        version.mkdir()
        for file in (only_digits / "digits" / "1").iterdir():
            (version / file.name).write_bytes(file.read_bytes())
        (version / "bundle.json").write_text(manifest.replace('"version": 1', '"version": 2'))
        wait_for(lambda: "serving digits/2" in "".join(server.log), "a new version was loaded")
        asker = HTTPConnection(*address(server), timeout=DEADLINE)
        evicted = metrics(asker)['forwardpass_connections_evicted_total{reason="descriptors"}']
        asker.close()
    assert evicted >= sum(closed)
    assert len([line for line in server.log if "out of descriptors" in line]) == 1


def is_closed(client):
    return bool(select.select([client], [], [], 0)[0])


# In this process


class OneWorker:
    """An acceptor on real sockets, in this process, beside another worker that is only numbers."""

    def __init__(self, monkeypatch, *, limit=100, other=None):
        monkeypatch.setattr(SharedCounters, "shared", SharedCounters(3))
        self.loads = SharedCounters.get_current().loads
        if other is not None:
            self.loads.candidates[OTHER] = other
            self.loads.pids[OTHER] = os.getpid()
            self.loads.seen[OTHER] = time.perf_counter()
        self.served, self.evicted, self.failed, self.clients = [], [], [], []
        self.finish = gevent.event.Event()
        self.acceptor = Acceptor(
            self.serve,
            self.evict,
            lambda: self.failed.append(True),
            max_connections=limit,
            spare_descriptors=8,
        )
        self.servers = []

    def listen(self, listener=None):
        if listener is None:
            listener = gevent.socket.socket()
            listener.bind(("127.0.0.1", 0))
            listener.listen(64)
        server = self.acceptor.add_listener(listener, application=None, spawn=None)
        server.start()
        self.servers.append(server)
        return server

    def serve(self, _listener, _client, address):
        self.served.append(address)
        self.finish.wait()

    def evict(self, count, reason, _least):
        self.evicted.append((count, reason))
        return 0

    def connect(self, server):
        client = socket.socket(server.socket.family)
        client.setblocking(False)
        client.connect_ex(server.socket.getsockname())
        self.clients.append(client)
        return client

    def close(self):
        self.finish.set()
        for server in self.servers:
            server.stop(timeout=1)
        for client in self.clients:
            client.close()


@pytest.fixture
def one_worker(monkeypatch):
    workers = []

    def make(**options):
        workers.append(OneWorker(monkeypatch, **options))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


def test_acceptor_other_worker_holds_fewer_leaves_connection(one_worker):
    worker = one_worker(other=1.0)
    server = worker.listen()
    for _ in range(2):  # as many as the other holds, and one more on a tie
        worker.connect(server)
    wait_for(lambda: len(worker.served) == 2)
    worker.connect(server)
    for _ in range(100):
        worker.loads.seen[OTHER] = time.perf_counter()  # it shows signs of life meanwhile
        worker.acceptor._peer_waits.clear()  # and is given time again and again
        gevent.sleep(0.001)
    assert len(worker.served) == 2
    worker.loads.candidates[OTHER] = 2.0  # it has taken one: now it is this worker's turn
    wait_for(lambda: len(worker.served) == 3)


@pytest.mark.parametrize("held", [inf, NO_WORKER])
def test_acceptor_no_other_worker_accepts_all(held, one_worker):
    worker = one_worker(other=held)  # with `NO_WORKER` there is no sign of life either
    worker.loads.seen[OTHER] = 0.0
    server = worker.listen()
    for _ in range(5):
        worker.connect(server)
    wait_for(lambda: len(worker.served) == 5)


def test_acceptor_other_worker_does_not_come_accepts(one_worker, monkeypatch):
    monkeypatch.setattr(waits, "read_process_state", lambda _: "T")
    worker = one_worker(other=0.0)
    server = worker.listen()
    for _ in range(5):
        worker.connect(server)
    wait_for(lambda: len(worker.served) == 5)
    assert worker.loads.unresponsive[OTHER] == worker.loads.seen[OTHER]


def test_acceptor_several_listeners_share_one_number(one_worker, tmp_path):
    worker = one_worker()
    local = gevent.socket.socket(socket.AF_UNIX)
    local.bind(str(tmp_path / "socket"))
    local.listen(8)
    ipv6 = gevent.socket.socket(socket.AF_INET6)
    ipv6.bind(("::1", 0))
    ipv6.listen(8)
    for server in (worker.listen(), worker.listen(local), worker.listen(ipv6)):
        worker.connect(server)
    wait_for(lambda: len(worker.served) == 3)
    slot = SharedCounters.get_current().number
    assert worker.loads.candidates[slot] == worker.loads.open[slot] == 3


def test_acceptor_stopping_is_no_candidate_and_still_accepts(one_worker):
    worker = one_worker()
    server = worker.listen()
    worker.acceptor.stop_competing()
    assert worker.loads.candidates[SharedCounters.get_current().number] == inf
    worker.connect(server)
    wait_for(lambda: worker.served)


@pytest.mark.slow
def test_acceptor_full_waits_without_spinning_and_goes_on(one_worker):
    worker = one_worker(limit=2)
    server = worker.listen()
    for _ in range(4):
        worker.connect(server)
    wait_for(lambda: worker.evicted)
    assert worker.evicted[0] == (1, "connections")
    slot = SharedCounters.get_current().number
    assert (worker.loads.candidates[slot], worker.loads.open[slot]) == (inf, 2)
    before, attempts = time.thread_time(), len(worker.evicted)
    gevent.sleep(0.5)
    assert time.thread_time() - before < 0.25  # it sleeps; a loop that spins takes all of it
    assert len(worker.evicted) - attempts <= 0.5 / acceptor_module.RETRY_SECONDS + 1
    assert len(worker.served) == 2
    worker.finish.set()
    wait_for(lambda: len(worker.served) == 4)


# accept(2): what the system is short of, and errors of a connection that is already gone.
SHORT_OF = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]
GONE = [
    "ECONNABORTED",
    "ECONNRESET",
    "EPROTO",
    "ENETDOWN",
    "ENOPROTOOPT",
    "EHOSTDOWN",
    "ENONET",
    "EHOSTUNREACH",
    "EOPNOTSUPP",
    "ENETUNREACH",
    "ETIMEDOUT",
    "EINTR",
]


class Failing:
    """A listening socket whose accept fails some times before it works."""

    def __init__(self, listener, name, times):
        self.listener, self.name, self.times = listener, name, times

    def _accept(self):
        if self.times:
            self.times -= 1
            raise OSError(getattr(errno, self.name), self.name)
        return self.listener._accept()


@pytest.mark.parametrize("name", [*SHORT_OF, *GONE, "EPERM"])
def test_acceptor_error_is_survived_counted_and_logged_once(name, one_worker, caplog):
    worker = one_worker()
    server = worker.listen()
    server.unpatched_socket = Failing(server.unpatched_socket, name, 3)
    worker.connect(server)
    wait_for(lambda: worker.served)
    counted = {
        labels: numbers
        for family, labels, numbers in SharedCounters.get_current().own_slot.listed()
        if family == "forwardpass_accept_errors"
    }
    assert counted[(errno.errorcode[getattr(errno, name)],)] == [3.0]  # 95 has two names
    logged = [r for r in caplog.records if "could not be accepted" in r.getMessage()]
    assert len(logged) == (name not in GONE)  # which is no fault of the server's
    assert bool(worker.evicted) == (name in SHORT_OF)
    assert not worker.failed


def test_acceptor_knows_these_errors_and_no_others():
    numbers = {getattr(errno, name) for name in SHORT_OF}
    assert numbers == set(acceptor_module.OUT_OF_RESOURCES_ERRNOS)
    assert {getattr(errno, name) for name in GONE} == set(acceptor_module.CLIENT_GONE_ERRNOS)
    assert {errno.EBADF, errno.EINVAL, errno.ENOTSOCK} == set(
        acceptor_module.LISTENER_UNUSABLE_ERRNOS
    )


@pytest.mark.parametrize("name", ["EBADF", "EINVAL", "ENOTSOCK"])
def test_acceptor_listener_unusable_ends_the_worker(name, one_worker):
    worker = one_worker()
    server = worker.listen()
    server.unpatched_socket = Failing(server.unpatched_socket, name, 1)
    worker.connect(server)
    wait_for(lambda: worker.failed)


@pytest.mark.parametrize(
    ("state", "used", "waited", "goes_on"),
    [
        ("R", 0.0, 0.2, True),  # it waits for a processor
        ("R", 0.0, 0.3, False),
        ("R", 0.1, 0.012, False),  # it is in a long run
        ("S", 0.0, 0.02, True),
        ("S", 0.0, 0.06, False),
        ("D", 0.0, 0.02, True),
        ("D", 0.0, 0.06, False),
        ("T", 0.0, 0.005, True),  # not yet looked at
        ("T", 0.0, 0.012, False),
        ("Z", 0.0, 0.012, False),
        ("", 0.0, 0.04, True),  # the system does not tell
        ("", 0.0, 0.06, False),
    ],
)
def test_waits_worker_does_not_accept_is_passed_over(state, used, waited, goes_on, monkeypatch):
    clock = SimpleNamespace(cpu=5.0)
    monkeypatch.setattr(waits, "read_process_state", lambda _: state)
    monkeypatch.setattr(waits, "read_cpu_seconds", lambda _: clock.cpu)
    loads = WorkerLoads(2)
    loads.seen[OTHER] = 99.0
    found = PeerWaits(loads)
    assert found.should_keep_waiting([OTHER], 0.0, 100.0)
    clock.cpu += used
    assert found.should_keep_waiting([OTHER], 0.0, 100.0 + waited) is goes_on
    # All workers know of one that is passed over, until it shows a sign of life.
    assert PeerWaits(loads).should_keep_waiting([OTHER], 0.0, 101.0) is goes_on
    loads.seen[OTHER] = 100.5
    assert PeerWaits(loads).should_keep_waiting([OTHER], 0.0, 101.0)


def test_loads_of_workers_that_have_not_begun_hold_no_one_up():
    loads = WorkerLoads(3)
    assert list(loads.candidates) == [inf] * 3
    assert list(loads.open) == [NO_WORKER] * 3
    assert list(loads.seen) == [0.0] * 3
    assert list(loads.unresponsive) == [-1.0] * 3
    assert list(loads.accepted) == list(loads.pids) == [0.0] * 3
    loads.candidates[1] = loads.open[1] = loads.seen[1] = loads.unresponsive[1] = 7.0
    loads.accepted[1] = 9.0
    loads.clear(1)
    assert (loads.candidates[1], loads.open[1], loads.seen[1]) == (inf, NO_WORKER, 0.0)
    assert (loads.unresponsive[1], loads.accepted[1]) == (-1.0, 9.0)  # what was counted stays


def test_waits_someone_accepted_begins_anew(monkeypatch):
    monkeypatch.setattr(waits, "read_process_state", lambda _: "T")
    loads = WorkerLoads(2)
    loads.seen[OTHER] = 99.0
    found = PeerWaits(loads)
    assert found.should_keep_waiting([OTHER], 0.0, 100.0)
    assert found.should_keep_waiting([OTHER], 1.0, 101.0)
    assert not found.should_keep_waiting([OTHER], 1.0, 102.0)


def test_process_state_is_the_systems():
    assert waits.read_process_state(os.getpid()) == "R"
    assert waits.read_process_state(2**30) == ""
    assert waits.read_cpu_seconds(2**30) == 0.0
    before = waits.read_cpu_seconds(os.getpid())
    while waits.read_cpu_seconds(os.getpid()) <= before:
        pass
