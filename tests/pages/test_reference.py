"""The generated reference pages say what the commands and the packages say."""

import ast
import itertools
import re
from importlib import import_module

import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt

import serving.cli
import trainer.cli
from docs.reference.__main__ import find_differences, main, render_pages, write_pages
from docs.reference.command_pages import split_paragraphs
from docs.reference.markdown import to_cell, to_markdown
from tests.pages.markdown import ROOT, list_blocks

PROGRAMS = {"trainer": trainer.cli.main, "serving": serving.cli.main}
PAGES = [ROOT / "docs/cli.md", ROOT / "docs/api.md", *sorted((ROOT / "docs/cli").glob("*.md"))]


def read_help(program, *command):
    done = CliRunner().invoke(PROGRAMS[program], [*command, "--help"], terminal_width=2000)
    assert done.exit_code == 0, done.output
    return done.stdout


def list_commands():
    for program in PROGRAMS:
        text = read_help(program).split("Commands:\n")[1]
        for name in re.findall(r"^  (\w+)", text, re.MULTILINE):
            yield program, name


COMMANDS = list(list_commands())


def read_options(text):
    """Return (sentence, default, variable) of each option of a help text, by its flags."""
    options = {}
    for entry in re.findall(r"^  (-.*(?:\n {10,}.*)*)", text, re.MULTILINE):
        flags, help_text = re.split(r"\s{2,}", entry.strip(), maxsplit=1)
        notes = {"default": "", "env": ""}
        while found := re.search(
            r"\s*\[((?:default\b|env: |required|\S*[<>])[^][]*)\]$", help_text
        ):
            help_text = help_text[: found.start()]
            for note in re.split(r"; (?=\S*[<>]=?\S*$)", found[1]):  # the second is a range
                key, _, value = note.partition(": ")
                key, comma, condition = key.partition(",")
                if key in notes:
                    notes[key] = f"{value}{comma}{condition}"
                elif key == "required":
                    notes["default"] = key
        names = tuple(re.findall(r"(?<![\w-])--?[a-z][\w-]*", flags))
        options[names] = (help_text.replace("`", ""), notes["default"], notes["env"])
    return options


def to_text(token):
    """Return what a browser shows of a paragraph or a cell."""
    kinds = {child.type for child in token.children}
    assert kinds <= {"text", "code_inline", "link_open", "link_close", "strong_open"} | {
        "strong_close",
        "softbreak",
    }, (kinds, token.content)
    return "".join(" " if child.type == "softbreak" else child.content for child in token.children)


