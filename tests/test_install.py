"""What requirements/install.py leaves in an environment: real pip, packages made here."""

import base64
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.processes import wait_until

pytestmark = pytest.mark.usefixtures("processes")

INSTALLER = Path(__file__).parent.parent / "requirements" / "install.py"


class Project:
    """A project with one requirement, and the index that has it.

    Attributes:
        venv: Folder of the virtual environment, which does not exist at first.
        locks: Folder with install.py and the lock files.
        index: Folder with wheels.
    """

    def __init__(self, folder):
        self.venv = folder / ".venv"
        self.locks = folder / "requirements"
        self.index = folder / "index"
        for path in (self.locks, self.index):
            path.mkdir()
        shutil.copy(INSTALLER, self.locks)
        (self.locks / "build.lock").touch()
        # Its source is missing, as if it could not be built.
        (self.locks / "parser.lock").write_text(f"parser==1 --hash=sha256:{'0' * 64}\n")
        self.pin(1)

    def pin(self, version):
        """Put a version of the package into the index and pin it in serving.lock."""
        info = f"tiny-{version}.dist-info"
        files = {
            "tiny.py": f"VERSION = {version}\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        wheel = self.index / f"tiny-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            record = [f"{info}/RECORD,,"]
            for name, text in files.items():
                digest = hashlib.sha256(text.encode()).digest()
                encoded = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
                record.append(f"{name},sha256={encoded},{len(text)}")
                archive.writestr(name, text)
            archive.writestr(f"{info}/RECORD", "\n".join(record) + "\n")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        (self.locks / "serving.lock").write_text(f"tiny=={version} --hash=sha256:{digest}\n")

    def start(self):
        """Start to install what serving needs."""
        return subprocess.Popen(
            [sys.executable, self.locks / "install.py", "serving", self.venv],
            env=os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def install(self):
        """Install what serving needs and return what was printed."""
        process = self.start()
        output, _ = process.communicate()
        assert process.returncode == 0, output
        return output

    def version(self):
        """Return the version of the package in the environment."""
        code = "import tiny; print(tiny.VERSION)"
        done = subprocess.run(
            [self.venv / "bin" / "python", "-c", code], capture_output=True, text=True, check=True
        )
        return int(done.stdout)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_installer_lock_file_unchanged_installs_once(project):
    output = project.install()
    assert "installing what serving needs" in output
    assert "expected a C compiler" in output
    assert project.version() == 1
    assert project.install() == ""

    project.pin(2)
    assert "installing what serving needs" in project.install()
    assert project.version() == 2


def test_installer_two_at_once_install_once(project):
    first, second = project.start(), project.start()
    outputs = [process.communicate()[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert sorted("installing" in output for output in outputs) == [False, True]
    assert project.version() == 1


def test_installer_killed_starts_anew(project):
    killed = project.start()
    wait_until((project.venv / "bin" / "python").exists)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    # pip takes a package whose metadata is there for installed, although its modules are not.
    libraries = next(project.venv.glob("lib/python3*")) / "site-packages"
    metadata = libraries / "tiny-1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")

    project.install()
    assert project.version() == 1


def test_installer_unfinished_in_environment_of_user_keeps_its_packages(project):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project.venv], check=True)
    own = next(project.venv.glob("lib/python3*")) / "site-packages" / "own.py"
    own.touch()
    (project.venv / ".unfinished").touch()

    project.install()
    assert own.exists()
    assert project.version() == 1


def test_installer_pip_fails_ends_with_its_status(project):
    (project.index / "tiny-1-py3-none-any.whl").unlink()
    process = project.start()
    output, _ = process.communicate()
    assert process.returncode == 1
    assert "No matching distribution found for tiny==1" in output
    assert "Traceback" not in output
    assert not (project.venv / ".installed.json").exists()
