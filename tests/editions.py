"""Versions of the embedded default: added, damaged, written bit by bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def add_version(models: Path, number: int) -> Path:
    """The next version, of the same content as the first, there at once."""
    old, new = models / "digits" / "1", models / "digits" / str(number)
    building = models / ".building"
    shutil.copytree(old, building)
    manifest = building / "bundle.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": number}))
    building.rename(new)
    return new


def damage(path: Path) -> None:
    """Flip a bit of its graph."""
    content = bytearray((path / "model.onnx").read_bytes())
    content[1000] ^= 1
    (path / "model.onnx").write_bytes(content)
