import os
import signal
import time
from pathlib import Path

import pytest

from serving.repository.shared_state import SharedState

# The test server's reader is a thread; what is forked here does nothing but a few system calls.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.usefixtures("processes"),
]


def forked(action):
    """The process that does it, and what it writes."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, action().encode())
        finally:
            os._exit(0)
    os.close(write)
    return pid, read


def answer(process):
    pid, read = process
    with open(read, "rb") as pipe:  # noqa: PTH123
        text = pipe.read().decode()
    os.waitpid(pid, 0)
    return text


def add_one(ledger):
    with ledger.lock_text():
        count = int(ledger.read()[1] or 0)
        time.sleep(0.001)
        ledger.write(str(count + 1))


def test_what_one_process_writes_the_others_read():
    ledger = SharedState()
    assert ledger.read() == (0, "")
    answer(forked(lambda: (add_one(ledger), "")[1]))
    assert ledger.read() == (1, "1")
    assert answer(forked(lambda: ledger.read()[1])) == "1"


def test_processes_that_write_at_once_lose_nothing():
    ledger = SharedState()

    def add_fifty():
        for _ in range(50):
            add_one(ledger)
        return ""

    for process in [forked(add_fifty) for _ in range(4)]:
        answer(process)
    assert ledger.read() == (200, "200")
    assert ledger.turn == 200


def test_a_reader_never_sees_half_a_text_and_waits_for_no_writer():
    ledger = SharedState()
    with ledger.lock_text():
        ledger.write("a")

    def write():
        for number in range(3000):
            with ledger.lock_text():
                ledger.write("abcdefgh"[number % 8] * (1 + number * 7919 % 20_000))
        return ""

    writer = forked(write)
    seen = set()
    while ledger.turn < 3001:
        _, text = ledger.read()
        assert len(set(text)) == 1
        seen.add(text[0])
    answer(writer)
    assert len(seen) > 1
    assert ledger.read()[0] == 3001


def test_it_does_not_grow_with_what_is_written():
    ledger = SharedState()
    for number in range(1000):
        with ledger.lock_text():
            ledger.write("x" * (number * 7919 % 5000))
    assert os.fstat(ledger._file).st_size < 4096 + 4 * 5000


def test_a_writer_that_is_killed_leaves_the_text_as_it_was_and_others_go_on():
    ledger = SharedState()
    add_one(ledger)
    began, begin = os.pipe()

    def hang():
        with ledger.lock_text():
            os.pwrite(ledger._file, b"half a te", os.fstat(ledger._file).st_size)
            os.write(begin, b"!")
            signal.pause()
        return ""

    pid, read = forked(hang)
    assert os.read(began, 1) == b"!"
    assert ledger.read() == (1, "1")
    waiting = forked(lambda: (add_one(ledger), ledger.read()[1])[1])
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(read)
    assert answer(waiting) == "2"


def test_members_are_those_that_live():
    ledger = SharedState()
    joined, join = os.pipe()

    def member():
        ledger.join()
        os.write(join, b"!")
        signal.pause()
        return ""

    members = [forked(member) for _ in range(2)]
    assert len(os.read(joined, 1) + os.read(joined, 1)) == 2
    (dead, _), (living, _) = members
    with ledger.lock_text():
        assert ledger.filter_alive([dead, living, os.getpid(), 2**22 + 1]) == [
            dead,
            living,
            os.getpid(),
        ]
    os.kill(dead, signal.SIGKILL)
    os.waitpid(dead, 0)
    with ledger.lock_text():
        assert ledger.filter_alive([dead, living]) == [living]
        assert ledger.filter_alive([dead, living]) == [living]  # the question changes nothing
    os.kill(living, signal.SIGKILL)
    for pid, read in members[1:]:
        os.waitpid(pid, 0)
        os.close(read)


def test_who_keeps_a_file_keeps_no_one_from_writing():
    ledger = SharedState()
    with ledger.lock_files():
        assert answer(forked(lambda: (add_one(ledger), ledger.read()[1])[1])) == "1"


def test_two_ledgers_have_nothing_in_common():
    one, other = SharedState(), SharedState()
    add_one(one)
    assert (one.read(), other.read()) == ((1, "1"), (0, ""))


def test_its_file_is_closed_with_it():
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        SharedState()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_it_needs_no_memory_files_of_linux(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    ledger = SharedState()
    answer(forked(lambda: (add_one(ledger), "")[1]))
    assert ledger.read() == (1, "1")
