"""The cost of watching: metrics, logs and keys, against a server without them.

The other server is the same one with its outermost layer taken off: no request numbers, no counts,
no logs, no security headers, and no keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serve.encodings import Request

ROUNDS = 10
CONNECTIONS = (1, 16)
KEY = "a-key-of-a-benchmark-and-of-nothing-else"


def measure(models: Path, request: Request, folder: Path) -> dict[str, Any]:
    """Both in turns; medians of the rounds' ratios."""
    raise NotImplementedError


def ratios(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Of the watched server's requests a second to the bare one's."""
    low, middle, high = np.percentile([watched / bare for watched, bare in pairs], [25, 50, 75])
    return {"median": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}
