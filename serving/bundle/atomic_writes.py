"""Write files completely or not at all, and name the file in every error.

Python names the file in an error of `open`, but not in one of `write` or `fsync`, for example if
the disk is full. The context managers here add the name.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)  # no space on the disk, or the quota is used up


@contextmanager
def add_path_to_errors(path: Path) -> Iterator[None]:
    """Add the name of a file to each `OSError` of the block that names none.

    Args:
        path: File that the block writes.
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
    """Yield a temporary file in the same folder, which replaces `path` when the block succeeds.

    If the block fails, the temporary file is removed and `path` stays as it was. If `path` is not a
    regular file, for example a pipe, it is itself yielded.

    Args:
        path: File to write, in a folder that exists.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        with add_path_to_errors(path):
            yield target
        return
    # Keep the suffix, since a library that the block calls may choose the file format by it.
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        with add_path_to_errors(path):
            yield temporary
        if temporary.exists():
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def create_folder(folder: Path) -> Iterator[None]:
    """Create a folder for the files that the block writes, and remove it if the block fails.

    Only folders that were created here and are still empty are removed.

    Args:
        folder: Folder to create, together with its missing parents.
    """
    created = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for each in created:
            try:
                each.rmdir()
            except OSError:  # it is not empty, or it could not be created
                continue
        raise


@contextmanager
def exit_on_full_disk() -> Iterator[None]:
    """Exit with status 1 and one line on standard error if the block finds the disk full.

    Meant for the outermost block of a command. An error without a file name comes from standard
    output. What remains in its buffer is discarded: the interpreter would try to write it at exit
    and fail once more.
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
        sys.exit(f"Error: {path}: {error.strerror}; free some space and try again")
