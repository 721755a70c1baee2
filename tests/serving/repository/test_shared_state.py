"""The text that processes share, written and read by several forked processes."""

import os
import signal
import time
from pathlib import Path

import pytest

from serving.repository.shared_state import SharedState

# The fixture reads the server's output in a thread. That is safe, since the forked processes only
# make a few system calls.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.usefixtures("processes"),
]


def forked(action):
    """Fork a process that writes the result of `action`. Return its id and the pipe to read."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, action().encode())
        finally:
            os._exit(0)
    os.close(write)
    return pid, read


def read_output(process):
    """Wait until a forked process ends. Return what it wrote."""
    pid, read = process
    with open(read, "rb") as pipe:  # noqa: PTH123
        text = pipe.read().decode()
    os.waitpid(pid, 0)
    return text


def add_one(shared_state):
    """Increment the number that the text holds. Return the text."""
    with shared_state.lock_text():
        count = int(shared_state.read_text()[1] or 0)
        time.sleep(0.001)
        shared_state.write_text(str(count + 1))
    return shared_state.read_text()[1]


def test_write_text_other_process_reads_it():
    shared_state = SharedState()
    assert shared_state.read_text() == (0, "")
    read_output(forked(lambda: add_one(shared_state)))
    assert shared_state.read_text() == (1, "1")
    assert read_output(forked(lambda: shared_state.read_text()[1])) == "1"


def test_write_text_concurrent_writers_lose_nothing():
    shared_state = SharedState()

    def add_fifty():
        for _ in range(50):
            add_one(shared_state)
        return ""

    for process in [forked(add_fifty) for _ in range(4)]:
        read_output(process)
    assert shared_state.read_text() == (200, "200")
    assert shared_state.revision == 200


def test_read_text_during_writes_returns_whole_text():
    shared_state = SharedState()
    with shared_state.lock_text():
        shared_state.write_text("a")

    def write():
        for number in range(3000):
            with shared_state.lock_text():
                shared_state.write_text("abcdefgh"[number % 8] * (1 + number * 7919 % 20_000))
        return ""

    writer = forked(write)
    seen = set()
    while shared_state.revision < 3001:
        _, text = shared_state.read_text()
        assert len(set(text)) == 1
        seen.add(text[0])
    read_output(writer)
    assert len(seen) > 1
    assert shared_state.read_text()[0] == 3001


def test_write_text_many_times_file_stays_small():
    shared_state = SharedState()
    for number in range(1000):
        with shared_state.lock_text():
            shared_state.write_text("x" * (number * 7919 % 5000))
    assert os.fstat(shared_state._file).st_size < 4096 + 4 * 5000


def test_write_text_writer_killed_keeps_old_text():
    shared_state = SharedState()
    add_one(shared_state)
    began_reader, began_writer = os.pipe()

    def hang():
        with shared_state.lock_text():
            os.pwrite(shared_state._file, b"half a te", os.fstat(shared_state._file).st_size)
            os.write(began_writer, b"!")
            signal.pause()
        return ""

    pid, read = forked(hang)
    assert os.read(began_reader, 1) == b"!"
    assert shared_state.read_text() == (1, "1")
    waiting = forked(lambda: add_one(shared_state))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(read)
    assert read_output(waiting) == "2"


def test_filter_alive_returns_live_processes():
    shared_state = SharedState()
    joined_reader, joined_writer = os.pipe()

    def live():
        shared_state.register_process()
        os.write(joined_writer, b"!")
        signal.pause()
        return ""

    processes = [forked(live) for _ in range(2)]
    assert len(os.read(joined_reader, 1) + os.read(joined_reader, 1)) == 2
    (dead, _), (living, _) = processes
    with shared_state.lock_text():
        alive = shared_state.filter_alive([dead, living, os.getpid(), 2**22 + 1])
        assert alive == [dead, living, os.getpid()]
    os.kill(dead, signal.SIGKILL)
    os.waitpid(dead, 0)
    with shared_state.lock_text():
        assert shared_state.filter_alive([dead, living]) == [living]
        assert shared_state.filter_alive([dead, living]) == [living]  # The call changes nothing.
    os.kill(living, signal.SIGKILL)
    for pid, read in processes[1:]:
        os.waitpid(pid, 0)
        os.close(read)


def test_lock_files_does_not_block_writers_of_text():
    shared_state = SharedState()
    with shared_state.lock_files():
        assert read_output(forked(lambda: add_one(shared_state))) == "1"


def test_two_instances_share_nothing():
    one, other = SharedState(), SharedState()
    add_one(one)
    assert (one.read_text(), other.read_text()) == ((1, "1"), (0, ""))


def test_garbage_collected_instance_closes_its_file():
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        SharedState()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_without_memfd_create_uses_temporary_file(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    shared_state = SharedState()
    read_output(forked(lambda: add_one(shared_state)))
    assert shared_state.read_text() == (1, "1")
