"""Writing files: whole or not at all, and a fault that names the file.

An error of `open` names its file; one of `write` or `fsync`, as on a full disk, does not.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)  # of a disk, or of what one may use of it


@contextmanager
def add_path_to_errors(path: Path) -> Iterator[None]:
    """Put the name of the file into an error of writing that has none.

    Args:
        path: File that is written.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        if error.errno is None:
            raise OSError(f"{path}: {error}") from error
        error.filename = str(path)
        raise


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a file beside `path` to write to, which takes its place if all goes well.

    If not, it is removed, and what was at `path` stays. What is no regular file, such as a pipe, is
    written to as it is.

    Args:
        path: File to write; its folder exists.
    """
    place = path.resolve()
    if place.exists() and not place.is_file():
        with add_path_to_errors(path):
            yield place
        return
    building = place.with_name(f".{os.getpid()}.{place.name}")  # of the same ending
    try:
        with add_path_to_errors(path):
            yield building
        if building.exists():
            building.replace(place)
    finally:
        building.unlink(missing_ok=True)


@contextmanager
def create_folder(folder: Path) -> Iterator[None]:
    """Make a folder for what is written to it, and leave no empty one behind if that fails.

    Args:
        folder: Folder, made with those above it; folders that were there stay.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for each in made:
            try:
                each.rmdir()
            except OSError:  # it holds something, or was never made
                continue
        raise


@contextmanager
def exit_on_full_disk() -> Iterator[None]:
    """End the process with status 1, and one line on stderr, if a disk is full; for commands.

    An error without a file name is one of standard output. The rest of that is discarded, since the
    interpreter would try to write it once more when it ends, and fail again.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL_ERRNOS:
            raise
        if error.filename is None and sys.stdout is sys.__stdout__:
            with open(os.devnull, "wb") as nothing:  # noqa: PTH123
                os.dup2(nothing.fileno(), 1)
        path = error.filename or "standard output"
        sys.exit(f"Error: {path}: {error.strerror}; make room and try again")
