"""Files: read whole, if they are plain ones, and where they may not leave a folder, inside it."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from serving.bundle.error_text import pluralize
from serving.bundle.manifest import BundleError, TransientBundleError


@dataclass(frozen=True)
class BundleLimits:
    """Limits of a bundle's files; the server has an option for each.

    Attributes:
        manifest_bytes: Size of bundle.json and of reference.json, in bytes.
        selftest_bytes: Size of selftest.npz after it was unpacked, in bytes.
        graph_bytes: Size of one ONNX file, in bytes.
        allow_loops: Whether a graph may hold operators that repeat a part of it.
    """

    manifest_bytes: int = 2 * 2**20
    selftest_bytes: int = 64 * 2**20
    graph_bytes: int = 512 * 2**20
    allow_loops: bool = False


def read_regular_file(folder: Path, file: str, root: Path | None, limit: int, option: str) -> bytes:
    """The content of a file of a version's folder.

    Links are followed, as orchestrators mount folders by them, but not out of `root`.

    Args:
        folder: of the version.
        file: name in it.
        root: the folder that the file must really lie in; anywhere if None.
        limit: Largest size of the file, in bytes.
        option: The server's option that sets the limit.

    Raises:
        BundleError: it cannot be read, is a pipe or a device, is larger than any bundle's, or lies
            elsewhere.
    """
    with _open_regular_file(folder, file, root) as (opened, found_size):
        content = opened.read(found_size + 1) if found_size <= limit else b""
        if (size := max(found_size, len(content))) > limit:
            raise BundleError(
                f"{folder}: expected {file} of at most {pluralize(limit, 'byte')}; got {size}; serve "
                f"it with a larger {option}"
            )
        return content


def get_file_size(folder: Path, file: str, within: Path | None) -> int:
    """Return the size of a file that can be read, in bytes; arguments and faults as of `read_regular_file`."""
    with _open_regular_file(folder, file, within) as (_, found_size):
        return found_size


def compute_checksum(folder: Path, file: str, within: Path | None) -> str:
    """Return the sha256 of a file, read in parts; arguments and faults as of `read_regular_file`."""
    with _open_regular_file(folder, file, within) as (opened, _):
        return hashlib.file_digest(opened, "sha256").hexdigest()


def is_transient_error(error: Exception) -> bool:
    """Return whether a fault may pass by itself, or by a change that leaves files as they are.

    Rights are changed, disks recover. A file that is not there, though, leaves another stamp when
    it comes.
    """
    if isinstance(error, TransientBundleError):
        return True
    cause = error if isinstance(error, OSError) else error.__cause__
    absent = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR)
    return isinstance(cause, OSError) and cause.errno not in absent


@contextmanager
def _open_regular_file(
    folder: Path, file: str, within: Path | None
) -> Iterator[tuple[BufferedReader, int]]:
    """Open a plain file, and give its size in bytes besides."""
    try:
        place = (folder / file).resolve(strict=True)
        if within is not None and not place.is_relative_to(within.resolve()):
            raise BundleError(
                f"{folder}: expected {file} inside the repository; got a link that leads out of "
                f"it; copy the file"
            )
        # A pipe would keep its reader waiting, without O_NONBLOCK, for as long as no one writes.
        descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:  # noqa: PTH123
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise BundleError(f"{folder}: expected {file} as a plain file; got another kind")
            yield opened, found.st_size
    except OSError as error:
        raise BundleError(f"{folder}: expected a readable {file}; {error.strerror}") from error
    except RuntimeError as error:  # what pathlib makes of links that lead in a circle, up to 3.12
        raise BundleError(f"{folder}: expected a readable {file}; {error}") from error
