"""Adds versions of the embedded model digits, damages them and makes them incompatible."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def add_version(models: Path, number: int, prefix: str = "") -> Path:
    """Add a version with the content of version 1 in one step. Return its folder.

    Args:
        models: Folder of models.
        number: Number of the version.
        prefix: Prefix for the name of its first column, which makes the version incompatible with
            version 1; empty for the same name.
    """
    old, new = models / "digits" / "1", models / "digits" / str(number)
    building = models / ".building"
    shutil.copytree(old, building)
    manifest = building / "bundle.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": number}))
    if prefix:
        rename_column(building, prefix)
    building.rename(new)
    return new


def damage(path: Path) -> None:
    """Flip bit 0 of byte 1000 of a version's graph; a second call repairs it.

    Args:
        path: Folder of the version.
    """
    content = bytearray((path / "model.onnx").read_bytes())
    content[1000] ^= 1
    (path / "model.onnx").write_bytes(content)


def rename_column(path: Path, prefix: str) -> None:
    """Rename the first column of a version in one step; its graph does not depend on the name.

    Args:
        path: Folder of the version.
        prefix: Prefix for the name of the column.
    """
    manifest = json.loads((path / "bundle.json").read_text())
    manifest["inputs"][0]["name"] = f"{prefix}pixel_0_0"
    manifest["example"] = {}
    temporary = path / ".bundle.json"
    temporary.write_text(json.dumps(manifest))
    temporary.rename(path / "bundle.json")
