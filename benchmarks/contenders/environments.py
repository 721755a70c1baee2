"""The contenders' virtual environments: one folder each below `.bench/`, with exact versions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.contenders.contender import CONTENDERS_FOLDER, Contender
from benchmarks.machine import ROOT

# Environments that are installed at the same time: one downloads while another one unpacks.
MAX_PARALLEL_INSTALLATIONS = 3


def locate_environment(contender: Contender) -> Path:
    """Return the folder of a contender's virtual environment."""
    if contender.environment_name is None:
        return Path(sys.prefix)
    return ROOT / ".bench" / contender.environment_name


def install_environments(contenders: Iterable[Contender]) -> None:
    """Create the environments that do not exist yet or contain other versions."""
    missing = {
        (contender.environment_name, locate_environment(contender))
        for contender in contenders
        if contender.environment_name is not None
    }
    with ThreadPoolExecutor(MAX_PARALLEL_INSTALLATIONS) as pool:
        futures = [pool.submit(_install, name, folder) for name, folder in sorted(missing)]
        for future in futures:
            future.result()


def _install(name: str, folder: Path) -> None:
    pins, installed_pins = _locate_pins(name), folder / "requirements.txt"
    if installed_pins.exists() and installed_pins.read_bytes() == pins.read_bytes():
        return
    shutil.rmtree(folder, ignore_errors=True)
    # This environment's pip, and no bytecode for modules that are never run: half the time.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder), "install", "--no-compile"]
    # Dependencies are not resolved: the file lists all that are needed, and leaves out some that
    # the packages declare but do not need here.
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--requirement", str(pins)]
    subprocess.run([*pip, *options], check=True)
    shutil.copy(pins, installed_pins)


def _locate_pins(name: str) -> Path:
    return CONTENDERS_FOLDER / name / "requirements.txt"


def read_pinned_versions(contender: Contender) -> dict[str, str]:
    """Return the versions of a contender's package, ONNX Runtime and NumPy; empty for our own."""
    if contender.environment_name is None:
        return {}
    pins = _locate_pins(contender.environment_name).read_text(encoding="utf-8").split()
    versions = dict(pin.split("==") for pin in pins)
    return {name: versions[name] for name in (str(contender.package), "onnxruntime", "numpy")}
