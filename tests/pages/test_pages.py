"""All pages: their size, links, commands and programs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

import serving.cli
import trainer.cli
from tests.pages.markdown import (
    DOCS,
    PAGES,
    ROOT,
    get_name,
    list_blocks,
    list_commands,
    remove_blocks,
)
from trainer.cli.options import configure
from trainer.config import Config

MAX_LINES = 300
MAX_NUMBERS = 10
PROGRAMS = {"trainer": trainer.cli.main, "serving": serving.cli.main}


@pytest.fixture(params=PAGES, ids=get_name)
def page(request):
    return request.param


def list_paragraphs(text):
    """Return the paragraphs and list items of a page: what is neither code, table nor heading."""
    prose = re.sub(r"^ *(\||#|<!--).*$", "", remove_blocks(text), flags=re.MULTILINE)
    return re.split(r"\n\s*\n|\n *(?:-|\d+\.) ", prose)


def test_page_has_at_most_300_lines(page):
    assert len(page.read_text().splitlines()) <= MAX_LINES


def test_page_paragraphs_have_at_most_ten_numbers(page):
    for paragraph in list_paragraphs(page.read_text()):
        outside_code = re.sub(r"`[^`]*`|\]\([^)]*\)", "", paragraph)
        numbers = re.findall(r"(?<![\w-])\d[\d,.]*", outside_code)
        assert len(numbers) <= MAX_NUMBERS, paragraph


def test_page_begins_with_a_title_and_a_sentence(page):
    lines = page.read_text().splitlines()
    if lines[0].startswith("<!-- "):  # says how the page was written
        del lines[0]
    title, blank, first = lines[:3]
    assert title.startswith("# ")
    assert blank == ""
    assert re.match(r"[\w`*]", first)


def test_page_links_have_targets(page):
    text = remove_blocks(page.read_text())
    for file, anchor in re.findall(r"\]\(([\w./-]*)(?:#([^)\s]+))?\)", text):
        target = (page.parent / file) if file else page
        assert target.exists(), file
        if anchor:
            headings = re.findall(r"^#+ (.*)$", remove_blocks(target.read_text()), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in anchors, f"{file}#{anchor}"


def test_every_page_is_linked_from_another_page():
    linked = {
        (page.parent / file).resolve()
        for page in PAGES
        for file in re.findall(r"\]\(([\w./-]+\.md)", page.read_text())
    }
    unlinked = [get_name(page) for page in DOCS.rglob("*.md") if page not in linked]
    assert unlinked in ([], ["docs/package.md"])  # which is read on a package index


def resolve_command(words):
    """Return the click command that a line runs, its name and its arguments."""
    command, names = PROGRAMS[words[0]], [words[0]]
    arguments = words[1:]
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        command = command.get_command(click.Context(command), name)
        assert command is not None, name
        names.append(name)
    return command, " ".join(names), arguments


def test_page_commands_are_valid(page, tmp_path, monkeypatch):
    """Every option exists, and the options of `fit` have values that it accepts."""
    for line in list_commands(page.read_text(), "trainer", "serving"):
        words = shlex.split(line)
        command, name, arguments = resolve_command(words)
        for word in words:  # The files that a command expects to exist.
            if re.fullmatch(r"[\w./-]+\.\w+", word) and not Path(word).is_absolute():
                (tmp_path / word).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / word).touch()
        monkeypatch.chdir(tmp_path)
        if not arguments or ">>" in arguments:
            continue
        with command.make_context(name, arguments) as context:
            config_options = {k: v for k, v in context.params.items() if k in Config.model_fields}
            if name == "trainer fit" and context.params.get("data"):
                configure(None, config_options)


def test_page_make_targets_exist(page):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"`make ([a-z-]+)", page.read_text())
    named += [line.split()[1] for line in list_commands(page.read_text(), "make")]
    assert set(named) <= {*targets, "bench-"}


PROGRAMS_OF_PAGES = [
    pytest.param(code, id=f"{get_name(page)}-{number}")
    for page in PAGES
    for number, code in enumerate(list_blocks(page.read_text(), "python"))
    if re.search(r"^print\(.*# [\d.]+$", code, re.MULTILINE)
]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("code", PROGRAMS_OF_PAGES)
def test_page_programs_print_what_is_shown(code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
    )
    shown = float(re.search(r"# ([\d.]+)$", code.strip())[1])
    assert np.isclose(float(done.stdout.split()[-1]), shown, atol=0.005)
