"""`pip install forwardpass`, without an extra: the server."""

import shutil

import numpy as np
import pytest
import requests

from serving.settings.options import VERSION
from tests.wheel.environments import ROOT

pytestmark = pytest.mark.wheel

MISSING = (
    "expected the libraries for training; not installed: "
    "matplotlib, onnx, pyarrow, rich, scipy, sklearn, threadpoolctl; "
    "run: pip install 'forwardpass[train]'"
)


def test_server_answers_a_prediction(bare):
    version = ROOT / "models" / "digits" / "1"
    shutil.copytree(version, bare.home / "copied" / "digits" / "1")
    # Recorded from the NumPy network when the model was exported.
    with np.load(version / "selftest.npz") as arrays:
        rows = arrays["input/features"][:20]
        expected = arrays["expected/fp32/probabilities"][:20]
    with bare.serve("--models", "copied") as server:
        url = f"{server.url}/predict"
        answer = requests.post(url, json={"instances": rows.tolist()}, timeout=120).json()
        page = requests.get(f"{server.url}/docs", timeout=120)
        assert server.stop() == 0
    assert np.allclose(answer["probabilities"], expected, atol=1e-5)
    assert page.status_code == 200
    assert "<html" in page.text


@pytest.mark.parametrize(
    "command",
    [
        ("trainer",),
        ("trainer", "--help"),
        ("trainer", "fit", "iris"),
        ("python", "-m", "trainer", "fit", "iris"),
    ],
    ids=" ".join,
)
def test_trainer_ends_with_the_command_that_installs_it(bare, command):
    done = bare.run(*command)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: {MISSING}\n")


@pytest.mark.parametrize("name", ["fit", "Config", "MLPClassifier", "MLPRegressor", "Sequential"])
def test_trainer_name_raises_an_import_error_with_the_command(bare, name):
    code = f"""
try:
    from trainer import {name}
except ImportError as error:
    print(error)
"""
    done = bare.run("python", "-c", code)
    assert (done.stdout, done.stderr) == (f"{MISSING}\n", "")


def test_trainer_nn_needs_no_extra(bare):
    done = bare.run("python", "-c", "from trainer.nn import Dense; print(Dense(8).__class__)")
    assert "Dense" in done.stdout, done.stderr


def test_loadtest_ends_with_the_command_that_installs_it(bare):
    done = bare.run("serving", "loadtest", "http://127.0.0.1:8000", "--rate", 5)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: expected the libraries of loadtest; not installed: hdrh, httptools, matplotlib, "
        "rich, uvloop; run: pip install 'forwardpass[loadtest]'\n"
    )


def test_serving_help_says_how_to_install_loadtest(bare):
    done = bare.run("serving", "--help")
    assert done.returncode == 0, done.stderr
    assert "(needs pip install 'forwardpass[loadtest]')" in " ".join(done.stdout.split())


def test_version_is_that_of_the_package(bare):
    assert bare.run("serving", "--version").stdout == f"serving, version {VERSION}\n"


def test_serving_run_in_an_empty_folder_says_what_to_do(bare):
    (bare.home / "empty").mkdir()
    done = bare.run_shell("cd empty && serving run --port 0")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: expected a folder of models, NAME/VERSION; got models, which does not exist; "
        "choose another --models (FORWARDPASS_MODELS), or make the folder, for example by "
        "training: trainer fit digits --models models\n"
    )
