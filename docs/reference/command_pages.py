"""The pages of the commands: docs/cli.md, and a page for each command in docs/cli/."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

import click
from jinja2 import Environment

import serving.cli
import trainer.cli
from docs.reference.markdown import to_cell, to_code, to_markdown

PROGRAMS = {"trainer": trainer.cli.main, "serving": serving.cli.main}
FOLDER, OVERVIEW = "docs/cli", "docs/cli.md"
# Notes at the end of a help text, such as "[default: 5]  [env: FORWARDPASS_KEEP]", or with a
# condition, "[default, without --rate: 16]".
NOTES = re.compile(r"(?:\s*\[(?:default|env)[^]:]*: [^]]*\])+$")
UNWRAPPED = "\b\n"  # first line of a paragraph that click does not wrap
SAYS_REPEATABLE = re.compile(r"repeatable|several times")
NOTE = re.compile(r"\[(default|env)([^]:]*): ([^]]*)\]")


@dataclass(frozen=True)
class OptionRow:
    """A row of a table of options. All cells are Markdown.

    Attributes:
        flags: Flags of the option.
        value: Choices, or the kind of the value and its range; empty for a flag.
        help: Description of what the option sets.
        default: Default, or "required".
        variable: Environment variable with the value; empty if there is none.
    """

    flags: str
    value: str
    help: str
    default: str
    variable: str


@dataclass(frozen=True)
class ArgumentRow:
    """A row of the table of arguments. All cells are Markdown.

    Attributes:
        name: Name in the synopsis.
        value: Choices, or the kind of the value.
        required: Whether the argument is required, "yes" or "no".
    """

    name: str
    value: str
    required: str


@dataclass(frozen=True)
class CommandPage:
    """The content of a command's page.

    Attributes:
        name: Program and command, such as `trainer fit`.
        path: Path of the page, from the root of the repository.
        summary: First paragraph of the help, in Markdown like the others.
        paragraphs: Further paragraphs of the help.
        notes: Paragraphs after the arguments, such as the possible values of one.
        synopsis: Line that shows how the command is called.
        arguments: Rows of the arguments.
        groups: Rows of the options, by the heading of their group. The heading is empty if the
            command has no groups.
    """

    name: str
    path: str
    summary: str
    paragraphs: list[str]
    notes: list[str]
    synopsis: str
    arguments: list[ArgumentRow]
    groups: dict[str, list[OptionRow]]


def render_command_pages(environment: Environment) -> dict[str, str]:
    """Return the texts of docs/cli.md and of the commands' pages, by path."""
    overview, pages = [], {}
    for program, main in PROGRAMS.items():
        context = click.Context(main, info_name=program, **main.context_settings)
        commands = list(_describe_commands(main, context))
        summary, *paragraphs = split_paragraphs(main.help)
        options = [_describe_option(each, context) for each in _list_options(main, context)]
        overview.append((program, summary, paragraphs, options, commands))
        for command in commands:
            template = environment.get_template("command.md.j2")
            pages[command.path] = template.render(command=command)
    return {OVERVIEW: environment.get_template("cli.md.j2").render(programs=overview), **pages}


def _describe_commands(main: click.Group, parent: click.Context) -> Iterator[CommandPage]:
    for name in main.list_commands(parent):
        command = main.get_command(parent, name)
        if command is None:
            raise LookupError(f"expected the command {name}, which its program lists; got none")
        context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
        groups: dict[str, list[OptionRow]] = {}
        for option in _list_options(command, context):
            heading = getattr(option, "group", "")
            groups.setdefault(heading, []).append(_describe_option(option, context))
        if len(groups) > 1 and "" in groups:  # as in the help, options without a group come last
            groups["General"] = groups.pop("")
        summary, *paragraphs = split_paragraphs(command.help)
        yield CommandPage(
            name=context.command_path,
            path=f"{FOLDER}/{context.command_path.replace(' ', '-')}.md",
            summary=summary,
            paragraphs=paragraphs,
            notes=split_paragraphs(command.epilog),
            synopsis=" ".join([context.command_path, *command.collect_usage_pieces(context)]),
            arguments=[
                _describe_argument(each)
                for each in command.get_params(context)
                if isinstance(each, click.Argument)
            ],
            groups=groups,
        )


def split_paragraphs(text: str | None) -> list[str]:
    """Return the paragraphs of a help text in Markdown.

    Each is on one line, but for those that click does not wrap: they become blocks of code.
    """
    paragraphs = [each for each in inspect.cleandoc(text or "").split("\n\n") if each.strip()]
    return [
        f"```\n{each.removeprefix(UNWRAPPED).rstrip()}\n```"
        if each.startswith(UNWRAPPED)
        else to_markdown(" ".join(each.split()))
        for each in paragraphs
    ]


def _list_options(command: click.Command, context: click.Context) -> list[click.Option]:
    parameters = command.get_params(context)
    return [each for each in parameters if isinstance(each, click.Option) and not each.hidden]


def _describe_option(option: click.Option, context: click.Context) -> OptionRow:
    """Return the row of an option. Notes in its help take precedence over what click knows."""
    extra = option.get_help_extra(context)
    found = NOTE.findall(" ".join(NOTES.findall(option.help or "")))
    notes = {key: f"{value}{condition}" for key, condition, value in found}
    default = notes.get("default") or extra.get("default", "")
    if option.required:
        default = "required"
    elif option.is_flag and not option.is_eager and not default:
        default = "off"
    variable = notes.get("env") or option.envvar or ""
    flags = [*option.opts, *option.secondary_opts]
    return OptionRow(
        flags=", ".join(map(to_code, flags)),
        value="" if option.is_flag else _describe_value(option, context),
        help=to_cell(NOTES.sub("", option.help or "")),
        default=to_cell(default),
        variable=to_code(str(variable)) if variable else "",
    )


def _describe_value(option: click.Option, context: click.Context) -> str:
    kind = option.type
    text = _describe_type(kind)
    if not isinstance(kind, click.Choice):
        metavar = option.metavar or kind.get_metavar(option, context) or kind.name.upper()
        limits = _describe_range(kind)
        text = f"{to_cell(metavar.removesuffix(' RANGE'))}{f', {limits}' if limits else ''}"
    return (
        f"{text}, repeatable"
        if option.multiple and not SAYS_REPEATABLE.search(option.help or "")
        else text
    )


def _describe_argument(argument: click.Argument) -> ArgumentRow:
    name = (argument.metavar or argument.name or "").upper()
    is_required = argument.required and argument.nargs != -1
    return ArgumentRow(to_code(name), _describe_type(argument.type), "yes" if is_required else "no")


def _describe_type(kind: click.ParamType) -> str:
    """Return the choices of a type, or what it accepts."""
    if isinstance(kind, click.Choice):
        return ", ".join(to_code(str(choice)) for choice in kind.choices)
    if isinstance(kind, click.Path):
        return "file that exists" if kind.exists else "path"
    limits = _describe_range(kind)
    return f"{kind.name.removesuffix(' range')}{f', {limits}' if limits else ''}"


def _describe_range(kind: click.ParamType) -> str:
    """Return the range of a number in words; empty if there is none."""
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return ""
    if None not in (kind.min, kind.max) and not (kind.min_open or kind.max_open):
        return f"{kind.min} to {kind.max}"
    lowest = "" if kind.min is None else f"{'above' if kind.min_open else 'at least'} {kind.min}"
    highest = "" if kind.max is None else f"{'below' if kind.max_open else 'at most'} {kind.max}"
    return " and ".join(filter(None, (lowest, highest)))
