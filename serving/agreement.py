"""The agreement: what one of several processes decides, and the others abide by.

Each worker loads the models for itself, after fork, and its timings are noisy: left to themselves
two workers could serve different variants, and answer the same request differently.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import ClassVar


class Ledger:
    """Texts by key, which processes forked after it was made share; it ends with the last of them.

    Attributes:
        shared: the one that gunicorn's arbiter makes for its workers; None under other servers.
    """

    shared: ClassVar[Ledger | None] = None

    def __init__(self) -> None:
        self._file = _memory()

    def agree(self, key: str, decide: Callable[[], str]) -> str:
        """The text under `key`, decided by the first process that asks; others wait for it.

        What `decide` raises is passed on, and the next process that asks decides.
        """
        with self._locked():
            content = os.pread(self._file, os.fstat(self._file).st_size, 0)
            # A writer that was killed may have left half a line.
            whole = content[: content.rfind(b"\n") + 1]
            entries: dict[str, str] = dict(map(json.loads, whole.splitlines()))
            if key in entries:
                return entries[key]
            text = decide()
            os.ftruncate(self._file, len(whole))
            os.pwrite(self._file, json.dumps([key, text]).encode() + b"\n", len(whole))
            return text

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Not flock: its locks belong to the open file, which parent and children have in common.
        # These belong to a process, and go with one that is killed.
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


def _memory() -> int:
    """The descriptor of a file that has no name and needs no writable file system."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("agreement")
    with TemporaryFile() as file:  # as on macOS
        return os.dup(file.fileno())
