"""Scan the folder of models, and compute fingerprints of the versions' content.

A version is tested again whenever its fingerprint changes, so all workers have to compute the same
one, also after a restart. The fingerprint of a complete version is a hash of its content: it stays
the same if the files are copied, touched or moved, or if a file manager adds files. The content is
read again only when the name, size, times or inode of a file changes. The fingerprint of an
incomplete version, for instance one that is being written, is a hash of these properties.
"""

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

MAX_NAME_CHARACTERS = 64  # longest name of a model or file that a message or the index shows
FINGERPRINT_DIGITS = 16  # hexadecimal digits of a fingerprint
MAX_CACHED_FINGERPRINTS = 4096
MAX_LISTED_FILES = 64  # files that a manifest may list: 16 variants and their data
MAX_CONTENT_BYTES = 2**31  # largest total size of a version's files; hashing takes two seconds
# Names that a manifest may list. Other files, for instance .DS_Store, do not belong to the bundle.
BUNDLE_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
DEFAULT_BUNDLE_LIMITS = BundleLimits()


@dataclass(frozen=True)
class FolderScan:
    """The models and versions in the folder of models, by their folders' names.

    Attributes:
        versions: Version numbers of each model, ascending, by the model's name.
        unreadable: Reason why a model's folder cannot be read, by the model's name.
    """

    versions: dict[str, list[int]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, models: Path) -> FolderScan:
        """Scan the folder of models.

        Args:
            models: Folder of models.

        Raises:
            OSError: If the folder of models itself cannot be read, or is not a folder.
        """
        versions, unreadable = {}, {}
        for name in bundle.list_models(models):
            try:
                versions[name] = bundle.list_versions(models / name)
            except OSError as error:
                unreadable[name] = str(error)
        if not versions:
            os.scandir(models).close()  # It raises the error if there is no such folder.
        return cls(versions, unreadable)


def compute_fingerprint(folder: Path) -> str:
    """Return the fingerprint of a version's folder.

    If a file cannot be read, the fingerprint is that of an incomplete version.

    Args:
        folder: Folder of the version, models/NAME/VERSION.
    """
    try:
        return compute_readable_fingerprint(folder)
    except BundleError:
        return _hash_file_stats(folder)


def compute_readable_fingerprint(folder: Path) -> str:
    """Return the same as `compute_fingerprint`, or fail if a file cannot be read.

    Args:
        folder: Folder of the version, models/NAME/VERSION.

    Raises:
        BundleError: If a file cannot be read now, but may be readable at the next attempt.
    """
    return _hash_content(folder, _hash_file_stats(folder))


def _hash_file_stats(folder: Path) -> str:
    """Return a hash that changes whenever a file is written, replaced, added or removed."""
    try:
        parts = [str(folder.resolve(strict=True))]
        with os.scandir(folder) as entries:
            parts += sorted(
                _describe_entry(entry)
                for entry in entries
                if BUNDLE_FILE_NAME.fullmatch(entry.name)
            )
    except (
        OSError,
        RuntimeError,
    ) as error:  # Up to Python 3.12, circular links raise RuntimeError.
        parts = [str(error)]
    digest = hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()
    return digest[:FINGERPRINT_DIGITS]


def _describe_entry(entry: os.DirEntry[str]) -> str:
    try:
        stats = entry.stat()
    except OSError as error:  # The entry is a dangling link.
        return f"{entry.name} {error.strerror}"
    # The ctime is needed too, since a copy can be given an older mtime.
    times = f"{stats.st_mtime_ns} {stats.st_ctime_ns}"
    return f"{entry.name} {stats.st_ino} {stats.st_size} {times}"


# Per process, since an entry depends on nothing but its arguments: they change with every change of
# the files. The scan, the admission and the loading of a version all read the same entries.
@lru_cache(MAX_CACHED_FINGERPRINTS)
def _hash_content(folder: Path, stats_hash: str) -> str:
    """Return the hash of the manifest if all files match it, else `stats_hash`.

    Raises:
        BundleError: If a file cannot be read now.
    """
    models = folder.parent.parent
    max_bytes = DEFAULT_BUNDLE_LIMITS.manifest_bytes
    try:
        content = read_regular_file(
            folder, MANIFEST_FILE, models, max_bytes, "--max-manifest-bytes"
        )
        listed = _parse_listed_files(content)
        # A file may grow for minutes while it is written, so its size is checked first.
        if listed is None or not _has_expected_sizes(folder, models, listed):
            return stats_hash
        for file, (checksum, _) in listed.items():
            if compute_checksum(folder, file, models) != checksum:
                return stats_hash
    except BundleError as error:
        if is_transient_error(error):
            raise
        return stats_hash
    # The manifest holds the checksums of all other files, so its own hash identifies them too.
    return hashlib.sha256(content).hexdigest()[:FINGERPRINT_DIGITS]


