"""docs/training.md: its options, its TOML file and its commands work as described."""

import re
import shlex
import tomllib

import pytest
from click.testing import CliRunner

from tests.pages.markdown import list_blocks, list_commands, read_page
from trainer.cli import main
from trainer.cli.fit import fit
from trainer.cli.options import configure
from trainer.config import Config

PAGE = read_page("docs/training.md")
PURPOSES = re.findall(r"`(--[^`]+)`", PAGE.split("## Options by purpose")[1].split("\n## ")[0])


@pytest.mark.parametrize("options", PURPOSES)
def test_training_page_options_are_accepted(options):
    task = ["--task", "regression"] if re.search("loss|target-scaling", options) else []
    with fit.make_context("fit", ["digits", *task, *shlex.split(options)]) as context:
        configure(None, {k: v for k, v in context.params.items() if k in Config.model_fields})


def test_training_page_file_of_options_is_valid():
    (options,) = (b for b in list_blocks(PAGE, "toml") if "target" in b)
    assert Config(**tomllib.loads(options)).aim == "balanced_accuracy"


def test_training_page_aims_are_accepted():
    table = PAGE.split("| `--aim` |")[1].split("\n\n")[0]
    aims = re.findall(
        r"`([^`]+)`", "\n".join(line.split("|")[1] for line in table.splitlines()[2:])
    )
    assert len(aims) == 6
    for aim in aims:
        assert Config(data="digits", aim=aim).aim == aim


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--log", "--tensorboard", "--checkpoint"])
def test_training_page_commands_that_record_a_run_succeed(tutorial_folder, monkeypatch, option):
    monkeypatch.chdir(tutorial_folder)
    (command,) = (c for c in list_commands(PAGE, "trainer") if option in c)
    quick = ["--epochs", "1", "--skip-baselines", "--name", f"recorded{option}"]
    done = CliRunner().invoke(main, [*command.split()[1:], *quick])
    assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_training_page_check_finds_the_faults_shown(tutorial_folder, monkeypatch):
    monkeypatch.chdir(tutorial_folder)
    (line,) = re.findall(r"^trainer (check .*?) +# an example: (.*)$", PAGE, re.MULTILINE)
    done = CliRunner().invoke(main, line[0].split())
    assert done.exit_code == 1
    for fault in line[1].split(", "):
        assert fault in done.stdout
