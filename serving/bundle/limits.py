"""Limits of what a bundle's files may hold, so that no file takes a server's memory or time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BundleLimits:
    """Limits of a bundle's files; the server has an option for each.

    Attributes:
        manifest_bytes: Size of bundle.json and of reference.json, in bytes.
        selftest_bytes: Size of selftest.npz after it was unpacked, in bytes.
        graph_bytes: Size of one ONNX file, in bytes.
        allow_loops: Whether a graph may hold operators that repeat a part of it.
    """

    manifest_bytes: int = 2 * 2**20
    selftest_bytes: int = 64 * 2**20
    graph_bytes: int = 512 * 2**20
    allow_loops: bool = False
