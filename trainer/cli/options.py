"""The options of a run on the command line and in a TOML file."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import click
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from trainer.cli.grouped_help import grouped_option
from trainer.config import Config
from trainer.data.sources import BUILT_IN, SUFFIXES
from trainer.fit_options import (
    DataOptions,
    EvaluationOptions,
    NetworkOptions,
    OutputOptions,
    PreprocessingOptions,
    TrainingOptions,
)
from trainer.option_errors import describe_unknown_key, list_option_errors, to_option_name

F = TypeVar("F", bound=Callable[..., Any])

SOURCES = f"Built-in data sets: {', '.join(BUILT_IN)}. Files: {', '.join(SUFFIXES)}."
OUTPUT = "Output"
TRAINING = "Training"
GROUPS: dict[str, type[BaseModel]] = {
    "Data": DataOptions,
    "Preprocessing": PreprocessingOptions,
    "Network": NetworkOptions,
    TRAINING: TrainingOptions,
    "Evaluation": EvaluationOptions,
    OUTPUT: OutputOptions,
}
# What the help shows for the value of an option, unless its type says it.
METAVARS = {
    "target": "COLUMN",
    "group": "COLUMN",
    "time": "COLUMN",
    "date_format": "FORMATS",
    "hidden": "INTEGERS",
    "activation": "NAMES",
    "names": "NAMES",
    "missing": "TEXTS",
    "delimiter": "CHARACTER",
    "decimal": "CHARACTER",
    "positive": "CLASS",
    "aim": "METRIC",
    "prune": "SHARE",
}
VALUE_METAVARS = {int: "INTEGER", float: "NUMBER", Path: "FOLDER"}


def config_options(*, without: Collection[str] = ()) -> Callable[[F], F]:
    """Return the decorator that adds the argument DATA, the options of a run and `--config`.

    Args:
        without: Names of options to leave out.
    """

    def decorate(command: F) -> F:
        command = click.option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="TOML file with these options; those on the command line take precedence",
        )(command)
        for group, options in reversed(GROUPS.items()):
            for name, field in reversed(options.model_fields.items()):
                if name not in ("data", *without):
                    command = field_option(name, field, group)(command)
        return click.argument("data", required=False)(command)

    return decorate


class NewFile(click.Path):
    """A file to write. That its folder exists is checked before the command's work, not after it.

    Args:
        suffixes: Suffixes that the file may have; none if it may have any.
    """

    name = "file"

    def __init__(self, *suffixes: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path.

        Raises:
            click.BadParameter: If its folder does not exist, or it has another suffix.
        """
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"expected a file in a folder that exists; got {path}; create the folder")
        if self.suffixes and path.suffix.lower() not in self.suffixes:
            self.fail(f"expected a file ending in {', '.join(self.suffixes)}; got {path}")
        return path


def field_option(name: str, field: FieldInfo, group: str) -> Callable[[F], F]:
    """Return the decorator that adds an option for a field of a pydantic model.

    The option is None if it is not given, so that the field's own default applies.

    Args:
        name: Name of the field.
        field: The field, whose description is the option's help.
        group: Heading of the option's group in the help.
    """
    flag = f"--{name.replace('_', '-')}"
    help_text = format_description(field)
    if field.annotation in (bool, bool | None):
        is_off = field.default is False
        flags = flag if is_off else f"{flag}/--no-{flag[2:]}"
        return grouped_option(flags, group=group, is_flag=True, default=None, help=help_text)
    attributes: dict[str, Any] = {}
    if get_origin(field.annotation) is tuple:
        join = _list_values if name == "date_format" else _join_values
        attributes = {"multiple": True, "callback": join}
    metavar = METAVARS.get(name) or _get_metavar(field.annotation)
    return grouped_option(flag, group=group, metavar=metavar, help=help_text, **attributes)


def format_description(field: FieldInfo) -> str:
    """Return the help of a field's option: its description, and its default in brackets."""
    text, default = split_default(field)
    if field.default is True:
        default = "on"
    elif field.default is not False and field.default not in (None, ()):
        values = field.default if isinstance(field.default, tuple) else [field.default]
        default = ",".join(map(str, values))
    return f"{text[:1].upper()}{text[1:]}{f' [default: {default}]' if default else ''}"


def split_default(field: FieldInfo) -> tuple[str, str]:
    """Return a field's description without and with only the default in brackets at its end."""
    description = " ".join((field.description or "").split())
    match = re.fullmatch(r"(.*) \[([^]]*)\]", description)
    return (match[1], match[2]) if match else (description, "")


def _get_metavar(annotation: Any) -> str:
    if get_origin(annotation) is tuple:
        return "COLUMNS"
    for member in (annotation, *get_args(annotation)):  # an option is a type, or a union with None
        member_type = get_args(member)[0] if get_origin(member) is Annotated else member
        if member_type in VALUE_METAVARS:
            return VALUE_METAVARS[member_type]
    return "NAME"


def _join_values(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Return the values of a list option that was given several times as one list."""
    return ",".join(values) if values else None


def _list_values(
    _: click.Context, __: click.Parameter, values: tuple[str, ...]
) -> list[str] | None:
    """Return the values of an option that was given several times, which may have commas."""
    return list(values) or None


def file_format_options(*names: str, group: str) -> Callable[[F], F]:
    """Return the decorator that adds options for a CSV file to a command without `Config`.

    Args:
        names: Names of fields of `Config`.
        group: Heading of the options' group in the help.
    """

    def decorate(command: F) -> F:
        for name in reversed(names):
            text, _ = split_default(Config.model_fields[name])
            command = grouped_option(
                f"--{name}",
                group=group,
                metavar=METAVARS.get(name, "NAME"),
                help=f"{text} [default: as in training]",
            )(command)
        return command

    return decorate


def validate_options(options: dict[str, str | None]) -> dict[str, Any]:
    """Validate options that `file_format_options` added, and return their values.

    Raises:
        click.UsageError: If one is invalid.
    """
    try:
        config = Config.model_validate({"data": "-", **options})
    except ValidationError as error:
        raise click.UsageError(list_option_errors(error, Config)) from error
    return {name: getattr(config, name) for name in options}


def configure(file: Path | None, options: dict[str, str | None]) -> Config:
    """Return the options of a run from a command line and a TOML file.

    Args:
        file: The TOML file, or None.
        options: Options of the command line, None for those that were not given. The others take
            precedence over the file.

    Raises:
        click.UsageError: If an option is invalid; the message names it as the user wrote it.
    """
    content = {} if file is None else _read_toml(file)
    keys = {key.replace("-", "_"): key for key in content}
    for name, key in keys.items():
        if name not in Config.model_fields:
            raise click.UsageError(
                f"{file}: {describe_unknown_key(key, list(Config.model_fields))}"
            )
    from_file = {name: content[key] for name, key in keys.items()}
    from_command_line = {name: value for name, value in options.items() if value is not None}
    merged = from_file | from_command_line
    if "data" not in merged:
        raise click.UsageError("expected DATA, a built-in name or a file; got none")
    try:
        return Config.model_validate(merged)
    except ValidationError as error:

        def format_name(name: str) -> str:
            is_from_file = name in keys and name not in from_command_line
            return f"{file}: {keys[name]}" if is_from_file else to_option_name(name)

        raise click.UsageError(
            list_option_errors(error, Config, format_name if keys else to_option_name)
        ) from error


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file}: expected a TOML file; {error}") from error
