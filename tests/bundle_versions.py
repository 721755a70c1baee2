"""Versions of the embedded default: added, damaged, written bit by bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def add_version(models: Path, number: int, prefix: str = "") -> Path:
    """The next version, of the same content as the first, there at once.

    Args:
        models: The repository.
        number: Number of the version.
        prefix: Prefix of its first column's name: with one, clients of the first cannot use it.
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
    """Flip a bit of its graph."""
    content = bytearray((path / "model.onnx").read_bytes())
    content[1000] ^= 1
    (path / "model.onnx").write_bytes(content)


def rename_column(path: Path, prefix: str) -> None:
    """Rename the first column of a version, which its graph does not know by name."""
    manifest = json.loads((path / "bundle.json").read_text())
    manifest["inputs"][0]["name"] = f"{prefix}pixel_0_0"
    manifest["example"] = {}
    beside = path / ".bundle.json"
    beside.write_text(json.dumps(manifest))
    beside.rename(path / "bundle.json")  # at once