def render(path):
    """Return the paragraphs of a page, and the rows of its tables, as a browser shows them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text())
    paragraphs, rows = [], []
    for before, token in itertools.pairwise(tokens):
        if before.type == "tr_open":
            rows.append([])
        if token.type == "inline" and before.type == "td_open":
            rows[-1].append(to_text(token))
        elif token.type == "inline" and before.type == "paragraph_open":
            paragraphs.append(to_text(token))
    return paragraphs, [row for row in rows if row]


def test_reference_pages_equal_the_code():
    assert find_differences(ROOT, render_pages()) == []
    assert CliRunner().invoke(main, ["--check"]).exit_code == 0


def test_reference_each_command_of_help_has_a_page_and_a_link():
    overview = (ROOT / "docs/cli.md").read_text()
    assert len(COMMANDS) == 13
    for program, name in COMMANDS:
        assert f"[{program} {name}](cli/{program}-{name}.md)" in overview
    pages = {path.stem for path in (ROOT / "docs/cli").iterdir()}
    assert pages == {"-".join(command) for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_reference_page_shows_each_option_as_help_does(command):
    shown = read_options(read_help(*command))
    assert ("-h", "--help") in shown
    _, rows = render(ROOT / f"docs/cli/{'-'.join(command)}.md")
    on_page = {}
    for row in rows:
        if row[0].startswith("-"):
            variable = row[4] if len(row) == 5 else ""
            on_page[tuple(row[0].split(", "))] = (row[2], row[3].removeprefix("off"), variable)
    on_page = {flags: tuple(map(str.strip, row)) for flags, row in on_page.items()}
    assert on_page == shown


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_reference_page_shows_the_docstring_and_the_synopsis(command):
    page = ROOT / f"docs/cli/{'-'.join(command)}.md"
    text = read_help(*command)
    usage = re.search(r"^Usage: \S+ (.*)$", text, re.MULTILINE)[1]
    assert f"\n```\n{command[0]} {usage}\n```\n" in page.read_text()
    paragraphs, _ = render(page)
    paragraphs += "\n".join(list_blocks(page.read_text(), "")).splitlines()
    shown = re.findall(r"^  ((?: {1,4}\d|[^ -]).*)$", text, re.MULTILINE)
    assert len(shown) >= 1
    for line in shown:
        assert line.rstrip().replace("`", "") in paragraphs


def test_reference_api_page_has_each_name_of_nn():
    names = {
        name.name
        for statement in ast.parse((ROOT / "trainer/nn/__init__.py").read_text()).body
        if isinstance(statement, ast.ImportFrom)
        for name in statement.names
    }
    assert len(names) > 60
    assert names <= {name for package, name in list_names() if package == "trainer.nn"}


def list_names():
    """Return the names on docs/api.md, each with its package."""
    sections = re.split(r"^## `([\w.]+)`$", (ROOT / "docs/api.md").read_text(), flags=re.MULTILINE)
    for package, section in zip(sections[1::2], sections[2::2], strict=True):
        for name in re.findall(r"^\| `(\w+)", section, re.MULTILINE):
            yield package, name


def test_reference_api_page_names_can_be_imported():
    names = list(list_names())
    some = {"fit", "History", "Dense", "EarlyStopping", "Callback", "Diagnostics", "create_app"}
    assert some <= {name for _, name in names}
    assert len({name for _, name in names}) == len(names)
    for package, name in names:
        assert hasattr(import_module(package), name), (package, name)
        assert name in import_module(package).__all__


def test_reference_api_page_has_each_name_that_pages_import():
    listed = set(list_names())
    found = set()
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for package, names in re.findall(
            r"^from ((?:trainer|serving)[\w.]*) import ([\w, ]+)$", page.read_text(), re.MULTILINE
        ):
            if page.stem != "api":
                found |= {(package, name) for name in names.split(", ")}
    assert len(found) > 8
    assert found <= listed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_reference_page_text_is_not_read_as_html_or_emphasis(page):
    render(page)


def test_check_pages_differ_names_each_fault(tmp_path):
    pages = {"docs/cli.md": "overview\n", "docs/cli/trainer-fit.md": "fit\n", "docs/api.md": "x\n"}
    write_pages(tmp_path, pages)
    assert find_differences(tmp_path, pages) == []
    (tmp_path / "docs/cli/trainer-gone.md").write_text("a command of yesterday\n")
    (tmp_path / "docs/cli.md").write_text("edited\n")
    (tmp_path / "docs/api.md").unlink()
    assert find_differences(tmp_path, pages) == [
        "docs/cli.md differs from the code",
        "docs/api.md is missing",
        "docs/cli/trainer-gone.md has no command",
    ]
    write_pages(tmp_path, pages)
    assert find_differences(tmp_path, pages) == []
    assert not (tmp_path / "docs/cli/trainer-gone.md").exists()


def test_markdown_special_characters_are_escaped():
    assert to_cell("a | b\n c") == r"a \| b c"
    assert to_cell("`x|y` <na> * all") == r"`x\|y` \<na> \* all"
    assert to_markdown("set --keep-alive, not x--y") == "set `--keep-alive`, not x--y"
    assert to_markdown("`--keep` robust_clip _x A_ b") == r"`--keep` robust_clip \_x A\_ b"


def test_paragraphs_that_click_does_not_wrap_are_blocks_of_code():
    docstring = """Do it.

    Some *text* that
    is wrapped.

    \b
    Exit status:
      0  done
    """
    assert split_paragraphs(docstring) == [
        "Do it.",
        r"Some \*text\* that is wrapped.",
        "```\nExit status:\n  0  done\n```",
    ]
