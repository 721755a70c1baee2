"""The shelf: what lies in the folder of models; names, sizes and times, no content."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from serving import bundle
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


MAX_NAME_CHARACTERS = 64  # characters of a name that is none of a version's


@dataclass(frozen=True)
class FolderScan:
    """What lies in the folder of models.

    Attributes:
        versions: of each model, ascending.
        unreadable: why a folder cannot be looked into, by its name.
    """

    versions: dict[str, list[int]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, models: Path) -> FolderScan:
        """What lies there now.

        Raises:
            OSError: the folder of models itself cannot be looked into, or is none.
        """
        found, unreadable = {}, {}
        for name in bundle.list_models(models):
            try:
                found[name] = bundle.list_versions(models / name)
            except OSError as error:
                unreadable[name] = str(error)
        if not found:
            os.scandir(models).close()  # which says so if there is no such folder
        return cls(found, unreadable)


def require_models_folder(models: Path) -> None:
    """Refuse a folder from which nothing will ever be served; an empty one is waited for.

    Raises:
        NotADirectoryError: If it does not exist, is no folder that can be read, or is the folder of
            one model or version.
    """
    try:
        is_lower = not bundle.list_models(models) and _is_model_or_version(models)
        os.scandir(models).close()
    except OSError as error:
        raise NotADirectoryError(_format_missing_models(models, error)) from error
    if is_lower:
        raise NotADirectoryError(_format_missing_models(models))


def _format_missing_models(models: Path, error: OSError | None = None) -> str:
    return f"expected a folder of models, NAME/VERSION; got {models}, {explain_missing_models(models, error)}"


def _is_model_or_version(folder: Path) -> bool:
    """Return whether a folder is that of one model, or of one version."""
    return bool(bundle.list_versions(folder)) or (folder / bundle.MANIFEST_FILE).is_file()


def find_ignored_folders(models: Path) -> Iterator[tuple[str, str, str]]:
    """Yield model, name and reason of what lies there like a version and is none.

    Of a folder without a version only what holds a bundle counts: it may be of no model at all.
    """
    try:
        folders = sorted(path for path in models.iterdir() if path.is_dir())
    except OSError:
        return
    for folder in folders:
        try:
            found = {} if folder.name.startswith(".") else bundle.find_ignored_entries(folder)
            is_model = bool(bundle.list_versions(folder))
        except OSError:
            continue
        for name, reason in found.items():
            if (
                is_model
                or name == bundle.MANIFEST_FILE
                or (folder / name / bundle.MANIFEST_FILE).exists()
            ):
                yield _shorten_name(folder.name), _shorten_name(name), reason


def _shorten_name(name: str) -> str:
    """Return a file's name as JSON can hold it, and not longer than an entry may be."""
    text = name.encode(errors="surrogateescape").decode(errors="replace")
    return text if len(text) <= MAX_NAME_CHARACTERS else f"{text[: MAX_NAME_CHARACTERS - 3]}..."


def explain_missing_models(models: Path, error: OSError | None = None) -> str:
    """Why no model was found in a folder."""
    if isinstance(error, PermissionError):  # also of a folder on the way to it
        return f"which cannot be read: {error.strerror}"
    if not models.is_dir():
        kind = "a link that leads to no folder" if models.is_symlink() else "a file"
        exists = models.is_symlink() or models.exists()
        return f"which is {kind}" if exists else "which does not exist"
    return f"which {'cannot be read: ' + str(error.strerror) if error else _explain_folder_content(models)}"


def _explain_folder_content(models: Path) -> str:
    if _is_model_or_version(models):
        whole = models.absolute()
        one, right = (
            ("model", whole.parent)
            if bundle.list_versions(models)
            else ("version", whole.parent.parent)
        )
        return f"is one {one}; give the folder of all models, {right}"
    folders = sorted(path for path in models.iterdir() if path.is_dir())
    staged = next((path.name for path in folders if bundle.list_staged_versions(path)), None)
    if staged is not None:
        remedy = f"promote one: serving promote --models {models} {staged}"
        return f"holds staged versions only; {remedy}"
    for model, name, reason in find_ignored_folders(models):
        return f"holds no version; {model}/{name} is {reason}"
    return f"holds none; train one: trainer fit digits --models {models}"
