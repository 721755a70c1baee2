"""Promises of the project as a whole."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SLOW_TO_IMPORT = {"sklearn", "scipy", "matplotlib", "pandas", "numba"}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_nn_imports_numpy_and_the_standard_library_only():
    for path in (ROOT / "trainer" / "nn").rglob("*.py"):
        for name in imports(path):
            top = name.split(".")[0]
            known = top in sys.stdlib_module_names or top == "numpy"
            known |= (path.name, top) == ("kernels.py", "numba")  # the optional compiled ones
            assert known or name.startswith("trainer.nn"), f"{path.name} imports {name}"


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    "module", ["serving.http.app", "serving.cli", "serving.server.gunicorn_conf"]
)
def test_serving_import_loads_no_training_code(module):
    code = f"import sys, {module}; print(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"trainer", "onnx", "pyarrow", "rich", *SLOW_TO_IMPORT} & set(done.stdout.split())


@pytest.mark.usefixtures("processes")
def test_trainer_import_loads_no_web_framework():
    code = "import sys, trainer.cli; print(*sorted({n.split('.')[0] for n in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"flask", "werkzeug", "gunicorn"} & set(done.stdout.split())


@pytest.mark.usefixtures("processes")
def test_trainer_help_loads_no_slow_package():
    code = (
        "import sys\nfrom trainer.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print('loaded:', *{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shown, loaded = done.stdout.split("loaded:")
    assert "Train a network in NumPy" in shown
    assert not SLOW_TO_IMPORT & set(loaded.split())


LOCKS = ["all", "build", "parser", "serving", "training"]


def pins_of(lock):
    """The requirements of a lock file, such as `numpy==2.4.6 ; python_full_version < '3.12'`."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return {line.rstrip(" \\") for line in re.findall(r"^[A-Za-z0-9].*", text, re.M)}


def test_lock_files_are_all_checked():
    assert sorted(path.stem for path in (ROOT / "requirements").glob("*.lock")) == LOCKS


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_file_holds_versions_and_hashes_and_no_address(lock):
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    assert "://" not in text
    assert "-url" not in text
    assert "--find-links" not in text
    pins = re.findall(r"^[a-z0-9][^\n]*\\\n(?:    --hash=sha256:[0-9a-f]{64}[^\n]*\n)+", text, re.M)
    packages = re.findall(r"^[A-Za-z0-9]", text, re.M)
    assert len(pins) == len(packages) >= (1 if lock in ("build", "parser") else 10)
    assert all("==" in pin.splitlines()[0] for pin in pins)


def test_lock_files_of_stages_pin_the_same_versions():
    without_markers = {pin.split(" ;")[0] for pin in pins_of("all")}
    for lock in ("build", "serving", "training"):
        assert {pin.split(" ;")[0] for pin in pins_of(lock)} <= without_markers, lock
    assert pins_of("serving") <= pins_of("training")


def test_serving_lock_file_holds_no_training_package():
    text = (ROOT / "requirements" / "serving.lock").read_text()
    for package in ("onnx", "scikit-learn", "scipy", "pyarrow", "rich", "pytest"):
        assert not re.search(rf"^{package}==", text, re.M)


@pytest.mark.slow
def test_sources_use_no_pickle_and_no_eval():
    for path in [*ROOT.glob("trainer/**/*.py"), *ROOT.glob("serving/**/*.py")]:
        names = {n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)}
        assert not names & {"eval", "exec"}, path
        assert not {"pickle", "joblib", "marshal", "shelve"} & set(imports(path)), path
        assert "allow_pickle=True" not in path.read_text()


@pytest.mark.usefixtures("processes")
def test_make_help_lists_every_target_with_a_line():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in phony:
        assert re.search(rf"^  make {target} +\w", shown, re.M), target


# What conda, shells and other tools set for purposes of their own.
OF_OTHERS = {
    "HOST": "x86_64-conda-linux-gnu",
    "PORT": "1",
    "MODELS": "elsewhere",
    "WORKERS": "9",
    "VARIANT": "other",
}


def dry_run(*arguments, **variables):
    """The commands that `make` would run."""
    kept = {k: v for k, v in os.environ.items() if k != "MAKEOVERRIDES" and "FLAGS" not in k}
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", *arguments],
        cwd=ROOT,
        env=kept | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def serve_command(*arguments, **variables):
    """The command that `make serve` would end with."""
    return dry_run("serve", *arguments, **variables)[-1].split("serving run ")[1].strip()


