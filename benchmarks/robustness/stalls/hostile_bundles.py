"""Hostile bundles: put into the folder of models while the server runs.

Each is a good version with one file changed, whose checksum the manifest then states, as a faulty
or malicious exporter would write it. Add an entry to `MAKERS` to cover another one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.robustness.stalls.models import ROOT, Server
from tests.harmful_graphs import HARMFUL_AT_LOAD

NAME = "hostile"  # of the model
PATIENCE = 120.0  # seconds until it is refused
GIB = 2**30

Make = Callable[[Path], None]  # changes the folder of a good version


def harmful_graph(change: Callable[[bytes], bytes]) -> Make:
    """Return what replaces the graph by one that does harm."""

    def make(folder: Path) -> None:
        graph = folder / "model.onnx"
        graph.write_bytes(change(graph.read_bytes()))
        _describe(folder, "model.onnx")

    return make


def unpack_to_a_gigabyte(folder: Path) -> None:
    """Write a self-test of 1 MB that unpacks to 1 GB."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (GIB // 4 // 64, 64)}
    with (
        zipfile.ZipFile(folder / "selftest.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("input/features.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)  # type: ignore[arg-type]
        for _ in range(GIB // 2**20):
            member.write(bytes(2**20))
    _describe(folder, "selftest.npz")


def sparse_manifest(folder: Path) -> None:
    """Make bundle.json 2 GB long without writing them."""
    with (folder / "bundle.json").open("r+b") as file:
        file.truncate(2 * GIB)


def million_inputs(folder: Path) -> None:
    """Describe a million inputs in the manifest."""
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["inputs"] *= 1_000_000 // len(manifest["inputs"])
    (folder / "bundle.json").write_text(json.dumps(manifest))


def inputs_up_to_the_limit(folder: Path) -> None:
    """Describe as many inputs as the largest manifest holds that is read."""
    manifest = json.loads((folder / "bundle.json").read_text())
    column = {"type": "category", "missing": "refuse", "unseen": "refuse", "categories": ["a"]}
    manifest["inputs"] = [{"name": f"c{at}", **column} for at in range(20_000)]
    (folder / "bundle.json").write_text(json.dumps(manifest, separators=(",", ":")))


MAKERS: dict[str, Make] = {
    **{f"bundle: {name}": harmful_graph(change) for name, change in HARMFUL_AT_LOAD.items()},
    "bundle: self-test unpacks to 1 GB": unpack_to_a_gigabyte,
    "bundle: sparse manifest of 2 GB": sparse_manifest,
    "bundle: manifest of a million inputs": million_inputs,
    "bundle: manifest just below its limit": inputs_up_to_the_limit,
}


def put(make: Make, target: Server) -> str:
    """Put a hostile version into the folder, and wait until it is refused.

    Returns:
        "refused", or what the server has made of it instead.
    """
    building = target.models.parent / "building" / NAME
    shutil.rmtree(building, ignore_errors=True)
    shutil.copytree(ROOT / "models" / "digits" / "1", building / "1")
    manifest = json.loads((building / "1" / "bundle.json").read_text())
    (building / "1" / "bundle.json").write_text(json.dumps(manifest | {"name": NAME}))
    make(building / "1")
    building.rename(target.models / NAME)
    end = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < end:
            found = _readiness(target)
            if NAME in found["models"]:
                return "served"
            if f"{NAME}/1" in found["refused"]:
                return "refused"
            time.sleep(0.1)
        return "undecided"
    finally:
        shutil.rmtree(target.models / NAME)
        while f"{NAME}/1" in _readiness(target)["refused"] and time.monotonic() < end:
            time.sleep(0.1)


def _readiness(target: Server) -> dict[str, dict[str, object]]:
    connection = target.connect()
    try:
        connection.request("GET", "/readyz")
        found: dict[str, dict[str, object]] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()


def _describe(folder: Path, file: str) -> None:
    """State the checksum of a changed file in the manifest."""
    content = (folder / file).read_bytes()
    checksum = hashlib.sha256(content).hexdigest()
    manifest = json.loads((folder / "bundle.json").read_text())
    for variant in manifest["variants"].values():
        if variant["file"] == file:
            variant |= {"sha256": checksum, "size_bytes": len(content)}
    if file in manifest["files"]:
        manifest["files"][file] = checksum
    (folder / "bundle.json").write_text(json.dumps(manifest))
