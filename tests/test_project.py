"""Promises of the project as a whole."""

import ast
import os
import re
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


@pytest.mark.parametrize("lock", ["all.lock", "serving.lock"])
def test_lock_file_holds_versions_and_hashes_and_no_address(lock):
    text = (ROOT / "requirements" / lock).read_text()
    assert "://" not in text
    assert "-url" not in text
    assert "--find-links" not in text
    pins = re.findall(r"^[a-z0-9][^\n]*\\\n(?:    --hash=sha256:[0-9a-f]{64}[^\n]*\n)+", text, re.M)
    packages = re.findall(r"^[A-Za-z0-9]", text, re.M)
    assert len(pins) == len(packages) > 10
    assert all("==" in pin.splitlines()[0] for pin in pins)


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


def serve_command(*arguments, **variables):
    """The command that `make serve` would end with."""
    kept = {k: v for k, v in os.environ.items() if k != "MAKEOVERRIDES" and "FLAGS" not in k}
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "serve", *arguments],
        cwd=ROOT,
        env=kept | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1].split("serving run ")[1].strip()


@pytest.mark.usefixtures("processes")
def test_make_serve_unprefixed_environment_variables_are_ignored():
    assert serve_command(**OF_OTHERS) == '--models "models"'
    assert serve_command(FORWARDPASS_MODELS="mine", **OF_OTHERS) == '--models "mine"'
    assert serve_command(FORWARDPASS_MODELS="", HOST="") == '--models "models"'
    own = serve_command("HOST=::1", "PORT=9000", "MODELS=a b", **OF_OTHERS)
    assert own == '--models "a b" --host "::1" --port "9000"'
    assert serve_command("HOST=", "PORT=", **OF_OTHERS) == '--models "models"'


def test_compose_unprefixed_or_empty_variables_are_ignored():
    text = (ROOT / "docker-compose.yml").read_text()
    found = dict(re.findall(r"\$\{?(\w*)(.*?)\}", text))
    assert all(name.startswith("FORWARDPASS_") for name in found)
    assert all(re.fullmatch(r":-[^ ]+", default) for default in found.values())
    assert found["FORWARDPASS_HOST"] == ":-127.0.0.1"
