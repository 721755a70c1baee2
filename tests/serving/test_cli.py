import os
import re
import signal
import socket
import subprocess
import sys
from importlib.metadata import version

import pytest
import requests
from click.testing import CliRunner

import trainer.cli
from serving import cli
from serving.settings.options import VERSION, Settings
from tests.editions import add_version
from tests.processes import wait_until


def serving(*arguments):
    """Run a command to its end, in this process."""
    return CliRunner().invoke(cli.main, list(arguments))


def process(*arguments):
    """Run a command to its end, in a process of its own."""
    command = [sys.executable, "-m", "serving", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_help_lists_every_knob_with_its_environment_twin():
    text = serving("run", "--help").stdout
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in text
        assert f"FORWARDPASS_{name.upper()}" in text


@pytest.mark.usefixtures("processes")
def test_a_port_that_is_taken_is_named_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = process("run", "--port", port)
    assert done.returncode == 1
    assert f"got 127.0.0.1:{port}: Address already in use; choose another" in done.stderr


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--port", "70000"],
            "--port (FORWARDPASS_PORT): expected a whole number from 0 to 65535; got '70000'",
        ),
        (
            ["--workers", "many"],
            "--workers (FORWARDPASS_WORKERS): expected a whole number from 1 to 256; got 'many'",
        ),
        (["--colour", "red"], "No such option"),
    ],
)
def test_wrong_arguments_end_with_status_2_and_the_reason(arguments, message):
    done = process("run", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def wrong_values():
    """A value that each setting refuses, of those that do not take every text."""
    found = []
    for name, schema in Settings.model_json_schema()["properties"].items():
        kind = next(k for k in schema.get("anyOf", [schema]) if k["type"] != "null")
        if kind["type"] != "string" or "enum" in kind:
            found.append((name, "?"))
        elif "minLength" in kind:
            found.append((name, ""))
    return found


@pytest.mark.parametrize(("name", "value"), wrong_values())
def test_setting_that_is_refused_says_what_it_accepts_and_its_variable(name, value):
    option, variable = f"--{name.replace('_', '-')}", f"FORWARDPASS_{name.upper()}"
    done = serving("run", f"{option}={value}")
    assert done.exit_code == 2
    assert f"Error: {option} ({variable}): expected " in done.stderr
    got = repr(value) if value else "a blank one; leave it out for the default"
    assert done.stderr.endswith(f"; got {got}\n")
    assert "Input should" not in done.stderr


def test_variable_that_is_refused_says_what_it_accepts():
    done = CliRunner(env={"FORWARDPASS_KEEP": "0"}).invoke(cli.main, ["run"])
    message = "Error: --keep (FORWARDPASS_KEEP): expected a whole number of at least 1; got '0'\n"
    assert (done.exit_code, done.stderr[-len(message) :]) == (2, message)


def test_version_is_that_of_the_package():
    done = serving("--version")
    assert (done.exit_code, done.stdout) == (0, f"serving, version {VERSION}\n")
    assert version("forwardpass") == VERSION
    done = CliRunner().invoke(trainer.cli.main, ["--version"], prog_name="trainer")
    assert (done.exit_code, done.stdout) == (0, f"trainer, version {VERSION}\n")


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("command", ["run", "serve"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere", "which does not exist"),
        ("file", "which is a file"),
        ("link", "which is a link that leads to no folder"),
        ("circle", "which is a link that leads to no folder"),
    ],
)
def test_folder_of_models_that_is_none_ends_the_start_with_a_sentence(
    command, name, reason, tmp_path
):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    done = process(command, "--port", "0", "--models", tmp_path / name)
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: expected a folder of models, NAME/VERSION; got {tmp_path / name}, {reason}; "
        f"choose another --models (FORWARDPASS_MODELS), or make the folder\n"
    )


@pytest.mark.parametrize(("below", "kind"), [("digits", "model"), ("digits/1", "version")])
def test_folder_of_one_model_ends_the_start_with_the_right_folder(below, kind, shipped):
    done = serving("run", "--models", str(shipped / below))
    assert done.exit_code == 1
    assert f"which is one {kind}; give the folder of all models, {shipped};" in done.stderr


