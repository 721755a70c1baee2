"""Stamps: fingerprints of the content of a version's folder.

All workers, and later starts, have to compute the same stamp; a version is tested anew whenever its
stamp changes. So a complete version is stamped by its content: files may be copied, touched or
moved, and a desktop may add files of its own. The content is read again only when names, sizes,
times or inodes of the files change. An incomplete version, such as one that is being written, is
stamped by these.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from serving.bundle import MANIFEST, BundleError, BundleLimits
from serving.bundle.files import checksum, is_transient, read, size

LENGTH = 16  # hexadecimal digits of a stamp
MOST_KNOWN = 4096  # largest number of stamps in the cache
MOST_FILES = 64  # largest number of files that a manifest may list: 16 variants and their data
MOST_BYTES = 2**31  # largest total size that is read for a stamp, in about two seconds
# Names of files that a manifest may list. Others, such as .DS_Store, are not the bundle's.
FILE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
LIMITS = BundleLimits()


def stamp(folder: Path) -> str:
    """Return the stamp of a version's folder, models/NAME/VERSION.

    If a file cannot be read, the stamp is that of an incomplete version.
    """
    try:
        return stamp_of_readable(folder)
    except BundleError:
        return _state_of_folder(folder)


def stamp_of_readable(folder: Path) -> str:
    """Return the same stamp as `stamp` if all files can be read.

    Raises:
        BundleError: If a file cannot be read now, and may be readable at the next look.
    """
    return _stamp_of_content(folder, _state_of_folder(folder))


def _state_of_folder(folder: Path) -> str:
    """Return a hash that changes whenever a file is written, replaced, added or removed."""
    try:
        parts = [str(folder.resolve(strict=True))]
        with os.scandir(folder) as entries:
            parts += sorted(_state(entry) for entry in entries if FILE.fullmatch(entry.name))
    except (OSError, RuntimeError) as error:  # RuntimeError: circular links, up to Python 3.12
        parts = [str(error)]
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()[:LENGTH]


def _state(entry: os.DirEntry[str]) -> str:
    try:
        found = entry.stat()
    except OSError as error:  # a dangling link
        return f"{entry.name} {error.strerror}"
    # ctime as well as mtime, since a copy can be given an older mtime.
    times = f"{found.st_mtime_ns} {found.st_ctime_ns}"
    return f"{entry.name} {found.st_ino} {found.st_size} {times}"


@lru_cache(MOST_KNOWN)
def _stamp_of_content(folder: Path, state: str) -> str:
    """Return the hash of the manifest if all files match it, else `state`.

    Raises:
        BundleError: If a file cannot be read.
    """
    models = folder.parent.parent
    try:
        content = read(folder, MANIFEST, models, LIMITS.manifest_bytes, "--max-manifest-bytes")
        listed = _listed(content)
        # A file may grow for minutes while it is written: its size is looked at first.
        if listed is None or not _have_sizes(folder, models, listed):
            return state
        for file, (expected, _) in listed.items():
            if checksum(folder, file, models) != expected:
                return state
    except BundleError as error:
        if is_transient(error):
            raise
        return state
    # The manifest holds the checksums of all other files.
    return hashlib.sha256(content).hexdigest()[:LENGTH]


def _listed(content: bytes) -> dict[str, tuple[str, int | None]] | None:
    """Return the checksum of each listed file, and the size of a graph; None if malformed.

    The manifest is not fully checked here: loading the version reports its errors.
    """
    try:
        found = orjson.loads(content)
        files: dict[str, Any] = {file: (sum_, None) for file, sum_ in found["files"].items()}
        for variant in found["variants"].values():
            files[variant["file"]] = variant["sha256"], variant["size_bytes"]
        is_usual = len(files) <= MOST_FILES and all(map(FILE.fullmatch, files))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return files if is_usual else None


def _have_sizes(folder: Path, models: Path, listed: dict[str, tuple[str, int | None]]) -> bool:
    """Return whether all files have the expected sizes, and at most `MOST_BYTES` in total."""
    sizes = {file: size(folder, file, models) for file in listed}
    as_expected = all(expected in (None, sizes[file]) for file, (_, expected) in listed.items())
    return as_expected and sum(sizes.values()) <= MOST_BYTES
