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

from serving.bundle import MANIFEST_FILE, BundleError, BundleLimits
from serving.bundle.files import (
    compute_checksum,
    get_file_size,
    is_transient_error,
    read_regular_file,
)

FINGERPRINT_DIGITS = 16  # hexadecimal digits of a stamp
MAX_CACHED_FINGERPRINTS = 4096  # largest number of stamps in the cache
MAX_LISTED_FILES = (
    64  # largest number of files that a manifest may list: 16 variants and their data
)
MAX_CONTENT_BYTES = 2**31  # largest total size that is read for a stamp, in about two seconds
# Names of files that a manifest may list. Others, such as .DS_Store, are not the bundle's.
BUNDLE_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
DEFAULT_BUNDLE_LIMITS = BundleLimits()


def compute_fingerprint(folder: Path) -> str:
    """Return the stamp of a version's folder, models/NAME/VERSION.

    If a file cannot be read, the stamp is that of an incomplete version.
    """
    try:
        return compute_readable_fingerprint(folder)
    except BundleError:
        return _hash_folder_stats(folder)


def compute_readable_fingerprint(folder: Path) -> str:
    """Return the same stamp as `compute_fingerprint` if all files can be read.

    Raises:
        BundleError: If a file cannot be read now, and may be readable at the next look.
    """
    return _hash_content(folder, _hash_folder_stats(folder))


def _hash_folder_stats(folder: Path) -> str:
    """Return a hash that changes whenever a file is written, replaced, added or removed."""
    try:
        parts = [str(folder.resolve(strict=True))]
        with os.scandir(folder) as entries:
            parts += sorted(
                _describe_entry(entry)
                for entry in entries
                if BUNDLE_FILE_NAME.fullmatch(entry.name)
            )
    except (OSError, RuntimeError) as error:  # RuntimeError: circular links, up to Python 3.12
        parts = [str(error)]
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()[
        :FINGERPRINT_DIGITS
    ]


def _describe_entry(entry: os.DirEntry[str]) -> str:
    try:
        found = entry.stat()
    except OSError as error:  # a dangling link
        return f"{entry.name} {error.strerror}"
    # ctime as well as mtime, since a copy can be given an older mtime.
    times = f"{found.st_mtime_ns} {found.st_ctime_ns}"
    return f"{entry.name} {found.st_ino} {found.st_size} {times}"


@lru_cache(MAX_CACHED_FINGERPRINTS)
def _hash_content(folder: Path, state: str) -> str:
    """Return the hash of the manifest if all files match it, else `state`.

    Raises:
        BundleError: If a file cannot be read.
    """
    models = folder.parent.parent
    try:
        content = read_regular_file(
            folder,
            MANIFEST_FILE,
            models,
            DEFAULT_BUNDLE_LIMITS.manifest_bytes,
            "--max-manifest-bytes",
        )
        listed = _parse_listed_files(content)
        # A file may grow for minutes while it is written: its size is looked at first.
        if listed is None or not _has_expected_sizes(folder, models, listed):
            return state
        for file, (expected, _) in listed.items():
            if compute_checksum(folder, file, models) != expected:
                return state
    except BundleError as error:
        if is_transient_error(error):
            raise
        return state
    # The manifest holds the checksums of all other files.
    return hashlib.sha256(content).hexdigest()[:FINGERPRINT_DIGITS]


def _parse_listed_files(content: bytes) -> dict[str, tuple[str, int | None]] | None:
    """Return the checksum of each listed file, and the size of a graph; None if malformed.

    The manifest is not fully checked here: loading the version reports its errors.
    """
    try:
        found = orjson.loads(content)
        files: dict[str, Any] = {file: (sum_, None) for file, sum_ in found["files"].items()}
        for variant in found["variants"].values():
            files[variant["file"]] = variant["sha256"], variant["size_bytes"]
        is_usual = len(files) <= MAX_LISTED_FILES and all(map(BUNDLE_FILE_NAME.fullmatch, files))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return files if is_usual else None


def _has_expected_sizes(
    folder: Path, models: Path, listed: dict[str, tuple[str, int | None]]
) -> bool:
    """Return whether all files have the expected sizes, and at most `MAX_CONTENT_BYTES` in total."""
    sizes = {file: get_file_size(folder, file, models) for file in listed}
    as_expected = all(expected in (None, sizes[file]) for file, (_, expected) in listed.items())
    return as_expected and sum(sizes.values()) <= MAX_CONTENT_BYTES
