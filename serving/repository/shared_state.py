"""The agreement: a text that several processes share, and who of them is still there.

Each worker loads the models for itself, after fork. Left to themselves, two could serve different
versions or variants, and answer the same request differently.
"""

from __future__ import annotations

import fcntl
import os
import struct
import weakref
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from tempfile import TemporaryFile
from typing import ClassVar

_HEADER = struct.Struct("<QQQ")  # how often it was written; where the text begins; its bytes
_FIRST_TEXT_OFFSET = (
    4096  # where a text may begin: the head has a page to itself, and is written whole
)
_TEXT_LOCK_OFFSET, _FILES_LOCK_OFFSET = (
    0,
    1,
)  # bytes that are locked: to write, and to change what outlives the ledger
_PROCESS_LOCKS_OFFSET = 2**40  # and, far beyond the text, one for each member


class SharedState:
    """A text which processes forked after it was made share; it ends with the last of them.

    Attributes:
        inherited: the one that gunicorn's arbiter makes for its workers; None under other servers.
    """

    inherited: ClassVar[SharedState | None] = None

    def __init__(self) -> None:
        self._file = open_memory_file("agreement")
        # Not at exit, where a thread may still read, and the system closes it.
        weakref.finalize(self, os.close, self._file).atexit = False

    def read_text(self) -> tuple[int, str]:
        """How often it was written, and the text; waits for no one."""
        while True:
            head = os.pread(self._file, _HEADER.size, 0)
            if not head:
                return 0, ""
            turn, begin, size = _HEADER.unpack(head)
            content = os.pread(self._file, size, begin)
            # Twice written meanwhile, and what was read is half one text and half another.
            if os.pread(self._file, _HEADER.size, 0) == head:
                return turn, content.decode()

    @property
    def revision(self) -> int:
        """How often it was written."""
        head = os.pread(self._file, _HEADER.size, 0)
        return int(_HEADER.unpack(head)[0]) if head else 0

    def lock_text(self) -> AbstractContextManager[None]:
        """While no one else writes; a writer that is killed leaves the text as it was."""
        return self._hold_lock(_TEXT_LOCK_OFFSET)

    def lock_files(self) -> AbstractContextManager[None]:
        """While no one else changes a file that outlives the ledger; this may take a while."""
        return self._hold_lock(_FILES_LOCK_OFFSET)

    def write_text(self, text: str) -> None:
        """Replace the text; only within `lock_text`."""
        content = text.encode()
        head = os.pread(self._file, _HEADER.size, 0) or _HEADER.pack(0, _FIRST_TEXT_OFFSET, 0)
        turn, begin, size = _HEADER.unpack(head)
        # Beside the text that counts until the head is written: before it, where there is room.
        begin = _FIRST_TEXT_OFFSET if _FIRST_TEXT_OFFSET + len(content) <= begin else begin + size
        os.pwrite(self._file, content, begin)
        os.pwrite(self._file, _HEADER.pack(turn + 1, begin, len(content)), 0)
        os.ftruncate(self._file, begin + len(content))

    def register_process(self) -> None:
        """Be a member for as long as this process lives."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, _PROCESS_LOCKS_OFFSET + os.getpid())

    def filter_alive(self, members: Iterable[int]) -> list[int]:
        """Those of some process numbers that are members; only within `lock_text`."""
        return [pid for pid in members if pid == os.getpid() or self._is_alive(pid)]

    @contextmanager
    def _hold_lock(self, byte: int) -> Iterator[None]:
        # Not flock: its locks belong to the open file, which parent and children have in common.
        # These belong to a process, and go with one that is killed.
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, byte)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)

    def _is_alive(self, pid: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _PROCESS_LOCKS_OFFSET + pid)
        except OSError:  # locked
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _PROCESS_LOCKS_OFFSET + pid)
        return False


def open_memory_file(name: str) -> int:
    """Return the descriptor of a new file in memory, which needs no writable file system.

    Args:
        name: What the system's lists of open files call it.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with TemporaryFile() as file:  # as on macOS
        return os.dup(file.fileno())
