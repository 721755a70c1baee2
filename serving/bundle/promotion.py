"""Promotion: a staged version, `<name>/staged-<version>`, becomes one that servers load."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.bundle.folder import (
    STAGED_PREFIX,
    Bundle,
    list_models,
    list_staged_versions,
    list_versions,
)
from serving.bundle.manifest import BundleError


class PromotionError(Exception):
    """A version cannot be promoted; the message says why."""


def promote(models: Path, name: str, version: int | None = None) -> Bundle:
    """Rename the folder of a staged version to its number, in one step.

    Args:
        models: Folder of models.
        name: Name of the model.
        version: Number of the staged version; None where only one is staged.

    Returns:
        The version under its new path.

    Raises:
        PromotionError: If there is no such staged version, its number is taken, a file of it
            cannot be read or is not the one that was exported, or the folder cannot be renamed.
    """
    folder = models / name
    try:
        if not models.is_dir():
            raise PromotionError(f"expected a folder of models; got {models}, which is none")
        # Compared with the entries of the folder, so that a name such as `..` cannot lead out.
        if name not in {path.name for path in models.iterdir()} or not folder.is_dir():
            known = ", ".join(list_models(models)) or "none"
            raise PromotionError(
                f"expected a model in {models} (those with versions: {known}); got {name!r}"
            )
        with lock_model_folder(folder):
            return _rename_staged_version(folder, _choose_staged_version(folder, version))
    except BundleError as error:
        raise PromotionError(f"{error}; nothing was changed") from error
    except OSError as error:
        raise PromotionError(
            f"expected a folder that can be written to; got {folder}: {error.strerror}; nothing "
            f"was changed"
        ) from error


def _choose_staged_version(folder: Path, version: int | None) -> int:
    staged = list_staged_versions(folder)
    if version is None and len(staged) == 1:
        return staged[0]
    if version in staged:
        return version
    got = "no number" if version is None else str(version)
    if not staged:
        raise PromotionError(
            f"expected a staged version of {folder.name}; got none in {folder}; "
            f"`trainer fit --stage` writes one"
        )
    raise PromotionError(
        f"expected the number of a staged version of {folder.name}, out of "
        f"{', '.join(map(str, staged))}; got {got}"
    )


def _rename_staged_version(folder: Path, version: int) -> Bundle:
    """Promote a staged version; the caller holds the lock of the folder."""
    staged, place = folder / f"{STAGED_PREFIX}{version}", folder / str(version)
    if version in list_versions(folder) or place.exists():
        raise PromotionError(
            f"expected {place} not to exist yet; got a version of that number; nothing was "
            f"changed; remove one of the two"
        )
    bundle = Bundle.open(staged)
    for file in bundle.checksums:
        bundle.read_file(file)
    staged.rename(place)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return Bundle(place, bundle.manifest)


@contextmanager
def lock_model_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a model's folder, so that two writers take turns.

    Args:
        folder: Folder of the model, `models/<name>`.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which unlocks
