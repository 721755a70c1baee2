"""Write docs/cli.md, docs/cli/ and docs/api.md from the commands and the docstrings.

    python -m docs.reference [--check]

With `--check` nothing is written. The exit status is then 1 if a page differs from the code, is
missing, or belongs to a command that no longer exists.
"""

from __future__ import annotations

from pathlib import Path

import click
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from docs.reference.command_pages import FOLDER, render_command_pages
from docs.reference.names_page import ROOT, render_names_page


def render_pages() -> dict[str, str]:
    """Return the texts of all generated pages, by path from the root of the repository."""
    environment = Environment(  # noqa: S701 - the pages are Markdown, not HTML
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return render_command_pages(environment) | render_names_page(environment)


def find_stale_pages(root: Path, pages: dict[str, str]) -> list[str]:
    """Return the paths of the pages in docs/cli/ that are not generated any more."""
    present = {path.relative_to(root).as_posix() for path in (root / FOLDER).glob("*.md")}
    return sorted(present - pages.keys())


def find_differences(root: Path, pages: dict[str, str]) -> list[str]:
    """Return what is wrong with the pages in a folder, one sentence each."""
    faults = []
    for path, text in pages.items():
        file = root / path
        if not file.exists():
            faults.append(f"{path} is missing")
        elif file.read_text(encoding="utf-8") != text:
            faults.append(f"{path} differs from the code")
    return [*faults, *(f"{path} has no command" for path in find_stale_pages(root, pages))]


def write_pages(root: Path, pages: dict[str, str]) -> None:
    """Write the pages, and remove those of commands that no longer exist."""
    for path, text in pages.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for path in find_stale_pages(root, pages):
        (root / path).unlink()


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if a page differs from the code")
def main(check: bool) -> None:
    """Write docs/cli.md, docs/cli/ and docs/api.md from the commands and the docstrings."""
    pages = render_pages()
    if not check:
        write_pages(ROOT, pages)
    elif faults := find_differences(ROOT, pages):
        raise click.ClickException(f"{'; '.join(faults)}; run: make reference")


if __name__ == "__main__":
    main()
