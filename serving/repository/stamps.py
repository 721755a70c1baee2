"""Stamps: what tells one content of a version's folder from another.

All workers and later starts must come to the same stamp, and a version is proved anew whenever it
has another one. So a version that is whole is stamped by its content: files may be copied, touched
or moved, and a desktop may leave its own beside them. It is read again only when names, sizes,
times or numbers of its files change. One that is not whole, as while it is being written, is
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
MOST_KNOWN = 4096  # contents that are remembered, of one folder each
MOST_FILES = 64  # that a manifest may list; 16 variants and what describes them
MOST_BYTES = 2**31  # of all files of a version that are read to compare them: about two seconds
# What the manifest may call a file. Anything else is none of the bundle's: .DS_Store, Thumbs.db.
FILE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
LIMITS = BundleLimits()


def stamp(folder: Path) -> str:
    """Return the stamp of a version's folder, models/NAME/VERSION.

    Where it cannot be looked into, that is its stamp: it changes when that does.
    """
    try:
        return stamp_of_readable(folder)
    except BundleError:
        return _state_of_folder(folder)


def stamp_of_readable(folder: Path) -> str:
    """Return the same stamp, of a folder whose files can be read.

    Raises:
        BundleError: If a file cannot be read now, and may be readable at the next look.
    """
    return _stamp_of_content(folder, _state_of_folder(folder))


def _state_of_folder(folder: Path) -> str:
    """Return what changes whenever a file is written, replaced, added or taken away."""
    try:
        parts = [str(folder.resolve(strict=True))]
        with os.scandir(folder) as entries:
            parts += sorted(_state(entry) for entry in entries if FILE.fullmatch(entry.name))
    except (OSError, RuntimeError) as error:  # the latter of links in a circle, up to Python 3.12
        parts = [str(error)]
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()[:LENGTH]


def _state(entry: os.DirEntry[str]) -> str:
    try:
        found = entry.stat()
    except OSError as error:  # a link that leads nowhere
        return f"{entry.name} {error.strerror}"
    # The time of the last change of its record, too: a copy can be given an older time of writing.
    times = f"{found.st_mtime_ns} {found.st_ctime_ns}"
    return f"{entry.name} {found.st_ino} {found.st_size} {times}"


@lru_cache(MOST_KNOWN)
def _stamp_of_content(folder: Path, state: str) -> str:
    """Return the stamp of a folder's content if it is whole, else that of its state.

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
    # The manifest holds the sums of all other files.
    return hashlib.sha256(content).hexdigest()[:LENGTH]


def _listed(content: bytes) -> dict[str, tuple[str, int | None]] | None:
    """Return checksum and, of a graph, size of each file that a manifest lists; None if unusual.

    It is not checked like a manifest that is served: what is wrong with it is told by the proof.
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
    """Return whether all files can be read, and are as large as they should be, in all not much."""
    sizes = {file: size(folder, file, models) for file in listed}
    as_expected = all(expected in (None, sizes[file]) for file, (_, expected) in listed.items())
    return as_expected and sum(sizes.values()) <= MOST_BYTES
