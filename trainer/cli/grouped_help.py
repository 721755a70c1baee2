"""Commands whose help lists the options under the headings of their groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

GENERAL = "General"


class GroupedOption(click.Option):
    """An option that belongs to a group of the help.

    Args:
        group: Heading of the group.
    """

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


def grouped_option(*flags: str, group: str, **attributes: Any) -> Callable[[F], F]:
    """Return the decorator that adds an option to a command, as `click.option` does.

    Args:
        flags: Names of the option, such as `-o` and `--output`.
        group: Heading of its group in the help.
        attributes: Other arguments of `click.option`.
    """
    return click.option(*flags, cls=GroupedOption, group=group, **attributes)


class GroupedCommand(click.Command):
    """A command whose help has a section for each group of options.

    The sections stand in the order in which their first options were declared. Options without a
    group, such as --help, are in the last section, "General".
    """

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and row is not None:
                group = parameter.group if isinstance(parameter, GroupedOption) else GENERAL
                sections.setdefault(group, []).append((row[0], row[1].replace("  [", " [")))
        for group in sorted(sections, key=lambda name: name == GENERAL):
            with formatter.section(group):
                formatter.write_dl(sections[group])