def _parse_listed_files(content: bytes) -> dict[str, tuple[str, int | None]] | None:
    """Return the files that a manifest lists; None if it is malformed.

    The manifest is not fully checked here: loading the version reports its errors.

    Args:
        content: Content of the manifest.

    Returns:
        Checksum and size in bytes of each file by name; the size of a file that is not a graph is
        None.
    """
    try:
        manifest = orjson.loads(content)
        files: dict[str, Any] = {
            file: (checksum, None) for file, checksum in manifest["files"].items()
        }
        for variant in manifest["variants"].values():
            files[variant["file"]] = variant["sha256"], variant["size_bytes"]
        is_valid = len(files) <= MAX_LISTED_FILES and all(map(BUNDLE_FILE_NAME.fullmatch, files))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return files if is_valid else None


def _has_expected_sizes(
    folder: Path, models: Path, listed: dict[str, tuple[str, int | None]]
) -> bool:
    """Return whether all files have their listed sizes and at most `MAX_CONTENT_BYTES` in total."""
    sizes = {file: get_file_size(folder, file, models) for file in listed}
    is_as_listed = all(size in (None, sizes[file]) for file, (_, size) in listed.items())
    return is_as_listed and sum(sizes.values()) <= MAX_CONTENT_BYTES


def require_models_folder(models: Path) -> None:
    """Refuse a folder from which no model can ever be served; an empty one is accepted.

    Args:
        models: Folder of models.

    Raises:
        NotADirectoryError: If the path does not exist, cannot be read, is not a folder, or is the
            folder of one model or one version.
    """
    try:
        is_too_deep = not bundle.list_models(models) and _is_model_or_version(models)
        os.scandir(models).close()
    except OSError as error:
        raise NotADirectoryError(_format_missing_models(models, error)) from error
    if is_too_deep:
        raise NotADirectoryError(_format_missing_models(models))


def _format_missing_models(models: Path, error: OSError | None = None) -> str:
    reason = explain_missing_models(models, error)
    return f"expected a folder of models, NAME/VERSION; got {models}, {reason}"


def _is_model_or_version(folder: Path) -> bool:
    """Return whether a folder is that of one model, or of one version."""
    return bool(bundle.list_versions(folder)) or (folder / MANIFEST_FILE).is_file()


def find_ignored_folders(models: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the model, name and reason of each entry that looks like a version but is not one.

    If a folder contains no version, only entries that contain a bundle are yielded, since the
    folder may not be meant as a model at all.

    Args:
        models: Folder of models.
    """
    try:
        folders = sorted(path for path in models.iterdir() if path.is_dir())
    except OSError:
        return
    for folder in folders:
        try:
            ignored = {} if folder.name.startswith(".") else bundle.find_ignored_entries(folder)
            is_model = bool(bundle.list_versions(folder))
        except OSError:
            continue
        for name, reason in ignored.items():
            holds_bundle = name == MANIFEST_FILE or (folder / name / MANIFEST_FILE).exists()
            if is_model or holds_bundle:
                yield _shorten_name(folder.name), _shorten_name(name), reason


def _shorten_name(name: str) -> str:
    """Return a file's name, made valid UTF-8 and cut to `MAX_NAME_CHARACTERS`."""
    text = name.encode(errors="surrogateescape").decode(errors="replace")
    return text if len(text) <= MAX_NAME_CHARACTERS else f"{text[: MAX_NAME_CHARACTERS - 3]}..."


def explain_missing_models(models: Path, error: OSError | None = None) -> str:
    """Return, as a clause, why no model was found in a folder.

    Args:
        models: Folder of models.
        error: Error that reading the folder raised; None if it could be read.
    """
    if isinstance(error, PermissionError):  # The permission of a parent folder may be missing.
        return f"which cannot be read: {error.strerror}"
    if not models.is_dir():
        kind = "a link that leads to no folder" if models.is_symlink() else "a file"
        exists = models.is_symlink() or models.exists()
        return f"which is {kind}" if exists else "which does not exist"
    if error is not None:
        return f"which cannot be read: {error.strerror}"
    return f"which {_explain_folder_content(models)}"


def _explain_folder_content(models: Path) -> str:
    if _is_model_or_version(models):
        path = models.absolute()
        if bundle.list_versions(models):
            return f"is one model; give the folder of all models, {path.parent}"
        return f"is one version; give the folder of all models, {path.parent.parent}"
    folders = sorted(path for path in models.iterdir() if path.is_dir())
    staged = next((path.name for path in folders if bundle.list_staged_versions(path)), None)
    if staged is not None:
        remedy = f"promote one: serving promote --models {models} {staged}"
        return f"holds staged versions only; {remedy}"
    for model, name, reason in find_ignored_folders(models):
        return f"holds no version; {model}/{name} is {reason}"
    return f"holds none; train one: trainer fit digits --models {models}"