def test_folder_of_models_that_cannot_be_read_ends_the_start(monkeypatch, tmp_path):
    def deny(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", deny)  # root may read everything: said for it
    done = serving("run", "--models", str(tmp_path))
    assert done.exit_code == 1
    assert f"got {tmp_path}, which cannot be read: Permission denied" in done.stderr


def test_promote_is_taken_up_by_a_running_server(only_digits, serve):
    staged = add_version(only_digits, 2)
    staged.rename(staged.with_name("staged-2"))
    server = serve(only_digits, "--workers", "1", "--poll", "0.05")
    assert requests.get(f"{server.url}/readyz", timeout=120).json()["models"] == {"digits": 1}
    done = serving("promote", "--models", str(only_digits), "digits")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"promoted version 2 of digits: {only_digits / 'digits' / '2'};")
    server.wait_for_log("serving digits/2")


def test_promote_of_a_version_below_the_highest_says_how_to_serve_it(only_digits):
    staged = add_version(only_digits, 2)
    staged.rename(staged.with_name("staged-2"))
    add_version(only_digits, 3)
    runner = CliRunner(env={"FORWARDPASS_MODELS": str(only_digits)})
    done = runner.invoke(cli.main, ["promote", "digits", "2"])
    assert done.exit_code == 0
    assert 'rollback with {"parameters": {"version": 2}}' in done.stderr
    again = runner.invoke(cli.main, ["promote", "digits", "2"])
    assert again.exit_code == 1
    assert again.stderr.startswith("Error: expected a staged version of digits; got none in ")


