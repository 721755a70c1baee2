"""Command-line options that select some of several named things, such as contenders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import click

T = TypeVar("T")


def parse_names(choices: Mapping[str, T]) -> Callable[..., list[T]]:
    """Return a callback for an option of comma-separated names; all choices if it is left out."""

    def parse(_: click.Context, parameter: click.Parameter, value: str | None) -> list[T]:
        names = value.split(",") if value else list(choices)
        if unknown := [name for name in names if name not in choices]:
            raise click.BadParameter(
                f"expected names out of {', '.join(choices)}; got {', '.join(unknown)}; separate "
                "them by commas, without spaces",
                param=parameter,
            )
        return [choices[name] for name in names]

    return parse
