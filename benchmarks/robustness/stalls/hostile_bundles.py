"""Hostile bundles, which are added to the folder of models while the server runs.

Each is a correct version with one changed file, whose checksum the manifest states, as a faulty or
malicious exporter would write it. Add an entry to `DAMAGES` to cover another one.
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

from benchmarks.machine import ROOT
from benchmarks.robustness.server import HANG_SECONDS, RunningServer
from tests.harmful_graphs import HARMFUL_AT_LOAD

MODEL_NAME = "hostile"
VERSION_NAME = f"{MODEL_NAME}/1"
POLL_SECONDS = 0.1
GIB = 2**30

Damage = Callable[[Path], None]  # changes the folder of a correct version


def replace_graph(change: Callable[[bytes], bytes]) -> Damage:
    """Return a function that replaces the graph by a harmful one."""

    def damage(folder: Path) -> None:
        graph = folder / "model.onnx"
        graph.write_bytes(change(graph.read_bytes()))
        _update_checksum(folder, "model.onnx")

    return damage


def inflate_selftest(folder: Path) -> None:
    """Write a self-test of 1 MB that unpacks to 1 GB."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (GIB // 4 // 64, 64)}
    with (
        zipfile.ZipFile(folder / "selftest.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("input/features.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(GIB // 2**20):
            member.write(bytes(2**20))
    _update_checksum(folder, "selftest.npz")


def lengthen_manifest(folder: Path) -> None:
    """Make bundle.json 2 GB long, as a sparse file that takes no space on the disk."""
    with (folder / "bundle.json").open("r+b") as file:
        file.truncate(2 * GIB)


def add_million_inputs(folder: Path) -> None:
    """List a million inputs in the manifest."""
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["inputs"] *= 1_000_000 // len(manifest["inputs"])
    (folder / "bundle.json").write_text(json.dumps(manifest))


def fill_manifest_to_limit(folder: Path) -> None:
    """List as many inputs as the largest manifest that is read can contain."""
    manifest = json.loads((folder / "bundle.json").read_text())
    column = {"type": "category", "missing": "refuse", "unseen": "refuse", "categories": ["a"]}
    manifest["inputs"] = [{"name": f"c{index}", **column} for index in range(20_000)]
    (folder / "bundle.json").write_text(json.dumps(manifest, separators=(",", ":")))


DAMAGES: dict[str, Damage] = {
    **{f"bundle: {name}": replace_graph(change) for name, change in HARMFUL_AT_LOAD.items()},
    "bundle: self-test unpacks to 1 GB": inflate_selftest,
    "bundle: sparse manifest of 2 GB": lengthen_manifest,
    "bundle: manifest of a million inputs": add_million_inputs,
    "bundle: manifest just below its limit": fill_manifest_to_limit,
}


def add_hostile_bundle(damage: Damage, server: RunningServer) -> str:
    """Add a hostile version to the folder of models, wait until it is refused, and remove it.

    Returns:
        "refused", or "served", or "undecided" if the server does neither within the time limit.
    """
    building = server.models.parent / "building" / MODEL_NAME
    shutil.rmtree(building, ignore_errors=True)
    shutil.copytree(ROOT / "models" / "digits" / "1", building / "1")
    manifest = json.loads((building / "1" / "bundle.json").read_text())
    (building / "1" / "bundle.json").write_text(json.dumps(manifest | {"name": MODEL_NAME}))
    damage(building / "1")
    building.rename(server.models / MODEL_NAME)
    deadline = time.monotonic() + HANG_SECONDS
    try:
        while time.monotonic() < deadline:
            readiness = server.fetch_json("/readyz")
            if MODEL_NAME in readiness["models"]:
                return "served"
            if VERSION_NAME in readiness["refused"]:
                return "refused"
            time.sleep(POLL_SECONDS)
        return "undecided"
    finally:
        shutil.rmtree(server.models / MODEL_NAME)
        # The next attack starts only when the server has noticed the removal.
        while VERSION_NAME in server.fetch_json("/readyz")["refused"]:
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)


def _update_checksum(folder: Path, file: str) -> None:
    """Write the checksum of a changed file into the manifest."""
    content = (folder / file).read_bytes()
    checksum = hashlib.sha256(content).hexdigest()
    manifest = json.loads((folder / "bundle.json").read_text())
    for variant in manifest["variants"].values():
        if variant["file"] == file:
            variant |= {"sha256": checksum, "size_bytes": len(content)}
    if file in manifest["files"]:
        manifest["files"][file] = checksum
    (folder / "bundle.json").write_text(json.dumps(manifest))
