"""Further versions of the model `digits`: added, damaged, with a renamed column."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def add_version(models: Path, number: int, prefix: str = "") -> Path:
    """Add a version with the content of version 1, in one step, and return its folder.

    Args:
        models: The repository.
        number: Number of the version.
        prefix: Prefix for the name of the first column, which makes the version incompatible with
            version 1; empty for the same columns.
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
    """Flip a bit in the graph of a version."""
    content = bytearray((path / "model.onnx").read_bytes())
    content[1000] ^= 1
    (path / "model.onnx").write_bytes(content)


def rename_column(path: Path, prefix: str) -> None:
    """Rename the first column of a version in its manifest; the graph has no column names."""
    manifest = json.loads((path / "bundle.json").read_text())
    manifest["inputs"][0]["name"] = f"{prefix}pixel_0_0"
    manifest["example"] = {}
    new = path / ".bundle.json"
    new.write_text(json.dumps(manifest))
    new.rename(path / "bundle.json")  # atomically