@pytest.mark.usefixtures("processes")
def test_make_serve_unprefixed_environment_variables_are_ignored():
    assert serve_command(**OF_OTHERS) == '--models "models"'
    assert serve_command(FORWARDPASS_MODELS="mine", **OF_OTHERS) == '--models "mine"'
    assert serve_command(FORWARDPASS_MODELS="", HOST="") == '--models "models"'
    own = serve_command("HOST=::1", "PORT=9000", "MODELS=a b", **OF_OTHERS)
    assert own == '--models "a b" --host "::1" --port "9000"'
    assert serve_command("HOST=", "PORT=", **OF_OTHERS) == '--models "models"'


def stages(commands):
    """The stages of requirements/install.py that some commands install."""
    return re.findall(r"requirements/install\.py (\w+)", "\n".join(commands))


@pytest.mark.usefixtures("processes")
def test_make_serve_with_bundle_installs_no_training_package(tmp_path):
    commands = dry_run("serve")
    assert stages(commands) == ["serving"]
    assert not any("trainer" in command for command in commands)

    shutil.copytree(ROOT / "models" / "digits" / "1", tmp_path / "my models" / "digits" / "1")
    commands = dry_run("serve", f"MODELS={tmp_path / 'my models'}")
    assert stages(commands) == ["serving"]
    assert not any("trainer" in command for command in commands)


@pytest.mark.usefixtures("processes")
def test_make_serve_without_bundle_installs_training_packages_and_trains(tmp_path):
    models = tmp_path / "my models"
    (models / "digits" / "staged-1").mkdir(parents=True)
    commands = dry_run("serve", f"MODELS={models}")
    assert stages(commands) == ["training"]
    (trains,) = (number for number, line in enumerate(commands) if "trainer fit digits" in line)
    assert commands[trains].endswith(f'--models "{models}"')
    assert trains < len(commands) - 1


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("target", ["install", "test", "lint", "test-docker", "bench-train"])
def test_make_targets_other_than_serve_install_everything(target):
    assert stages(dry_run(target)) == ["development"]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("target", ["bench-serve", "bench-before", "bench-load"])
def test_make_bench_without_wrk_says_so_and_installs_nothing(target, tmp_path):
    for tool in ("make", "sh"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    done = subprocess.run(
        ["make", target, "PYTHON=false"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("expected the load generator wrk, found none on PATH; install")
    assert not done.stdout
    assert "apt-get" not in "\n".join(dry_run(target)).replace("with: apt-get install wrk", "")


@pytest.mark.usefixtures("processes")
def test_ci_without_docker_engine_says_so_and_installs_nothing(tmp_path):
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    done = subprocess.run(
        [tmp_path / "bash", ROOT / ".ci" / "run"],
        env={"PATH": str(tmp_path), "SHARED": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("expected a running Docker engine with Compose, found none;")
    assert done.stderr.count("\n") == 1
    assert not done.stdout


@pytest.mark.usefixtures("processes")
def test_actionlint_broken_workflow_fails(tmp_path):
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    broken = tmp_path / "broken.yml"
    broken.write_text(workflow.replace("ubuntu-latest", "ubuntu-newest"))
    actionlint = Path(sys.executable).parent / "actionlint"
    done = subprocess.run([actionlint, broken], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'label "ubuntu-newest" is unknown' in done.stdout


def test_workflow_actions_are_pinned_by_commit():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    used = re.findall(r"uses: (.*)", workflow)
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}  # v[\d.]+", action) for action in used)


@pytest.mark.usefixtures("processes")
def test_pre_commit_runs_the_commands_of_make_lint():
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    hooks = re.findall(r"entry: (.*)", text)
    commands = [line for line in dry_run("lint", "VENV=.venv") if "install" not in line]
    assert hooks == commands
    assert text.count("pass_filenames: false") == text.count("always_run: true") == len(hooks)


def test_compose_unprefixed_or_empty_variables_are_ignored():
    text = (ROOT / "docker-compose.yml").read_text()
    found = dict(re.findall(r"\$\{?(\w*)(.*?)\}", text))
    assert all(name.startswith("FORWARDPASS_") for name in found)
    assert all(re.fullmatch(r":-[^ ]+", default) for default in found.values())
    assert found["FORWARDPASS_HOST"] == ":-127.0.0.1"