@pytest.fixture
def started(monkeypatch):
    """Runs a command as far as where gunicorn would take over; the settings it would read."""

    class Replaced(Exception):
        pass

    def replace(*_):
        raise Replaced

    monkeypatch.setattr(cli.os, "execv", replace)
    monkeypatch.setattr(cli, "_require_free_port", lambda *_: None)
    monkeypatch.setattr(cli, "_require_models_folder", lambda *_: None)

    def start(*arguments, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        environment = dict(cli.os.environ)
        monkeypatch.setattr(cli.os, "environ", environment)
        done = CliRunner().invoke(cli.main, arguments)
        if not isinstance(done.exception, Replaced):
            return done
        found = Settings.model_fields
        return {name: environment.get(f"FORWARDPASS_{name.upper()}") for name in found}

    return start


def test_serve_tells_the_defaults_that_are_its_own():
    told = {
        command: " ".join(serving(command, "--help").stdout.split()) for command in ("run", "serve")
    }
    own = {
        "host": ("127.0.0.1", "0.0.0.0"),  # noqa: S104 - not bound here
        "port": ("8000", "8080"),
        "models": ("models", "/opt/ml/model"),
    }
    for name, (run, serve) in own.items():
        twin = f"[env: FORWARDPASS_{name.upper()}]"
        assert f"[default: {run}] {twin}" in told["run"]
        assert f"[default: {serve}]" in told["serve"]
        assert f"[default: {run}]" not in told["serve"]
        assert twin not in told["serve"]
    assert told["serve"].count("[env: ") == len(Settings.model_fields) - len(own)


IMAGE = {
    "FORWARDPASS_HOST": "0.0.0.0",  # noqa: S104 - not bound here
    "FORWARDPASS_PORT": "8000",
    "FORWARDPASS_MODELS": "/models",
}


def test_serve_is_what_sagemaker_expects_whatever_the_image_says(started):
    found = started("serve", **IMAGE, FORWARDPASS_WORKERS="3")
    assert (found["host"], found["port"]) == ("0.0.0.0", "8080")  # noqa: S104
    assert found["models"] == "/opt/ml/model"
    assert found["workers"] == "3"


def test_an_option_of_serve_is_heeded(started):
    assert started("serve", "--port", "9000", **IMAGE)["port"] == "9000"


def test_run_listens_where_vertex_ai_asks(started):
    found = started("run", **IMAGE, AIP_HTTP_PORT="9090", AIP_STORAGE_URI="file:///mnt/models")
    assert (found["port"], found["models"]) == ("9090", "/mnt/models")
    assert started("run", "--port", "9091")["port"] == "9091"


def test_run_elsewhere_listens_as_it_is_told(started):
    found = started("run", **IMAGE)
    assert (found["port"], found["models"]) == ("8000", "/models")


def test_a_bucket_is_refused_with_what_to_do(started):
    done = started("run", AIP_STORAGE_URI="gs://bucket/models", AIP_HTTP_PORT="x")
    assert done.exit_code == 2
    assert "AIP_STORAGE_URI: expected a local folder" in done.output
    assert "put the models into the image under FORWARDPASS_MODELS" in done.output
    assert "got 'gs://bucket/models'" in done.output
    assert "AIP_HTTP_PORT: expected a whole number from 1 to 65535; got 'x'" in done.output


def test_a_key_is_made_and_taken(tmp_path, serve, shipped):
    made = {scope: serving("key", scope, "--scope", scope) for scope in ("predict", "admin")}
    keys = {
        scope: re.fullmatch(r"key, shown only now: (\S+)\n", done.stderr)[1]
        for scope, done in made.items()
    }
    lines = "".join(done.stdout for done in made.values())  # as `serving key … >> keys` does
    assert not [key for key in keys.values() if key in lines]
    (tmp_path / "keys").write_text(lines)
    server = serve(shipped, "--workers", "1", "--keys", str(tmp_path / "keys"))
    url, body = f"{server.url}/predict", {"instances": [[0] * 64]}
    with requests.Session() as session:  # also after a refusal the connection stays
        assert session.post(url, json=body, timeout=120).status_code == 401
        for key in keys.values():
            for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
                assert session.post(url, json=body, headers=headers, timeout=120).ok
    server.stop()
    assert not [key for key in keys.values() if key in "".join(server.log)]


def test_a_server_lives_on_with_a_bad_file_of_keys_and_takes_up_a_good_one(
    tmp_path, serve, shipped
):
    done = serving("key", "me")
    path, key = tmp_path / "keys", done.stderr.split()[-1]
    path.write_text(done.stdout)
    server = serve(shipped, "--workers", "1", "--keys", str(path))

    def status():
        try:
            return requests.get(
                f"{server.url}/models", headers={"X-API-Key": key}, timeout=120
            ).status_code
        except requests.ConnectionError:  # of the worker that was killed
            return 0

    def until(expected):
        wait_until(lambda: status() == expected, status)

    until(200)
    path.write_text("oops")
    # Asked until it has looked and complained.
    wait_until(
        lambda: status() != 200 or any("expected NAME predict|admin" in x for x in server.log)
    )
    assert status() == 200
    (worker,) = server.workers()
    os.kill(worker, signal.SIGKILL)
    until(401)
    path.write_text(done.stdout)
    until(200)
    assert server.process.poll() is None
    told = [line for line in server.log if "expected NAME predict|admin" in line]
    assert len(told) == 2  # once by each worker
    assert key not in "".join(server.log)


@pytest.mark.usefixtures("processes")
def test_a_file_that_holds_no_keys_is_said_at_once(tmp_path):
    (tmp_path / "keys").write_text("# none\nme predict 1234\n")
    done = process("run", "--port", "0", "--keys", str(tmp_path / "keys"))
    assert done.returncode == 1
    assert (
        f"--keys: expected NAME predict|admin sha256:HEX in {tmp_path}/keys, line 2" in done.stderr
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["a b"], ["me", "--scope", "root"], []])
def test_a_key_has_a_name_and_a_scope(arguments):
    done = serving("key", *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""


@pytest.mark.parametrize("change", ["emptied", "deleted", "a pipe"])
def test_taking_out_the_last_key_refuses_all_in_every_worker(change, tmp_path, serve, shipped):
    done = serving("key", "me")
    path, key = tmp_path / "keys", done.stderr.split()[-1]
    path.write_text(done.stdout)
    server = serve(shipped, "--workers", "2", "--keys", str(path))
    url, headers = f"{server.url}/models", {"X-API-Key": key}

    def statuses(count=20):
        # Each on a connection of its own: they go to one worker and the other.
        return {requests.get(url, headers=headers, timeout=120).status_code for _ in range(count)}

    assert statuses() == {200}
    if change == "emptied":
        path.write_text("# none left\n")
    else:
        path.unlink()
    if change == "a pipe":
        os.mkfifo(path)
    # No one asks meanwhile: both see it by themselves.
    server.wait_for_log("every request that needs a key is refused", times=2)
    assert statuses() == {401}
    assert requests.get(f"{server.url}/readyz", timeout=120).json() == {"ready": True}
    path.unlink(missing_ok=True)
    path.write_text(done.stdout)
    server.wait_for_log(f"1 key is accepted, read from {path}", times=4)
    assert statuses() == {200}
    assert key[:8] not in "".join(server.log)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("option", ["--host", "--state", "--keys", "--port", "--tls-cert"])
@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_option_is_an_error(option, blank):
    done = process("run", option, blank)
    assert done.returncode == 2
    assert option in done.stderr
    assert "expected a value; got a blank one; leave it out for the default" in done.stderr
