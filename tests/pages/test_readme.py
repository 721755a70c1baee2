"""The README does what it says."""

import argparse
import functools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
from click.testing import CliRunner

import serving.cli
import trainer.cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def same(got, shown):
    """Equal, but for what another CPU may round differently."""
    if isinstance(shown, float):
        return got == pytest.approx(shown, rel=1e-3, abs=1e-6)
    if isinstance(shown, list):
        return len(got) == len(shown) and all(map(same, got, shown))
    if isinstance(shown, dict):
        return list(got) == list(shown) and all(same(got[k], shown[k]) for k in shown)
    return got == shown


def test_readme_curl_gets_the_answer_shown(live):
    # Read here, so that the tests ask for no curl.
    command = next(b for b in blocks("bash") if b.startswith("curl"))
    reader = argparse.ArgumentParser()
    reader.add_argument("-s", action="store_true")
    reader.add_argument("-H", dest="header")
    reader.add_argument("-d", dest="body")
    reader.add_argument("url")
    shown = reader.parse_args(shlex.split(command)[1:])
    url = shown.url.replace("http://127.0.0.1:8000", live.url)
    headers = dict([shown.header.split(": ", 1)])
    answer = requests.post(url, data=shown.body, headers=headers, timeout=120)
    assert same(answer.json(), json.loads(blocks("json")[0]))


def test_readme_error_is_the_one_shown(client):
    row = [0] * 9 + ["7"] + [0] * 54
    answer = client.post("/predict", json={"instances": [row]})
    assert answer.text.strip() == blocks("json")[1].strip()


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.split("\n")[0])
def test_readme_programs_print_what_is_shown(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    shown = float(re.search(r"# ([\d.]+)$", code.strip())[1])
    assert np.isclose(float(done.stdout), shown, atol=0.005)


COMMANDS = {"trainer": trainer.cli.main, "serving": serving.cli.main}


@functools.cache
def help_of(program, *words):
    done = CliRunner().invoke(COMMANDS[program], [*words, "--help"])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("page", ["README.md", "docs/results.md", "docs/compression.md"])
def test_commands_and_options_exist(page):
    shell = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    for line in "\n".join(shell).replace("\\\n", " ").splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["make"]:
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        elif words[:1] in (["trainer"], ["serving"]):
            shown = help_of(*words[:2])
            assert all(w in shown for w in words if w.startswith("--"))


@pytest.mark.parametrize("package", ["serving", "trainer"])
def test_architecture_page_names_every_module_of_the_package_and_no_other(package):
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.split(f"<!-- {package}: modules -->")[1].split("<!-- end -->")[0]
    listed = {
        f"{folder.removeprefix(f'{package}/')}{module}"
        for folder, modules in re.findall(r"^\| `([\w/]+)` \|.*\| (.*) \|$", table, re.MULTILINE)
        for module in re.findall(r"`(\w+)`", modules)
    }
    present = {
        str(path.relative_to(ROOT / package).with_suffix(""))
        for path in (ROOT / package).rglob("*.py")
        if not path.name.startswith("__") and "loadtest" not in path.parts
    }
    assert listed == present
