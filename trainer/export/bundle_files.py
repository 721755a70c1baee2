"""The files of a bundle, written completely or not at all.

A bundle is built in a folder next to its final one, synced, and renamed. An export that is killed
leaves at most the folder `.building`, which readers ignore and the next export removes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.bundle import (
    MANIFEST_FILE,
    STAGED_PREFIX,
    Bundle,
    Manifest,
    add_path_to_errors,
    create_folder,
    list_staged_versions,
    list_versions,
    lock_model_folder,
)

BUILDING_FOLDER = ".building"


def require_writable(folder: Path) -> None:
    """Check that a folder can be written to, or can be created, before the work is done.

    Raises:
        OSError: If the folder, or the nearest existing folder above it, is not a writable folder.
    """
    ancestor = folder.absolute()
    while not ancestor.exists():
        if ancestor.is_symlink():
            raise FileNotFoundError(
                f"expected a folder to write the bundle to; {ancestor} is a link that leads nowhere"
            )
        ancestor = ancestor.parent
    if not ancestor.is_dir():
        raise NotADirectoryError(f"expected a folder to write the bundle to; {ancestor} is a file")
    if not os.access(ancestor, os.W_OK | os.X_OK):
        raise PermissionError(
            f"expected a folder to write the bundle to; {ancestor} is not writable for this user"
        )


def write_bundle(
    models: Path,
    name: str,
    files: Mapping[str, bytes],
    create_manifest: Callable[[int], Manifest],
    check: Callable[[Bundle], None],
    *,
    stage: bool = False,
) -> Path:
    """Write the next version of a model and return its folder.

    Args:
        models: Folder of the repository; created if it does not exist.
        name: Name of the model.
        files: Content of each file except the manifest, by file name.
        create_manifest: Function that returns the manifest, given the version number.
        check: Function that raises an error if the bundle, as it is on disk, must not become a
            version.
        stage: Whether to write the folder `staged-<version>`, which servers ignore until
            `serving promote` renames it.

    Raises:
        OSError: If the bundle cannot be written.
        pydantic.ValidationError: If the manifest cannot be read back.
    """
    model_folder = models / name
    with create_folder(model_folder), lock_model_folder(model_folder):
        _sync_folder(models)
        building = model_folder / BUILDING_FOLDER
        shutil.rmtree(building, ignore_errors=True)  # from an export that was killed
        building.mkdir()
        try:
            # A staged version keeps its number when it is promoted.
            versions = [*list_versions(model_folder), *list_staged_versions(model_folder)]
            version = max(versions, default=0) + 1
            content = create_manifest(version).model_dump_json(indent=1).encode() + b"\n"
            for file, data in {**files, MANIFEST_FILE: content}.items():
                _write_synced(building / file, data)
            check(Bundle(building, Manifest.model_validate_json(content)))
            _sync_folder(building)
            path = model_folder / (f"{STAGED_PREFIX}{version}" if stage else str(version))
            building.rename(path)
            _sync_folder(model_folder)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    return path


def _write_synced(path: Path, content: bytes) -> None:
    with add_path_to_errors(path), path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with add_path_to_errors(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
