"""What happens where a library of the extra `train` is missing."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import trainer.train_extra

import pytest

import serving.cli

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
# Packages of the extras that can be imported under several names: the one that is used.
IMPORT_NAMES = {"hdrhistogram": "hdrh", "scikit-learn": "sklearn"}


def run(code, library):
    """Run a program as if a library were not installed."""
    hidden = f"import sys; sys.modules[{library!r}] = None\n"
    return subprocess.run(
        [sys.executable, "-c", hidden + code], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("extra", "checked"),
    [("train", trainer.train_extra.LIBRARIES), ("loadtest", serving.cli.LOADTEST_LIBRARIES)],
)
def test_extra_libraries_are_those_that_are_checked(extra, checked):
    packages = [re.match(r"[\w-]+", line)[0] for line in EXTRAS[extra]]
    assert {IMPORT_NAMES.get(package, package) for package in packages} == set(checked)
    distributions = packages_distributions()
    assert {distributions[name][0].lower() for name in checked} == set(packages)


def test_require_libraries_names_all_that_are_missing(monkeypatch):
    for library in ("onnx", "pyarrow"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError) as caught:
        trainer.train_extra.require_libraries()
    assert str(caught.value) == (
        "expected the libraries for training; not installed: onnx, pyarrow; "
        "run: pip install 'forwardpass[train]'"
    )


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("library", trainer.train_extra.LIBRARIES)
def test_command_library_is_missing_ends_with_one_sentence(library):
    done = run("from trainer.__main__ import main; main()", library)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"Error: expected the libraries for training; not installed: {library}; "
        f"run: pip install 'forwardpass[train]'\n"
    )


@pytest.mark.usefixtures("processes")
def test_nn_library_is_missing_is_imported():
    done = run("import trainer; from trainer.nn import Network; print(Network.__name__)", "pyarrow")
    assert (done.stdout, done.stderr) == ("Network\n", "")


@pytest.mark.usefixtures("processes")
def test_every_other_module_library_is_missing_says_what_to_install():
    code = """
import importlib, pkgutil, trainer
for module in pkgutil.walk_packages(trainer.__path__, "trainer.", onerror=lambda name: None):
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        print(module.name, "forwardpass[train]" in str(error))
    else:
        print(module.name, "imported")
"""
    done = run(code, "threadpoolctl")  # imported by one module only
    assert done.stderr == ""
    outcomes = dict(line.split() for line in done.stdout.splitlines())
    imported = {name for name, outcome in outcomes.items() if outcome == "imported"}
    assert "False" not in outcomes.values()
    assert {name.split(".")[1] for name in imported} == {
        "__main__",
        "nn",
        "option_errors",
        "presets",
    }


@pytest.mark.usefixtures("processes")
def test_fit_tensorboard_is_missing_says_what_to_install(tmp_path):
    code = (
        "from trainer.cli import main; "
        f"main(['fit', 'iris', '--models', {str(tmp_path)!r}, '--tensorboard', 'events'])"
    )
    done = run(code, "tensorboardX")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: --tensorboard: expected tensorboardX, which writes event files; it is not "
        "installed; run: pip install 'forwardpass[tensorboard]'\n"
    )
    assert importlib.util.find_spec("tensorboardX") is not None  # of the extra, for other tests
    assert not list(tmp_path.iterdir())
