"""Install what a make target needs into a virtual environment, once.

`make serve` calls it with the stage `serving`, or `training` if it must train a model first, and
`make install`, `make test` and others with `development`. Each stage includes those before it. A
stage is installed again when one of its lock files changes. Needs nothing but Python itself.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
# gunicorn_h1c comes as source; it and this package are built by the setuptools of build.lock.
PARSER = LOCKS / "parser.lock"
PACKAGE = ROOT / "pyproject.toml"
STAGES = {
    "serving": [LOCKS / "build.lock", LOCKS / "serving.lock", PARSER],
    "training": [LOCKS / "training.lock", PACKAGE],
    "development": [LOCKS / "all.lock", PACKAGE],
}
# Files in the environment: the digests of the installed stages; a sign that an installation has
# begun; a sign that this program made the environment, so that it may empty it.
INSTALLED = ".installed.json"
UNFINISHED = ".unfinished"
OWN = ".made-by-make"


class Environment:
    """A virtual environment that this program fills.

    Attributes:
        folder: Folder of the environment, such as `.venv`.
        lock: File descriptor that locks the folder. Child processes inherit it, so that the lock
            lasts until pip has ended, even if this process is killed.
    """

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self.lock = lock

    def run(self, *command: str | Path) -> None:
        """Run a command, and end this program with its exit code if it fails."""
        if code := subprocess.run(command, pass_fds=[self.lock], check=False).returncode:
            sys.exit(code)

    def pip_install(self, *arguments: str | Path) -> list[str | Path]:
        """Return the command that installs packages without their dependencies."""
        # Python compiles what it imports and keeps it; to compile everything takes seconds.
        options = ["--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps"]
        return [self.folder / "bin" / "python", "-m", "pip", "install", *options, *arguments]

    def installed(self) -> dict[str, str]:
        """Return the digest of each stage that is installed completely."""
        if (self.folder / UNFINISHED).exists():
            return {}
        try:
            return dict(json.loads((self.folder / INSTALLED).read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def begin(self) -> None:
        """Note that an installation begins, and remove what an unfinished one has left."""
        unfinished, own = self.folder / UNFINISHED, self.folder / OWN
        if not any(self.folder.iterdir()):
            own.touch()
        # What pip had half unpacked can look complete to it. A folder that held something before is
        # not emptied: an environment of the user's may hold other packages.
        if unfinished.exists() and own.exists():
            remove_contents(self.folder, except_for={unfinished, own})
        unfinished.touch()

    def finish(self, installed: dict[str, str]) -> None:
        """Note which stages are installed completely, and that no installation is unfinished."""
        (self.folder / INSTALLED).write_text(json.dumps(installed, indent=2))
        (self.folder / UNFINISHED).unlink()

    def install(self, stage: str) -> None:
        """Install what one stage adds to those before it."""
        locks = [path for path in STAGES[stage] if path not in (PARSER, PACKAGE)]
        requirements = [part for lock in locks for part in ("--requirement", lock)]
        self.run(*self.pip_install("--require-hashes", *requirements))
        if PARSER in STAGES[stage]:
            self.install_parser()
        if PACKAGE in STAGES[stage]:
            self.run(*self.pip_install("--no-build-isolation", "--editable", ROOT))

    def install_parser(self) -> None:
        """Install gunicorn_h1c, without which the server works too; say so if it does not build."""
        log = self.folder / "parser.log"
        command = self.pip_install(
            "--require-hashes", "--no-build-isolation", "--requirement", PARSER
        )
        with log.open("w") as output:
            done = subprocess.run(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[self.lock],
                check=False,
            )
        if done.returncode:
            sys.stderr.write(
                f"expected a C compiler and Python's headers; found none that work ({log}): the"
                " server reads requests more slowly, and is right all the same\n"
            )


def remove_contents(folder: Path, except_for: set[Path]) -> None:
    """Remove all that a folder holds, except for some files."""
    for path in set(folder.iterdir()) - except_for:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def locked_environment(folder: Path) -> Iterator[Environment]:
    """Wait until no other process installs into the folder, and let none do so meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Environment(folder, lock)
    finally:
        os.close(lock)


def digest_of(stage: str) -> str:
    """Return the SHA-256 digest of the files that say what a stage installs."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in STAGES[stage])).hexdigest()


def install_up_to(last: str, folder: Path) -> None:
    """Install a stage and those before it, unless they are installed.

    Args:
        last: Name of the stage, a key of `STAGES`.
        folder: Folder of the virtual environment. It is created if it is missing.
    """
    stages = list(STAGES)
    wanted = {name: digest_of(name) for name in stages[: stages.index(last) + 1]}
    with locked_environment(folder) as environment:
        installed = environment.installed()
        missing = [name for name in wanted if installed.get(name) != wanted[name]]
        if not missing:
            return
        sys.stderr.write(f"installing what {last} needs into {folder}\n")
        environment.begin()
        if not installed:
            environment.run(sys.executable, "-m", "venv", folder)
        for name in missing:
            environment.install(name)
        environment.finish(installed | wanted)


def main() -> None:
    """Read the command line and install."""
    parser = argparse.ArgumentParser(
        description="Install what a make target needs into a virtual environment, once."
    )
    parser.add_argument("stage", choices=STAGES, help="stage to install, with those before it")
    parser.add_argument("folder", type=Path, help="folder of the virtual environment")
    options = parser.parse_args()
    try:
        install_up_to(options.stage, options.folder)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
