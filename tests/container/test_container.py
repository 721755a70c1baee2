"""The image and the stack, built and run by a real engine."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests

from serving.http.key_file import generate_key
from tests.bundle_versions import add_version

pytestmark = pytest.mark.container

ROOT = Path(__file__).parent.parent.parent
IMAGE = "forwardpass"
MB = 10**6


def docker(*arguments, **options):
    done = subprocess.run(
        ["docker", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(url, seconds):
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = requests.get(url, timeout=2)
            answer.raise_for_status()
            return answer
        except requests.RequestException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def seconds_to_healthy(container):
    """From the container's start, by the engine's clock; fails after two minutes."""
    deadline = time.monotonic() + 120
    while True:
        state = json.loads(docker("inspect", container))[0]["State"]
        if state["Health"]["Status"] == "healthy":
            probed = next(p["End"] for p in state["Health"]["Log"] if p["ExitCode"] == 0)
            started = state["StartedAt"]
            passed = datetime.fromisoformat(probed) - datetime.fromisoformat(started)
            return passed.total_seconds()
        assert time.monotonic() < deadline, docker("logs", container)
        time.sleep(0.05)


@pytest.fixture(scope="module")
def image():
    docker("compose", "build")
    return IMAGE


@pytest.fixture(scope="module")
def stack(image):
    """The compose stack, healthy: its address and its container."""
    port = free_port()
    # HOST and PORT are what other programs set, and no business of the stack's.
    environment = os.environ | {
        "FORWARDPASS_PORT": str(port),
        "COMPOSE_PROJECT_NAME": "forwardpass-test",
        "HOST": "0.0.0.0",  # noqa: S104 - inside a container
        "PORT": "1",
        "FORWARDPASS_HOST": "",
    }
    docker("compose", "up", "--detach", "--no-build", env=environment)
    try:
        container = docker("compose", "ps", "--quiet", "forwardpass", env=environment)
        seconds_to_healthy(container)
        yield f"http://127.0.0.1:{port}", container
    finally:
        docker("compose", "down", "--timeout", "10", env=environment)


@pytest.fixture
def guarded(image, tmp_path):
    """The compose stack with a file of keys and two versions of the model; not started yet."""
    models, keys = tmp_path / "models", tmp_path / "keys"
    shutil.copytree(ROOT / "models" / "digits" / "1", models / "digits" / "1")
    add_version(models, 2)
    keys.mkdir()
    port = free_port()
    environment = os.environ | {
        "COMPOSE_PROJECT_NAME": "forwardpass-keys-test",
        "COMPOSE_FILE": "docker-compose.yml:docker-compose.keys.yml",
        "FORWARDPASS_KEYS_FOLDER": str(keys),
        **dict.fromkeys(("PORT", "FORWARDPASS_PORT"), str(port)),
        **dict.fromkeys(("MODELS", "FORWARDPASS_MODELS"), str(models)),
    }

    def compose(*arguments):
        return docker("compose", *arguments, env=environment)

    yield SimpleNamespace(
        compose=compose, environment=environment, url=f"http://127.0.0.1:{port}", keys=keys
    )
    compose("down", "--volumes", "--timeout", "10")


@pytest.fixture
def run(image):
    """Runs containers of the image, and removes them."""
    started = []

    def start(*options, command=()):
        workers = ("--env", "FORWARDPASS_WORKERS=2")  # as compose, not one a core
        started.append(docker("run", "--detach", *workers, *options, image, *command))
        return started[-1]

    yield start
    for container in started:
        docker("rm", "--force", container)


def test_image_size_is_at_most_450_mb(image):
    assert int(docker("image", "inspect", "-f", "{{.Size}}", image)) <= 450 * MB


def test_container_start_is_healthy_within_five_seconds(run):
    # A start while the machine is busy with something else says nothing of the container.
    starts = []
    while not starts or (starts[-1] > 5 and len(starts) < 3):
        starts.append(seconds_to_healthy(run()))
    assert min(starts) <= 5, starts


def test_stack_published_port_answers_digits(stack, digits):
    rows, labels = digits
    body = {"instances": rows[:200].tolist()}
    answer = requests.post(f"{stack[0]}/predict", json=body, timeout=120)
    predictions = answer.json()["predictions"]
    assert np.mean(np.array(predictions) == labels[:200]) > 0.97


def test_stack_process_has_no_privileges(stack):
    found = json.loads(docker("inspect", stack[1]))[0]
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert found["HostConfig"]["Memory"] == 450 * 2**20
    assert any("no-new-privileges" in o for o in found["HostConfig"]["SecurityOpt"])
    status = docker("exec", stack[1], "cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["10001"] * 4
    assert int(fields["CapEff"], 16) == 0


def test_compose_keys_file_requires_keys_and_allows_rollback(guarded):
    added = subprocess.run(
        [
            "docker",
            "compose",
            "run",
            "--rm",
            "-T",
            "--no-deps",
            "forwardpass",
            "key",
            "operator",
            "--scope",
            "admin",
        ],
        cwd=ROOT,
        env=guarded.environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    key = re.search(r"shown only now: (\S+)", added.stderr)[1]
    file = guarded.keys / "keys.txt"
    file.write_text(added.stdout)
    guarded.compose("up", "--detach", "--no-build")
    container = guarded.compose("ps", "--quiet", "forwardpass")
    seconds_to_healthy(container)
    body, headers = {"instances": [[0] * 64]}, {"X-API-Key": key}

    def ask(path="/predict", key=key):
        headers = {"X-API-Key": key} if key else {}
        return requests.post(f"{guarded.url}{path}", json=body, headers=headers, timeout=60)

    assert ask(key=None).status_code == 401
    assert ask().json()["version"] == 2
    rolled = requests.post(
        f"{guarded.url}/v2/repository/models/digits/rollback", headers=headers, timeout=120
    )
    assert (rolled.status_code, rolled.json()["version"]) == (200, 1), rolled.text
    assert ask().json()["version"] == 1
    # What was pinned outlives the container.
    guarded.compose("up", "--detach", "--no-build", "--force-recreate")
    container = guarded.compose("ps", "--quiet", "forwardpass")
    seconds_to_healthy(container)
    assert ask().json()["version"] == 1
    # An editor replaces the file; the folder shows the new one.
    other, line = generate_key("reader", "predict")
    replacement = guarded.keys / "new"
    replacement.write_text(f"{line}\n")
    replacement.replace(file)
    deadline = time.monotonic() + 60
    while ask(key=other).status_code != 200 or ask().status_code != 401:
        assert time.monotonic() < deadline, docker("logs", container)
        time.sleep(0.1)


def test_compose_keys_folder_missing_is_reported(guarded):
    guarded.keys.rmdir()
    with pytest.raises(AssertionError, match="bind source path does not exist"):
        guarded.compose("up", "--detach", "--no-build")


def test_stack_memory_stays_below_its_limit(stack):
    used = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", stack[1])
    assert "MiB / " in used, used
    assert float(used.split("MiB")[0]) < 300


def test_stack_was_not_restarted_and_logged_no_error(stack):
    assert docker("inspect", "-f", "{{.RestartCount}}", stack[1]) == "0"
    log = subprocess.run(
        ["docker", "logs", stack[1]], capture_output=True, text=True, check=True
    ).stdout
    records = [json.loads(line) for line in log.splitlines()]
    assert [r for r in records if r["event"].startswith("serving digits/1")]
    assert not [r for r in records if r["level"] == "error"]


def test_image_holds_no_training_code_and_no_installer(image):
    code = (
        "import importlib.util as u; "
        "print(*[n for n in ('trainer', 'onnx', 'sklearn', 'scipy', 'pyarrow', 'rich', 'pip') "
        "if u.find_spec(n)])"
    )
    assert docker("run", "--rm", "--entrypoint", "python", image, "-c", code) == ""


def test_image_loadtest_command_without_its_package_says_how_to_install_it(image):
    done = subprocess.run(
        ["docker", "run", "--rm", image, "loadtest", "http://127.0.0.1:8000"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1
    assert "which is not in the server's image; run it on another machine" in done.stderr
    assert "pip install 'forwardpass[loadtest]'" in done.stderr
    command = "import serving, pathlib; print(*pathlib.Path(serving.__file__).parent.iterdir())"
    modules = docker("run", "--rm", "--entrypoint", "python", image, "-c", command)
    assert "cli.py" in modules
    assert "loadtest" not in modules


def test_container_stop_ends_within_the_grace_period(run):
    port = free_port()
    container = run("--publish", f"127.0.0.1:{port}:8000")
    wait_for(f"http://127.0.0.1:{port}/readyz", 120)
    docker("stop", "-t", "10", container)  # seconds, as engines do: they kill it thereafter
    assert docker("inspect", "-f", "{{.State.ExitCode}}", container) == "0"


def test_container_sagemaker_start_serves(run, digits):
    port = free_port()
    volume = f"{ROOT / 'models'}:/opt/ml/model:ro"
    run("--publish", f"127.0.0.1:{port}:8080", "--volume", volume, command=("serve",))
    assert wait_for(f"http://127.0.0.1:{port}/ping", 120).content == b""
    lines = "\n".join(",".join(map(str, row)) for row in digits[0][:20].tolist())
    answer = requests.post(
        f"http://127.0.0.1:{port}/invocations",
        data=lines,
        headers={"Content-Type": "text/csv"},
        timeout=120,
    ).json()
    assert np.mean(np.array(answer["predictions"]) == digits[1][:20]) > 0.9


def test_container_vertex_ai_paths_are_answered(run, digits):
    port, url = free_port(), "/v1/endpoints/1/deployedModels/2"
    variables = {"HTTP_PORT": "9000", "HEALTH_ROUTE": url, "PREDICT_ROUTE": f"{url}:predict"}
    environment = [part for k, v in variables.items() for part in ("--env", f"AIP_{k}={v}")]
    run("--publish", f"127.0.0.1:{port}:9000", *environment)
    wait_for(f"http://127.0.0.1:{port}{url}", 120)
    body = {"instances": digits[0][:20].tolist(), "parameters": {"outputs": ["label"]}}
    answer = requests.post(f"http://127.0.0.1:{port}{url}:predict", json=body, timeout=120).json()
    assert np.mean(np.array(answer["predictions"]) == digits[1][:20]) > 0.9


def sent(container):
    """TCP connections begun and UDP datagrams sent, by anything in the container, ever."""
    counters = {}
    lines = docker("exec", container, "cat", "/proc/net/snmp").splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        protocol = names.split(":")[0]
        counters |= {
            f"{protocol}.{name}": int(value)
            for name, value in zip(names.split()[1:], values.split()[1:], strict=True)
        }
    return counters["Tcp.ActiveOpens"], counters["Udp.OutDatagrams"]


def test_container_attempts_no_outbound_connection(run):
    # No health check, whose own connection would count; names are looked up at an address where
    # no one listens, so that nothing leaves the machine even if something tries.
    port = free_port()
    quiet = ("--no-healthcheck", "--dns", "127.0.0.1", "--env", "HOME=/tmp")
    container = run(*quiet, "--publish", f"127.0.0.1:{port}:8000")
    # The same image with ONNX Runtime's telemetry on shows that an attempt would be seen.
    telling = run(*quiet, "--env", "ORT_DISABLE_TELEMETRY=0")
    wait_for(f"http://127.0.0.1:{port}/models", 120)
    deadline = time.monotonic() + 60
    while sent(telling)[1] == 0 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert sent(telling)[1] > 0
    assert sent(container) == (0, 0)
