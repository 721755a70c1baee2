"""A key of an administrator, for tests and benchmarks of servers of their own."""

from __future__ import annotations

import hashlib
from pathlib import Path

KEY = "the-key-of-an-administrator-of-tests"
HEADERS = {"Authorization": f"Bearer {KEY}"}


def keys_file(folder: Path) -> Path:
    """A file that makes it known."""
    path = folder / "keys"
    path.write_text(f"tests admin sha256:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
    return path
