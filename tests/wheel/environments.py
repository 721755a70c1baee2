"""Virtual environments with nothing in them but the built package and what pip installs for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import Server

ROOT = Path(__file__).parents[2]
INSTALL_SECONDS = 900  # turns a hang into a failure, as HANG_SECONDS does
COMMAND_SECONDS = 300
# What a user has: nothing of the interpreter, the server or the repository that runs the tests.
INHERITED = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("PYTHON", "FORWARDPASS_", "VIRTUAL_ENV", "CI"))
}


def write_constraints(file: Path) -> None:
    """Write the versions of requirements/all.lock without hashes.

    pip takes constraints with hashes for requirements that must all have some, and a wheel that was
    just built has none.
    """
    text = (ROOT / "requirements" / "all.lock").read_text()
    pins = re.findall(r"^([\w.-]+==[^\\\n]*?) *\\?$", text, re.MULTILINE)
    file.write_text("\n".join(pins) + "\n")


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        folder: Folder of the environment.
        home: Folder in which its commands run, outside the repository.
    """

    folder: Path
    home: Path

    @classmethod
    def create(cls, folder: Path, requirement: str, constraints: Path) -> Environment:
        """Make an environment and install a requirement into it."""
        home = folder / "home"
        home.mkdir(parents=True)
        environment = cls(folder / "venv", home)
        venv.create(environment.folder, with_pip=True)
        done = environment.run(
            "python",
            *("-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--constraint", constraints, requirement),
            seconds=INSTALL_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return environment

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of its commands, whose programs come before all others."""
        programs = self.folder / "bin"
        return INHERITED | {"PATH": f"{programs}{os.pathsep}{INHERITED['PATH']}"}

    def run(
        self, program: str, *arguments: object, seconds: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its programs to the end."""
        command = [str(self.folder / "bin" / program), *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=self.home,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def run_shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a line of a page in a shell."""
        return subprocess.run(
            ["sh", "-c", command],
            cwd=self.home,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    @contextmanager
    def serve(self, *arguments: object) -> Iterator[Server]:
        """Run `serving run` on a free port until the block ends."""
        command = [self.folder / "bin" / "serving", "run", "--port", 0, "--workers", 1, *arguments]
        process = subprocess.Popen(
            [*map(str, command)],
            cwd=self.home,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        server = Server(process)
        server.follow_log()
        try:
            server.wait_until_ready(1)
            yield server
        finally:
            server.kill()


def build_archives(folder: Path) -> tuple[Path, Path]:
    """Build the source distribution, and from it the wheel, as a release is built.

    The sources are copied first, since the build writes beside them.

    Returns:
        Paths of the source distribution and of the wheel.
    """
    sources = folder / "sources"
    sources.mkdir()
    for path in map(ROOT.joinpath, ("docs", "models", "serving", "tests", "trainer")):
        shutil.copytree(path, sources / path.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, sources)
    built = folder / "dist"
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(sources)],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
    return sdist, wheel
