"""The types of options: how a text on the command line or in a TOML file becomes a value.

The message of each ValueError says what was expected. `trainer.option_errors` adds the option's
name and the value that was given.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from trainer.data.column_names import split_names
from trainer.data.read_options import split_date_format
from trainer.evaluate.threshold import ThresholdObjective
from trainer.nn import ACTIVATIONS


def one_of(names: Collection[str]) -> AfterValidator:
    """Return a validator that accepts only these names."""

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"expected one of {', '.join(names)}")
        return value

    return AfterValidator(check)


def _split_commas(value: object) -> object:
    """Return `64,32` or `64` as a list, and leave a list as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int) else value


def _split_column_list(value: object) -> object:
    """Return `a,b` or `"Revenue, USD",id` as a list of column names."""
    return split_names(value) if isinstance(value, str) else value


def _split_header(value: object) -> object:
    """Return the names of a file's columns as a list; a trailing comma adds no empty name."""
    return [name for name in split_names(value) if name] if isinstance(value, str) else value


def _wrap_format(value: object) -> object:
    """Return one date format as a list of one; it is not split, since a format may have commas."""
    return [value] if isinstance(value, str) else value


def _check_format(value: str) -> str:
    split_date_format(value)
    return value


def _to_class_name(value: object) -> object:
    """Return a class that a TOML file gives as 1 or true as the text `1` or `true`."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


def _check_aim(value: str) -> str:
    ThresholdObjective.parse(value)
    return value


def _parse_delimiter(value: str) -> str:
    delimiter = "\t" if value in ("tab", "\\t") else value
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        raise ValueError("expected one character such as ; or the word tab")
    return delimiter


def _check_decimal(value: str) -> str:
    if value not in (".", ","):
        raise ValueError("expected a point or a comma")
    return value


def _check_encoding(value: str) -> str:
    try:
        "a,1\n".encode(value)
    except (LookupError, ValueError) as error:
        raise ValueError("expected an encoding such as utf-8, utf-16, cp1252 or latin-1") from error
    return value


ActivationNames = Annotated[
    tuple[Annotated[str, one_of(ACTIVATIONS)], ...], BeforeValidator(_split_commas)
]
Aim = Annotated[str, AfterValidator(_check_aim)]
ClassName = Annotated[str, BeforeValidator(_to_class_name)]
Columns = Annotated[tuple[str, ...], BeforeValidator(_split_column_list)]
DateFormats = Annotated[
    tuple[Annotated[str, AfterValidator(_check_format)], ...], BeforeValidator(_wrap_format)
]
DecimalSign = Annotated[str, AfterValidator(_check_decimal)]
Delimiter = Annotated[str, AfterValidator(_parse_delimiter)]
HeaderNames = Annotated[tuple[str, ...], BeforeValidator(_split_header)]
LayerWidths = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_split_commas)]
TextEncoding = Annotated[str, AfterValidator(_check_encoding)]
