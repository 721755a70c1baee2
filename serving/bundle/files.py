"""Read the files of a bundle safely: regular files of limited size, inside an allowed folder."""

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
    """Limits of a bundle's files. The server has an option for each of them.

    Attributes:
        manifest_bytes: Largest size of bundle.json and of reference.json, in bytes.
        selftest_bytes: Largest size of selftest.npz, also once unpacked, in bytes.
        graph_bytes: Largest size of one ONNX file, in bytes.
        allow_loops: Whether a graph may contain operators that repeat a part of it.
    """

    manifest_bytes: int = 2 * 2**20
    selftest_bytes: int = 64 * 2**20
    graph_bytes: int = 512 * 2**20
    allow_loops: bool = False


def read_regular_file(folder: Path, file: str, root: Path | None, limit: int, option: str) -> bytes:
    """Return the content of a file.

    Symbolic links are followed, since Kubernetes mounts folders by them, but not out of `root`.

    Args:
        folder: Folder of the version.
        file: Name of the file in the folder.
        root: Folder that must contain the file after links are resolved; None for no restriction.
        limit: Largest size of the file, in bytes.
        option: Name of the server's option that sets the limit.

    Raises:
        BundleError: If the file cannot be read, is not a regular file, is larger than `limit`, or
            is outside `root`.
    """
    with _open_regular_file(folder, file, root) as (opened, found_size):
        content = opened.read(found_size + 1) if found_size <= limit else b""
        if (size := max(found_size, len(content))) > limit:
            raise BundleError(
                f"{folder}: expected {file} of at most {pluralize(limit, 'byte')}; got {size}; "
                f"serve it with a larger {option}"
            )
        return content


def get_file_size(folder: Path, file: str, root: Path | None) -> int:
    """Return the size of a file in bytes, after opening it to make sure that it can be read.

    Args:
        folder: Folder of the version.
        file: Name of the file in the folder.
        root: Folder that must contain the file after links are resolved; None for no restriction.

    Raises:
        BundleError: If the file cannot be read, is not a regular file, or is outside `root`.
    """
    with _open_regular_file(folder, file, root) as (_, size):
        return size


def compute_checksum(folder: Path, file: str, root: Path | None) -> str:
    """Return the SHA-256 of a file in hexadecimal, read in blocks.

    Args:
        folder: Folder of the version.
        file: Name of the file in the folder.
        root: Folder that must contain the file after links are resolved; None for no restriction.

    Raises:
        BundleError: If the file cannot be read, is not a regular file, or is outside `root`.
    """
    with _open_regular_file(folder, file, root) as (opened, _):
        return hashlib.file_digest(opened, "sha256").hexdigest()


def is_transient_error(error: Exception) -> bool:
    """Return whether an error may disappear although the files of the version do not change.

    For example, permissions are corrected or a disk recovers. A missing file is not transient: when
    it appears, the version's fingerprint changes.
    """
    if isinstance(error, TransientBundleError):
        return True
    cause = error if isinstance(error, OSError) else error.__cause__
    absent = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR)
    return isinstance(cause, OSError) and cause.errno not in absent


@contextmanager
def _open_regular_file(
    folder: Path, file: str, root: Path | None
) -> Iterator[tuple[BufferedReader, int]]:
    """Yield an open regular file and its size in bytes."""
    try:
        path = (folder / file).resolve(strict=True)
        if root is not None and not path.is_relative_to(root.resolve()):
            raise BundleError(
                f"{folder}: expected {file} inside the repository; got a link that leads out of "
                f"it; copy the file"
            )
        # Without O_NONBLOCK, opening a pipe would block until another process opens it to write.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:  # noqa: PTH123
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{folder}: expected {file} as a regular file; got another kind")
            yield opened, status.st_size
    except OSError as error:
        raise BundleError(f"{folder}: expected a readable {file}; {error.strerror}") from error
    except RuntimeError as error:  # up to Python 3.12, pathlib raises it for links in a circle
        raise BundleError(f"{folder}: expected a readable {file}; {error}") from error
