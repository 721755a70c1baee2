import socket
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


def test_a_port_that_is_taken_is_named_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = serving("run", "--port", port)
    assert done.returncode == 1
    assert f"got 127.0.0.1:{port}: Address already in use; choose another" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--port", "70000"],
            "--port (FORWARDPASS_PORT): Input should be less than or equal to 65535, got '70000'",
        ),
        (["--workers", "many"], "--workers (FORWARDPASS_WORKERS): Input should be a valid integer"),
        (["--colour", "red"], "No such option"),
    ],
)
def test_wrong_arguments_end_with_status_2_and_the_reason(arguments, message):
    done = serving("run", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
