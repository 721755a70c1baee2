"""Promote a staged version: rename `<name>/staged-<version>` to `<name>/<version>`.

Servers load only folders of the second form.
"""

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
    """A version cannot be promoted. The message says why."""


def promote(models: Path, name: str, version: int | None = None) -> Bundle:
    """Check all files of a staged version, then rename its folder to its number atomically.

    Args:
        models: Folder of models.
        name: Name of the model.
        version: Number of the staged version; None if only one version is staged.

    Returns:
        The bundle at its new path.

    Raises:
        PromotionError: If there is no such staged version, its number is already used, one of its
            files cannot be read or was altered after the export, or the folder cannot be renamed.
    """
    folder = models / name
    try:
        if not models.is_dir():
            raise PromotionError(f"expected a folder of models; got {models}: not a folder")
        # The name has to be an entry of the folder, so that `..` cannot lead out of it.
        if name not in {path.name for path in models.iterdir()} or not folder.is_dir():
            known = ", ".join(list_models(models)) or "none"
            raise PromotionError(
                f"expected a model in {models} (models with versions: {known}); got {name!r}"
            )
        with lock_model_folder(folder):
            return _rename_staged_version(folder, _choose_staged_version(folder, version))
    except BundleError as error:
        raise PromotionError(f"{error}; nothing was changed") from error
    except OSError as error:
        raise PromotionError(
            f"expected a writable folder; got {folder}: {error.strerror}; nothing was changed"
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
            f"expected a staged version of {folder.name}; got none in {folder}; create one with "
            f"`trainer fit --stage`"
        )
    raise PromotionError(
        f"expected the number of a staged version of {folder.name}, out of "
        f"{', '.join(map(str, staged))}; got {got}"
    )


def _rename_staged_version(folder: Path, version: int) -> Bundle:
    """Promote a staged version while the caller holds the lock of the model's folder."""
    staged, target = folder / f"{STAGED_PREFIX}{version}", folder / str(version)
    if version in list_versions(folder) or target.exists():
        raise PromotionError(
            f"expected {target} not to exist yet; got a version with that number; nothing was "
            f"changed; remove one of the two"
        )
    bundle = Bundle.open(staged)
    for file in bundle.checksums:
        bundle.read_file(file)
    staged.rename(target)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Bundle(target, bundle.manifest)


@contextmanager
def lock_model_folder(folder: Path) -> Iterator[None]:
    """Hold the exclusive lock of a model's folder, waiting for another writer to release it.

    Args:
        folder: Folder of the model, `models/<name>`.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # this also releases the lock
