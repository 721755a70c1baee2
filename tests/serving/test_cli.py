import subprocess
import sys

import pytest

from serving.settings import Settings


def serving(*arguments):
    command = [sys.executable, "-m", "serving", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_help_lists_every_knob_with_its_environment_twin():
    text = serving("run", "--help").stdout
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in text
        assert f"FORWARDPASS_{name.upper()}" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "port: Input should be less than or equal to 65535, got '70000'"),
        (["--workers", "many"], "workers: Input should be a valid integer"),
        (["--colour", "red"], "No such option"),
    ],
)
def test_wrong_arguments_end_with_status_2_and_the_reason(arguments, message):
    done = serving("run", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
