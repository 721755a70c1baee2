"""An administrator's key, for the servers that tests and benchmarks start."""

from __future__ import annotations

import hashlib
from pathlib import Path

ADMIN_KEY = "the-key-of-an-administrator-of-tests"
ADMIN_HEADERS = {"Authorization": f"Bearer {ADMIN_KEY}"}


def write_keys_file(folder: Path) -> Path:
    """Write a keys file that contains the administrator's key, and return its path."""
    path = folder / "keys"
    path.write_text(f"tests admin sha256:{hashlib.sha256(ADMIN_KEY.encode()).hexdigest()}\n")
    return path
