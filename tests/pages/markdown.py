"""Reading the pages: README.md, CONTRIBUTING.md, SECURITY.md and docs/."""

import functools
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted(DOCS.rglob("*.md")),
]


def get_name(page):
    """Return the path of a page in the repository, as a name of a test case."""
    return str(page.relative_to(ROOT))


@functools.cache
def read_page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def list_blocks(text, language):
    """Return the contents of the fenced blocks in a language, indented ones included."""
    blocks = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE)
    return [
        re.sub(rf"^{indent}", "", content, flags=re.MULTILINE)
        for indent, name, content in blocks
        if name == language
    ]


def remove_blocks(text):
    """Return a page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def list_commands(text, *programs):
    """Return the lines of the bash blocks that start with one of the programs, without comments."""
    lines = "".join(list_blocks(text, "bash")).replace("\\\n", " ").splitlines()
    commands = [part.strip() for line in lines for part in re.split(r"&&|\s#", line)[:2]]
    return [command for command in commands if command.split()[:1] in [[p] for p in programs]]
