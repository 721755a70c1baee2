import re
import socket
import subprocess
import sys

import pytest
import requests

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


def test_a_key_is_made_and_taken(tmp_path, serve, shipped):
    made = {scope: serving("key", scope, "--scope", scope).stdout for scope in ("predict", "admin")}
    keys = {
        scope: re.search(r"key, shown only now: +(\S+)\n", text)[1] for scope, text in made.items()
    }
    lines = [re.search("line for the file: +(.+)\n", text)[1] for text in made.values()]
    assert not [key for key in keys.values() if key in "".join(lines)]
    (tmp_path / "keys").write_text("\n".join(lines))
    server = serve(shipped, "--workers", "1", "--keys", str(tmp_path / "keys"))
    url, body = f"{server.url}/predict", {"instances": [[0] * 64]}
    assert requests.get(f"{server.url}/readyz", timeout=10).ok
    with requests.Session() as session:  # also after a refusal the connection stays
        assert session.post(url, json=body, timeout=10).status_code == 401
        for key in keys.values():
            for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
                assert session.post(url, json=body, headers=headers, timeout=10).ok
    server.stop()
    assert not [key for key in keys.values() if key in "".join(server.log)]


def test_a_file_that_holds_no_keys_is_said_at_once(tmp_path):
    (tmp_path / "keys").write_text("# none\nme predict 1234\n")
    done = serving("run", "--port", "0", "--keys", str(tmp_path / "keys"))
    assert done.returncode == 1
    assert (
        f"--keys: expected NAME predict|admin sha256:HEX in {tmp_path}/keys, line 2" in done.stderr
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["a b"], ["me", "--scope", "root"], []])
def test_a_key_has_a_name_and_a_scope(arguments):
    done = serving("key", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
