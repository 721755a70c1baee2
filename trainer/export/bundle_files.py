"""Writing a bundle: whole or not at all.

It is built in a folder beside its place, synced, and renamed into it. A killed export leaves at
most such a folder, which no reader takes for a version and the next export removes.
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

BUILDING = ".building"


def require_writable(folder: Path) -> None:
    """See, before the work is done, that its result will have a place.

    Raises:
        OSError: `folder`, or what exists on the way to it, is no folder one may write to.
    """
    there = folder.absolute()
    while not there.exists():
        if there.is_symlink():
            raise FileNotFoundError(
                f"expected a folder to write the bundle to; {there} is a link that leads nowhere"
            )
        there = there.parent
    if not there.is_dir():
        raise NotADirectoryError(f"expected a folder to write the bundle to; {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(
            f"expected a folder to write the bundle to; {there} is not writable for this user"
        )


def write_bundle(
    models: Path,
    name: str,
    files: Mapping[str, bytes],
    manifest: Callable[[int], Manifest],
    check: Callable[[Bundle], None],
    *,
    stage: bool = False,
) -> Path:
    """Write the next version of a model.

    Args:
        models: the repository; made if it does not exist.
        name: the model.
        files: every file of the bundle but the manifest, by name.
        manifest: given the version's number, its manifest.
        check: given the bundle as it lies on the disk, raises if it must not become a version.
        stage: Whether to write it beside the versions, as `staged-<version>`, which no server
            takes up before `serving promote` renames it.

    Returns:
        The folder of the new version.

    Raises:
        OSError: it cannot be written.
        pydantic.ValidationError: no one could read the manifest.
    """
    folder = models / name
    with create_folder(folder), lock_model_folder(folder):
        _sync_folder(models)
        building = folder / BUILDING
        shutil.rmtree(building, ignore_errors=True)  # of a writer that was killed
        building.mkdir()
        try:
            # Staged versions count, too: each of them is to get its number one day.
            version = max([*list_versions(folder), *list_staged_versions(folder)], default=0) + 1
            content = manifest(version).model_dump_json(indent=1).encode() + b"\n"
            for file, data in {**files, MANIFEST_FILE: content}.items():
                _write_synced(building / file, data)
            check(Bundle(building, Manifest.model_validate_json(content)))
            _sync_folder(building)
            place = folder / (f"{STAGED_PREFIX}{version}" if stage else str(version))
            building.rename(place)
            _sync_folder(folder)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    return place


def _write_synced(path: Path, content: bytes) -> None:
    with add_path_to_errors(path), path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with add_path_to_errors(folder):
            os.fsync(handle)
    finally:
        os.close(handle)
