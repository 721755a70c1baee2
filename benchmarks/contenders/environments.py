"""The peers' environments, each in a folder of its own under `.bench/`, to the exact version."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.contenders.contender import PEERS, Side
from benchmarks.contenders.contender_server import environment_of

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
    # With the pip that is here, and nothing compiled but what is run: that takes half the time.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder), "install", "--no-compile"]
    # Without dependencies: all that are needed are listed, and some that are not are not.
    chosen = ["--quiet", "--disable-pip-version-check", "--no-deps", "--requirement", str(pins)]
    subprocess.run([*pip, *chosen], check=True)
    shutil.copy(pins, installed)


def versions(side: Side) -> dict[str, str]:
    """Of a peer's environment, what counts: its package, ONNX Runtime, NumPy."""
    if side.peer is None:
        return {}
    pins = (PEERS / side.peer / "requirements.txt").read_text(encoding="utf-8").split()
    found = dict(pin.split("==") for pin in pins)
    return {name: found[name] for name in (str(side.package), "onnxruntime", "numpy")}
