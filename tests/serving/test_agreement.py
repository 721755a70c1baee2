import os
import signal
import time

import pytest

from serving.agreement import Ledger

# The test server's reader is a thread; what is forked here does nothing but a few system calls.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


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


def decide_slowly():
    time.sleep(0.05)
    return f"{os.getpid()}\n"


def test_the_first_process_decides_and_the_others_wait_for_it():
    ledger = Ledger()
    processes = [forked(lambda: ledger.agree("key", decide_slowly)) for _ in range(8)]
    answers = {answer(process) for process in processes}
    assert len(answers) == 1
    assert int(answers.pop()) in {pid for pid, _ in processes}


def test_keys_are_decided_each_by_itself():
    ledger = Ledger()
    assert ledger.agree("a", lambda: "1") == "1"
    assert ledger.agree("b", lambda: "2") == "2"
    assert [ledger.agree(key, lambda: "3") for key in "abc"] == ["1", "2", "3"]


def test_two_ledgers_have_nothing_in_common():
    assert [Ledger().agree("key", lambda text=text: text) for text in "ab"] == ["a", "b"]


def test_a_fault_is_passed_on_and_the_next_decides():
    def fail():
        raise ValueError("no")

    ledger = Ledger()
    with pytest.raises(ValueError, match="no"):
        ledger.agree("key", fail)
    assert answer(forked(lambda: ledger.agree("key", lambda: "yes"))) == "yes"


def test_a_process_that_is_killed_while_it_decides_leaves_it_to_the_next():
    ledger = Ledger()
    deciding, began = os.pipe()

    def hang():
        os.write(began, b"!")
        time.sleep(60)

    pid, read = forked(lambda: ledger.agree("key", hang))
    assert os.read(deciding, 1) == b"!"
    waiting = forked(lambda: ledger.agree("key", lambda: "next"))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(read)
    assert answer(waiting) == "next"


def test_half_a_line_of_a_writer_that_was_killed_is_written_over():
    ledger = Ledger()
    ledger.agree("a", lambda: "1")
    os.pwrite(ledger._file, b'["b", "a long te', os.fstat(ledger._file).st_size)
    assert ledger.agree("b", lambda: "2") == "2"
    assert [ledger.agree(key, lambda: "3") for key in "ab"] == ["1", "2"]


def test_it_needs_no_memory_files_of_linux(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    ledger = Ledger()
    assert answer(forked(lambda: ledger.agree("key", lambda: "text"))) == "text"
    assert ledger.agree("key", lambda: "other") == "text"
