"""Options: every choice of a run as a flag or as a line of a TOML file."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from trainer.config import Config
from trainer.data.sources import BUILT_IN, SUFFIXES
from trainer.option_errors import describe_unknown_key, list_option_errors, to_option_name

F = TypeVar("F", bound=Callable[..., Any])

SOURCES = f"Built in: {', '.join(BUILT_IN)}. Files: {', '.join(SUFFIXES)}."


def config_options(*, without: Collection[str] = ()) -> Callable[[F], F]:
    """The argument DATA, an option for each choice of `Config`, and `--config`."""

    def decorate(command: F) -> F:
        command = click.option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="a TOML file of these options; those on the command line win",
        )(command)
        for name, field in reversed(Config.model_fields.items()):
            if name not in ("data", *without):
                command = option(name, field)(command)
        return click.argument("data", required=False)(command)

    return decorate


class NewFile(click.Path):
    """A file to write to, in a folder that exists: said before the work, not after it."""

    name = "file"

    def __init__(self, *endings: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises:
            click.BadParameter: If the folder is missing, or the ending is none of `endings`.
        """
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"expected a file in a folder that exists; got {path}; make the folder")
        if self.endings and path.suffix.lower() not in self.endings:
            self.fail(f"expected a file ending in {', '.join(self.endings)}; got {path}")
        return path


def option(name: str, field: FieldInfo) -> Callable[[F], F]:
    """The option for a choice; left out, it is None, and the choice's own default counts."""
    flag = f"--{name.replace('_', '-')}"
    if field.annotation in (bool, bool | None):
        flags = flag if field.default is False else f"{flag}/--no-{flag[2:]}"
        return click.option(flags, is_flag=True, default=None, help=field.description)
    default = "" if field.default in (None, ()) else f"  [default: {_shown(field.default)}]"
    if get_origin(field.annotation) is tuple:
        return click.option(
            flag,
            metavar=name.upper(),
            multiple=True,
            callback=_all_of if name != "date_format" else _each,
            help=f"{field.description}{default}",
        )
    words = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    described = f"{field.description}{': ' if words else ''}{', '.join(words)}"
    return click.option(flag, metavar=name.upper(), help=f"{described}{default}")


def _all_of(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Return the entries of a list option that was given several times, None for never."""
    return ",".join(values) if values else None


def _each(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> list[str] | None:
    """Return the values of an option that may be given several times, None for never."""
    return list(values) or None


def as_written(*names: str) -> Callable[[F], F]:
    """Those choices of how a file is written as options of a command that takes no others."""

    def decorate(command: F) -> F:
        for name in reversed(names):
            field = Config.model_fields[name]
            text = re.sub(r" \[.*\]$", "", field.description or "")
            help_text = f"{text}  [default: as in training]"
            command = click.option(f"--{name}", metavar=name.upper(), help=help_text)(command)
        return command

    return decorate


def validate_options(options: dict[str, str | None]) -> dict[str, Any]:
    """Options of `as_written`, checked.

    Raises:
        click.UsageError: If one is none of its choices.
    """
    try:
        config = Config.model_validate({"data": "-", **options})
    except ValidationError as error:
        raise click.UsageError(list_option_errors(error, Config)) from error
    return {name: getattr(config, name) for name in options}


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def configure(file: Path | None, options: dict[str, str | None]) -> Config:
    """The choices of a command line and its file, checked.

    Raises:
        click.UsageError: If an option is refused; the message names it.
    """
    chosen: dict[str, Any] = {}
    if file is not None:
        try:
            chosen = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{file}: expected a TOML file; {error}") from error
    keys = {name.replace("-", "_"): name for name in chosen}
    for name, key in keys.items():
        if name not in Config.model_fields:
            raise click.UsageError(
                f"{file}: {describe_unknown_key(key, list(Config.model_fields))}"
            )
    chosen = {name: chosen[key] for name, key in keys.items()}
    typed = {name: value for name, value in options.items() if value is not None}
    chosen |= typed
    if "data" not in chosen:
        raise click.UsageError("expected DATA, a built-in name or a file; got none")
    try:
        return Config.model_validate(chosen)
    except ValidationError as error:

        def said(name: str) -> str:
            written_in_file = name in keys and name not in typed
            return f"{file}: {keys[name]}" if written_in_file else to_option_name(name)

        raise click.UsageError(
            list_option_errors(error, Config, said if keys else to_option_name)
        ) from error
