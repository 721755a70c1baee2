"""The peers' environments, each in a folder of its own under `.bench/`, to the exact version."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.serve.peers.side import PEERS, Side
from benchmarks.serve.server import environment_of

AT_ONCE = 3  # environments in the making: one waits for the network while another unpacks


def install(sides: Iterable[Side]) -> None:
    """Make the environments that are not there, or hold other versions."""
    wanted = {(s.peer, environment_of(s)) for s in sides if s.peer is not None}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(_install, peer, folder) for peer, folder in sorted(wanted)]:
            done.result()


def _install(peer: str, folder: Path) -> None:
    pins, installed = PEERS / peer / "requirements.txt", folder / "requirements.txt"
    if installed.exists() and installed.read_bytes() == pins.read_bytes():
        return
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    # Without dependencies: all that are needed are listed, and some that are not are not.
    subprocess.run([*pip, "--no-deps", "--requirement", str(pins)], check=True)
    shutil.copy(pins, installed)


def versions(side: Side) -> dict[str, str]:
    """Of a peer's environment, what counts: its package, ONNX Runtime, NumPy."""
    if side.peer is None:
        return {}
    pins = (PEERS / side.peer / "requirements.txt").read_text(encoding="utf-8").split()
    found = dict(pin.split("==") for pin in pins)
    return {name: found[name] for name in (str(side.package), "onnxruntime", "numpy")}
