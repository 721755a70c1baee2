"""The commands of `serving`."""

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
from tests.bundle_versions import add_version
from tests.processes import wait_until


def run_cli(*arguments):
    """Run a command of `serving` in this process, and return its result."""
    return CliRunner().invoke(cli.main, list(arguments))


def run_process(*arguments):
    """Run a command of `serving` in a new process, and return its result."""
    command = [sys.executable, "-m", "serving", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_run_help_lists_every_option_and_variable():
    text = run_cli("run", "--help").stdout
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in text
        assert f"FORWARDPASS_{name.upper()}" in text


@pytest.mark.usefixtures("processes")
def test_run_port_in_use_ends_with_message():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_process("run", "--port", port)
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
def test_run_invalid_argument_exits_2_with_reason(arguments, message):
    done = run_process("run", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def list_invalid_values():
    """Return an invalid value for each option, except those that accept any text."""
    found = []
    for name, schema in Settings.model_json_schema()["properties"].items():
        kind = next(k for k in schema.get("anyOf", [schema]) if k["type"] != "null")
        if kind["type"] != "string" or "enum" in kind:
            found.append((name, "?"))
        elif "minLength" in kind:
            found.append((name, ""))
    return found


@pytest.mark.parametrize(("name", "value"), list_invalid_values())
def test_run_invalid_option_names_accepted_values_and_variable(name, value):
    option, variable = f"--{name.replace('_', '-')}", f"FORWARDPASS_{name.upper()}"
    done = run_cli("run", f"{option}={value}")
    assert done.exit_code == 2
    assert f"Error: {option} ({variable}): expected " in done.stderr
    got = repr(value) if value else "a blank one; leave it out for the default"
    assert done.stderr.endswith(f"; got {got}\n")
    assert "Input should" not in done.stderr


def test_run_invalid_variable_names_accepted_values():
    done = CliRunner(env={"FORWARDPASS_KEEP": "0"}).invoke(cli.main, ["run"])
    message = "Error: --keep (FORWARDPASS_KEEP): expected a whole number of at least 1; got '0'\n"
    assert (done.exit_code, done.stderr[-len(message) :]) == (2, message)


def test_version_is_the_package_version():
    done = run_cli("--version")
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
def test_run_models_is_no_folder_ends_with_reason(command, name, reason, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    done = run_process(command, "--port", "0", "--models", tmp_path / name)
    assert done.returncode == 1
    remedy = f", for example by training: trainer fit digits --models {tmp_path / name}"
    assert done.stderr == (
        f"Error: expected a folder of models, NAME/VERSION; got {tmp_path / name}, {reason}; "
        f"choose another --models (FORWARDPASS_MODELS), or make the folder"
        f"{remedy if name == 'nowhere' else ''}\n"
    )


@pytest.mark.parametrize(("below", "kind"), [("digits", "model"), ("digits/1", "version")])
def test_run_models_is_one_model_names_the_right_folder(below, kind, shipped):
    done = run_cli("run", "--models", str(shipped / below))
    assert done.exit_code == 1
    assert f"which is one {kind}; give the folder of all models, {shipped};" in done.stderr


def test_run_models_unreadable_ends_with_reason(monkeypatch, tmp_path):
    def deny(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", deny)  # simulated, since root may read everything
    done = run_cli("run", "--models", str(tmp_path))
    assert done.exit_code == 1
    assert f"got {tmp_path}, which cannot be read: Permission denied" in done.stderr


def test_promote_running_server_loads_version(only_digits, serve):
    staged = add_version(only_digits, 2)
    staged.rename(staged.with_name("staged-2"))
    server = serve(only_digits, "--workers", "1", "--poll", "0.05")
    assert requests.get(f"{server.url}/readyz", timeout=120).json()["models"] == {"digits": 1}
    done = run_cli("promote", "--models", str(only_digits), "digits")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"promoted version 2 of digits: {only_digits / 'digits' / '2'};")
    server.wait_for_log("serving digits/2")


def test_promote_lower_version_explains_rollback(only_digits):
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
def read_started_settings(monkeypatch):
    """Return a function that runs a command until gunicorn would start; it returns the settings."""

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


def test_serve_help_shows_its_own_defaults():
    help_texts = {
        command: " ".join(run_cli(command, "--help").stdout.split()) for command in ("run", "serve")
    }
    own = {
        "host": ("127.0.0.1", "0.0.0.0"),  # noqa: S104 - not bound here
        "port": ("8000", "8080"),
        "models": ("models", "/opt/ml/model"),
    }
    for name, (run, serve) in own.items():
        variable = f"[env: FORWARDPASS_{name.upper()}]"
        assert f"[default: {run}] {variable}" in help_texts["run"]
        assert f"[default: {serve}]" in help_texts["serve"]
        assert f"[default: {run}]" not in help_texts["serve"]
        assert variable not in help_texts["serve"]
    assert help_texts["serve"].count("[env: ") == len(Settings.model_fields) - len(own)


IMAGE = {
    "FORWARDPASS_HOST": "0.0.0.0",  # noqa: S104 - not bound here
    "FORWARDPASS_PORT": "8000",
    "FORWARDPASS_MODELS": "/models",
}


def test_serve_ignores_variables_of_the_image(read_started_settings):
    found = read_started_settings("serve", **IMAGE, FORWARDPASS_WORKERS="3")
    assert (found["host"], found["port"]) == ("0.0.0.0", "8080")  # noqa: S104
    assert found["models"] == "/opt/ml/model"
    assert found["workers"] == "3"


def test_serve_option_overrides_default(read_started_settings):
    assert read_started_settings("serve", "--port", "9000", **IMAGE)["port"] == "9000"


def test_run_vertex_ai_variables_take_precedence(read_started_settings):
    found = read_started_settings(
        "run", **IMAGE, AIP_HTTP_PORT="9090", AIP_STORAGE_URI="file:///mnt/models"
    )
    assert (found["port"], found["models"]) == ("9090", "/mnt/models")
    assert read_started_settings("run", "--port", "9091")["port"] == "9091"


def test_run_other_platform_uses_variables(read_started_settings):
    found = read_started_settings("run", **IMAGE)
    assert (found["port"], found["models"]) == ("8000", "/models")


def test_run_vertex_ai_bucket_is_refused_with_advice(read_started_settings):
    done = read_started_settings("run", AIP_STORAGE_URI="gs://bucket/models", AIP_HTTP_PORT="x")
    assert done.exit_code == 2
    assert "AIP_STORAGE_URI: expected a local folder" in done.output
    assert "put the models into the image under FORWARDPASS_MODELS" in done.output
    assert "got 'gs://bucket/models'" in done.output
    assert "AIP_HTTP_PORT: expected a whole number from 1 to 65535; got 'x'" in done.output


def test_key_created_is_accepted_by_server(tmp_path, serve, shipped):
    made = {scope: run_cli("key", scope, "--scope", scope) for scope in ("predict", "admin")}
    keys = {
        scope: re.fullmatch(r"key, shown only now: (\S+)\n", done.stderr)[1]
        for scope, done in made.items()
    }
    lines = "".join(done.stdout for done in made.values())  # as `serving key … >> keys` does
    assert not [key for key in keys.values() if key in lines]
    (tmp_path / "keys").write_text(lines)
    server = serve(shipped, "--workers", "1", "--keys", str(tmp_path / "keys"))
    url, body = f"{server.url}/predict", {"instances": [[0] * 64]}
    with requests.Session() as session:  # a refusal keeps the connection
        assert session.post(url, json=body, timeout=120).status_code == 401
        for key in keys.values():
            for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
                assert session.post(url, json=body, headers=headers, timeout=120).ok
    server.stop()
    assert not [key for key in keys.values() if key in "".join(server.log)]


def test_keys_file_malformed_keeps_server_until_fixed(tmp_path, serve, shipped):
    done = run_cli("key", "me")
    path, key = tmp_path / "keys", done.stderr.split()[-1]
    path.write_text(done.stdout)
    server = serve(shipped, "--workers", "1", "--keys", str(path))

    def status():
        try:
            return requests.get(
                f"{server.url}/models", headers={"X-API-Key": key}, timeout=120
            ).status_code
        except requests.ConnectionError:  # the killed worker had accepted the connection
            return 0

    def until(expected):
        wait_until(lambda: status() == expected, status)

    until(200)
    path.write_text("oops")
    # Until the server has read the file and logged the error.
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
    errors = [line for line in server.log if "expected NAME predict|admin" in line]
    assert len(errors) == 2  # once by each worker
    assert key not in "".join(server.log)


@pytest.mark.usefixtures("processes")
def test_run_keys_file_malformed_ends_with_reason(tmp_path):
    (tmp_path / "keys").write_text("# none\nme predict 1234\n")
    done = run_process("run", "--port", "0", "--keys", str(tmp_path / "keys"))
    assert done.returncode == 1
    assert (
        f"--keys: expected NAME predict|admin sha256:HEX in {tmp_path}/keys, line 2" in done.stderr
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["a b"], ["me", "--scope", "root"], []])
def test_key_invalid_arguments_exit_2(arguments):
    done = run_cli("key", *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""


@pytest.mark.parametrize("change", ["emptied", "deleted", "a pipe"])
def test_keys_file_emptied_refuses_in_every_worker(change, tmp_path, serve, shipped):
    done = run_cli("key", "me")
    path, key = tmp_path / "keys", done.stderr.split()[-1]
    path.write_text(done.stdout)
    server = serve(shipped, "--workers", "2", "--keys", str(path))
    url, headers = f"{server.url}/models", {"X-API-Key": key}

    def statuses(count=20):
        # Each on a new connection, so that both workers answer some of them.
        return {requests.get(url, headers=headers, timeout=120).status_code for _ in range(count)}

    assert statuses() == {200}
    if change == "emptied":
        path.write_text("# none left\n")
    else:
        path.unlink()
    if change == "a pipe":
        os.mkfifo(path)
    # There are no requests in between: both workers notice the change by themselves.
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
def test_run_blank_option_exits_2(option, blank):
    done = run_process("run", option, blank)
    assert done.returncode == 2
    assert option in done.stderr
    assert "expected a value; got a blank one; leave it out for the default" in done.stderr
