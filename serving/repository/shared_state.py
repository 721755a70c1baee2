"""Share a text between all worker processes, and find out which of these processes are alive.

Each worker loads the models itself, after the fork. Without a shared state two workers could serve
different versions or variants, and respond differently to the same request.
"""

from __future__ import annotations

import fcntl
import os
import struct
import weakref
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from tempfile import TemporaryFile

# Header of the file: revision, offset of the text, size of the text in bytes.
_HEADER = struct.Struct("<QQQ")
# Smallest offset of a text, in bytes: the header has a page to itself, so that it is written whole.
_FIRST_TEXT_OFFSET = 4096
# Offsets of the bytes that are locked while the text, or a file that outlives it, is written.
_TEXT_LOCK_OFFSET, _FILES_LOCK_OFFSET = 0, 1
# While it lives, a process locks the byte at this offset plus its process id. It is far beyond any
# text.
_PROCESS_LOCKS_OFFSET = 2**40


class SharedState:
    """A text shared by the processes that are forked after it was created.

    It is kept in memory, which is freed when the last of these processes ends.
    """

    def __init__(self) -> None:
        self._file = open_memory_file("shared_state")
        # Not closed when Python exits: a thread may still read, and the system closes it anyway.
        weakref.finalize(self, os.close, self._file).atexit = False

    def read_text(self) -> tuple[int, str]:
        """Return the revision and the text, without waiting for a writer."""
        while True:
            header = os.pread(self._file, _HEADER.size, 0)
            if not header:
                return 0, ""
            revision, offset, size = _HEADER.unpack(header)
            content = os.pread(self._file, size, offset)
            # If the header changed meanwhile, the content may mix two texts and is read again.
            if os.pread(self._file, _HEADER.size, 0) == header:
                return revision, content.decode()

    @property
    def revision(self) -> int:
        """Number of times that the text was written."""
        header = os.pread(self._file, _HEADER.size, 0)
        return int(_HEADER.unpack(header)[0]) if header else 0

    def lock_text(self) -> AbstractContextManager[None]:
        """Return a context in which no other process writes the text.

        A writer that is killed leaves the text as it was before.
        """
        return self._hold_lock(_TEXT_LOCK_OFFSET)

    def lock_files(self) -> AbstractContextManager[None]:
        """Return a context in which no other process writes the state file.

        It is not the lock of the text, since writing a file may take long, and a change of the text
        must not wait for that.
        """
        return self._hold_lock(_FILES_LOCK_OFFSET)

    def write_text(self, text: str) -> None:
        """Replace the text. The caller must hold `lock_text`."""
        content = text.encode()
        header = os.pread(self._file, _HEADER.size, 0) or _HEADER.pack(0, _FIRST_TEXT_OFFSET, 0)
        revision, offset, size = _HEADER.unpack(header)
        # Until the header is written, readers need the old text. So the new text must not overlap
        # it: it is written before the old text if it fits there, else after it.
        fits_before = _FIRST_TEXT_OFFSET + len(content) <= offset
        offset = _FIRST_TEXT_OFFSET if fits_before else offset + size
        os.pwrite(self._file, content, offset)
        os.pwrite(self._file, _HEADER.pack(revision + 1, offset, len(content)), 0)
        os.ftruncate(self._file, offset + len(content))

    def register_process(self) -> None:
        """Mark this process as alive; the mark disappears when the process ends."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, _PROCESS_LOCKS_OFFSET + os.getpid())

    def filter_alive(self, pids: Iterable[int]) -> list[int]:
        """Return those processes that registered and are alive. The caller must hold `lock_text`.

        Args:
            pids: Process ids to check.
        """
        return [pid for pid in pids if pid == os.getpid() or self._is_alive(pid)]

    @contextmanager
    def _hold_lock(self, offset: int) -> Iterator[None]:
        # Locks of flock belong to the open file, which parent and children share. Locks of lockf
        # belong to one process, and are released when it is killed.
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, offset)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, offset)

    def _is_alive(self, pid: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _PROCESS_LOCKS_OFFSET + pid)
        except OSError:  # The process holds its lock, so it is alive.
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _PROCESS_LOCKS_OFFSET + pid)
        return False


def open_memory_file(name: str) -> int:
    """Return the descriptor of a new file in memory, which needs no writable file system.

    Args:
        name: Name of the file in the system's lists of open files.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with TemporaryFile() as file:  # macOS, for instance, has no files in memory.
        return os.dup(file.fileno())
