"""Plain text as Markdown that shows the same characters on GitHub."""

from __future__ import annotations

import re

CODE_SPAN = re.compile(r"(`[^`]+`)")
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]*)")
# Characters that Markdown would read as emphasis, HTML or an escape. An underscore within a word
# is none of them, so that names such as robust_clip are found by a search of the page's source.
SPECIAL = re.compile(r"[\\*<]|(?<!\w)_|_(?!\w)|(?<=\])\(")


def to_markdown(text: str) -> str:
    """Return a text with escaped special characters. Code spans stay; options become code."""
    parts = CODE_SPAN.split(_mark_options(text))
    return "".join(
        part if CODE_SPAN.fullmatch(part) else SPECIAL.sub(r"\\\g<0>", part) for part in parts
    )


def to_cell(text: str) -> str:
    """Return a text as the content of a table's cell: Markdown in one line, with escaped pipes."""
    return to_markdown(" ".join(text.split())).replace("|", r"\|")


def to_code(text: str) -> str:
    """Return a text as a code span of a table's cell."""
    escaped = text.replace("|", r"\|")
    return f"`{escaped}`"


def _mark_options(text: str) -> str:
    """Return a text whose options outside of code spans are code spans, too."""
    return "".join(
        part if CODE_SPAN.fullmatch(part) else OPTION.sub(r"`\1`", part)
        for part in CODE_SPAN.split(text)
    )
