"""The help of each command: each option is in one group, and has a description and a default."""

import re
from typing import Literal, get_args, get_origin

import click
import pytest
from click.testing import CliRunner

from trainer.cli import main
from trainer.cli.compress import GROUPS as COMPRESSION_GROUPS
from trainer.cli.grouped_help import GENERAL, GroupedOption
from trainer.cli.options import GROUPS
from trainer.compress.compression_config import CompressionConfig
from trainer.config import Config
from trainer.fit_options import REGRESSION_LOSSES
from trainer.nn import ACTIVATIONS, INITIALIZERS, OPTIMIZERS, SCHEDULES
from trainer.search.grid_file import SearchPlan

GROUPED_COMMANDS = ["fit", "search", "check", "compress", "score"]
CHOICES = {
    "activation": ACTIVATIONS,
    "initializer": INITIALIZERS,
    "loss": REGRESSION_LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}


def read_help(command):
    done = CliRunner().invoke(main, [command, "--help"])
    assert done.exit_code == 0, done.output
    return done.stdout


def read_sections(command):
    """Return the help of each option by its flag, by the headings of a command's help."""
    sections = {}
    for heading, body in re.findall(r"^(\w[\w ]*):\n((?:  .*\n)+)", read_help(command), re.M):
        entries = re.split(r"^  (?=-)", body, flags=re.M)[1:]
        texts = [" ".join(entry.split()) for entry in entries]
        flags = [re.search(r"--[\w-]+", text)[0] for text in texts]
        sections[heading] = dict(zip(flags, texts, strict=True))
    return sections


def read_entries(command):
    """Return the help of each option of a command by its flag."""
    return {flag: text for texts in read_sections(command).values() for flag, text in texts.items()}


def to_flag(name):
    return f"--{name.replace('_', '-')}"


def test_config_each_option_is_in_one_group():
    names = [name for options in GROUPS.values() for name in options.model_fields]
    assert sorted(names) == sorted(Config.model_fields)
    assert sorted(COMPRESSION_GROUPS) == sorted(CompressionConfig.model_fields)


@pytest.mark.parametrize("command", GROUPED_COMMANDS)
def test_help_each_option_is_in_one_section(command):
    sections = read_sections(command)
    options = [p for p in main.commands[command].params if isinstance(p, click.Option)]
    flags = [flag for entries in sections.values() for flag in entries]
    assert sorted(flags) == sorted([*(option.opts[-1] for option in options), "--help"])
    for option in options:
        group = option.group if isinstance(option, GroupedOption) else GENERAL
        assert option.opts[-1] in sections[group]
    assert list(sections)[-1] == GENERAL


@pytest.mark.parametrize("command", ["fit", "search", "check"])
def test_help_each_config_option_is_in_the_section_of_its_group(command):
    sections = read_sections(command)
    for group, options in GROUPS.items():
        for name in options.model_fields.keys() - {"data"}:
            if command != "check" or name not in ("name", "models", "runs"):
                assert to_flag(name) in sections[group], name


@pytest.mark.parametrize(
    ("command", "model"),
    [("fit", Config), ("compress", CompressionConfig)],
    ids=["fit", "compress"],
)
def test_help_each_option_with_a_default_shows_it(command, model):
    texts = read_entries(command)
    for name, field in model.model_fields.items():
        if name == "data":
            continue
        assert len(field.description) > 10, name
        text = texts[to_flag(name)]
        if field.default is False:  # a flag that is off
            assert "[default: " not in text, text
        elif field.default in (None, ()):
            assert re.search(r" \[default: [^]]+\]$", text), text
        else:
            assert text.endswith(f" [default: {format_default(field.default)}]"), text


def format_default(value):
    if value is True:
        return "on"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_help_each_choice_of_an_option_is_named():
    texts = read_entries("fit")
    for name, field in Config.model_fields.items():
        literals = [
            each
            for each in (field.annotation, *get_args(field.annotation))
            if get_origin(each) is Literal
        ]
        for choice in CHOICES.get(name, get_args(literals[0]) if literals else ()):
            assert re.search(rf"\b{choice}\b", texts[to_flag(name)]), (name, choice)


def test_help_of_search_names_the_keys_of_its_table():
    text = " ".join(read_help("search").split())
    keys = text[text.index("Keys of [search]:") :]
    for name in SearchPlan.model_fields:
        assert f"{name} (" in keys
