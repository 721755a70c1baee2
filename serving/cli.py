"""The command line of the server."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from serving.settings import ENV_PREFIX, Settings

F = TypeVar("F", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Serve bundles over HTTP."""


def _knobs(command: F) -> F:
    """An option for every setting, declared once, in `Settings`."""
    for name, field in reversed(Settings.model_fields.items()):
        default = "" if field.default_factory else f"  [default: {field.default}]"
        twin = f"  [env: {ENV_PREFIX}{name.upper()}]"
        option = click.option(f"--{name.replace('_', '-')}", metavar=name.upper(),
                              help=f"{field.description}{default}{twin}")  # fmt: skip
        command = option(command)
    return command


@main.command()
@_knobs
def run(**options: str | None) -> None:
    """Serve the repository until SIGTERM or Ctrl-C."""
    chosen = {name: value for name, value in options.items() if value is not None}
    try:
        settings = Settings(**chosen)  # type: ignore[arg-type]
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}"
            for e in error.errors()
        )
        raise click.UsageError(faults) from error
    # gunicorn takes this process over; it and its workers read the settings from the environment.
    for name, value in settings.model_dump(mode="json").items():
        os.environ[f"{ENV_PREFIX}{name.upper()}"] = str(value)
    arguments = ["-m", "gunicorn", "--config", "python:serving.gunicorn_conf"]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606
