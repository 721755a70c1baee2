"""What a process that is killed leaves on the disk, without killing any.

SIGKILL leaves what the calls before it did. So a folder is copied before and after each call that
changes it, and when half of what is written is written.
"""

from __future__ import annotations

import builtins
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Every call that changes what a folder holds, or waits for the disk.
CALLS = ("mkdir", "rename", "replace", "link", "unlink", "remove", "rmdir", "fsync", "truncate")

Tree = dict[str, bytes | None]  # content of each file, None of a folder, by path


class Moments:
    """The different states that a folder was in, in their order.

    Attributes:
        states: Each state, the first and the last one included.
        calls: Names of the calls that were seen, `write` among them.
    """

    def __init__(self, folder: Path) -> None:
        self.states: list[Tree] = []
        self.calls: set[str] = set()
        self._folder = folder
        self._busy = False

    def look(self) -> None:
        """Keep the folder's state, if it is another one than the last."""
        if self._busy:
            return
        self._busy = True
        state = tree(self._folder)
        if not self.states or state != self.states[-1]:
            self.states.append(state)
        self._busy = False

    def watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call with a look before and after it."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.calls.add(name)
            self.look()
            try:
                return call(*args, **kwargs)
            finally:
                self.look()

        return watched

    def opened(self, open_file: Callable[..., Any]) -> Callable[..., Any]:
        """Return `open` for files that are written in two halves, with a look between them."""

        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            found = open_file(file, mode, *args, **kwargs)
            if self._busy or not set(mode) & set("wax+"):
                return found
            self.look()  # a file without content
            write = found.write

            def write_in_halves(content: Any) -> int:
                self.calls.add("write")
                half = len(content) // 2
                written = write(content[:half])
                found.flush()
                self.look()
                return int(written + write(content[half:]))

            found.write = write_in_halves
            return found

        return opened


@contextmanager
def every_moment(folder: Path) -> Iterator[Moments]:
    """Keep each state that a folder is in, while what runs inside changes it."""
    moments = Moments(folder)
    moments.look()
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, moments.watched(name, getattr(os, name)))
        patch.setattr(io, "open", moments.opened(io.open))
        patch.setattr(builtins, "open", io.open)
        yield moments
    moments.look()


def tree(folder: Path) -> Tree:
    """Return all that lies in a folder."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def restore(state: Tree, folder: Path) -> None:
    """Make a folder hold a state and nothing else."""
    for path in folder.iterdir():  # the folder itself may be the working one
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name, content in state.items():
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)
