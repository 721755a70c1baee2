"""Dates as people write them: a safe subset of strptime's formats, the same in every locale.

`%d/%m/%Y` reads 22/06/2025. A format is compiled to one regular expression of bounded length, and a
text longer than any date is not looked at. Names of months and days, AM and PM are English, in any
case.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from serving.bundle.dates import END_DATE_SECONDS, MIN_DATE_SECONDS, add_decimal_fraction

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_FORMAT_CHARACTERS = 64  # characters
MAX_DATE_CHARACTERS = 96  # characters of a date; longer texts are none
CENTURY_PIVOT_YEAR = 69  # years of two digits from here on are of the 20th century, as POSIX has it
MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

# Directives of one or two digits; both digits are there where another number touches them.
NUMBER_DIRECTIVES = {
    "d": r"\d{1,2}",
    "m": r"\d{1,2}",
    "H": r"\d{1,2}",
    "I": r"\d{1,2}",
    "M": r"\d{1,2}",
    "S": r"\d{1,2}",
}
OTHER_DIRECTIVES = {
    "Y": r"\d{4}",
    "y": r"\d{2}",
    "f": r"\d{1,9}",
    "b": "|".join(name[:3] for name in MONTHS),
    "B": "|".join(MONTHS),
    "a": "|".join(name[:3] for name in WEEKDAYS),
    "A": "|".join(WEEKDAYS),
    "p": "am|pm",
    "z": r"z|[+-]\d{2}(?::?\d{2})?",
}
DIGIT_DIRECTIVES = (*NUMBER_DIRECTIVES, "Y", "y", "f")  # directives that begin and end with a digit
# The same for JSON Schema, which says how large a number is, too.
JSON_SCHEMA_PATTERNS = {
    "d": "(0?[1-9]|[12][0-9]|3[01])",
    "m": "(0?[1-9]|1[0-2])",
    "H": "(0?[0-9]|1[0-9]|2[0-3])",
    "I": "(0?[1-9]|1[0-2])",
    "M": "(0?[0-9]|[1-5][0-9])",
    "S": "(0?[0-9]|[1-5][0-9])",
    "Y": "(?!0000)[0-9]{4}",
    "y": "[0-9]{2}",
    "f": "[0-9]{1,9}",
    "z": "([Zz]|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)",
}
REGEX_SPECIAL_CHARACTERS = r"\^$.|?*+()[]{}"
# Directives of which a date has at most one.
EXCLUSIVE_DIRECTIVES = ("Yy", "mbB", "HI", "aA")


def parse_strptime_date(text: str, format: str) -> float | None:  # noqa: A002 -- the manifest's word
    """Read a text by a format of strptime's.

    Args:
        text: Text without spaces around it.
        format: Format, which `require_strptime_format` accepts.

    Returns:
        Seconds since 1970-01-01 UTC, None if the text is no date of that format; a text without a
        zone is taken for UTC.
    """
    if len(text) > MAX_DATE_CHARACTERS:
        return None
    found = _compile_format(format).fullmatch(text)
    if found is None:
        return None
    parts = found.groupdict()
    try:
        moment = datetime(
            _parse_year(parts),
            _parse_month(parts),
            int(parts.get("d", "1")),
            _parse_hour(parts),
            int(parts.get("M", "0")),
            int(parts.get("S", "0")),
            tzinfo=_parse_zone(parts.get("z", "z")),
        )
        since = moment - EPOCH
    except (ValueError, OverflowError):
        return None
    seconds = add_decimal_fraction(since.days * 86400 + since.seconds, parts.get("f", ""))
    return seconds if MIN_DATE_SECONDS <= seconds < END_DATE_SECONDS else None


def require_strptime_format(format: str) -> None:  # noqa: A002
    """Refuse a format that is not of the subset.

    Raises:
        ValueError: If it holds an unknown directive or one twice, names no year and month, or could
            be read in two ways.
    """
    _compile_format(format)


def build_date_pattern(format: str) -> str | None:  # noqa: A002
    """Return a pattern of JSON Schema for the texts of a format; None if it is none of strptime's.

    It knows how large each number may be, and not that the 30th of February is no day.
    """
    if "%" not in format:
        return None
    return f"^{_assemble_pattern(format, lambda name, exact: _json_schema_pattern(name, exact=exact))}$"


@lru_cache(512)
def _compile_format(format: str) -> re.Pattern[str]:  # noqa: A002
    """Return the regular expression of a whole text, with a group for each directive."""
    # As ISO 8601 writes it, 2024-02-01 is of February: no client could tell that it is not here.
    if re.match(r"%Y-%d-%m", format):
        raise ValueError(
            f"expected a date format whose texts mean nothing else in ISO 8601; got {format!r}"
        )

    def group(name: str, exact: bool) -> str:
        written = (
            r"\d{2}"
            if exact and name in NUMBER_DIRECTIVES
            else (NUMBER_DIRECTIVES | OTHER_DIRECTIVES)[name]
        )
        return f"(?P<{name}>{written})"

    return re.compile(_assemble_pattern(format, group), re.ASCII | re.IGNORECASE)


def _assemble_pattern(format: str, written: Callable[[str, bool], str]) -> str:  # noqa: A002
    """Return a regular expression, given that of a directive, and whether it has two digits."""
    if len(format) > MAX_FORMAT_CHARACTERS:
        raise ValueError(f"expected a date format of at most {MAX_FORMAT_CHARACTERS} characters")
    pieces = re.findall(r"%.?|[^%]", format, re.DOTALL)
    names = [piece[1:] if piece[0] == "%" and piece != "%%" else "" for piece in pieces]
    _require_known_directives(
        format, [piece[1:] for piece in pieces if piece[0] == "%" and piece != "%%"]
    )
    pattern = ""
    for place, (piece, name) in enumerate(zip(pieces, names, strict=True)):
        if not name:
            sign = piece[-1]
            pattern += (
                r"\s"
                if sign.isspace()
                else f"\\{sign}"
                if sign in REGEX_SPECIAL_CHARACTERS
                else sign
            )
            continue
        beside = names[max(0, place - 1) : place] + names[place + 1 : place + 2]
        pattern += written(name, any(other in DIGIT_DIRECTIVES for other in beside if other))
    return pattern


def _json_schema_pattern(name: str, *, exact: bool) -> str:
    if name in OTHER_DIRECTIVES:
        words = re.sub(
            "[a-z]", lambda found: f"[{found[0].upper()}{found[0]}]", OTHER_DIRECTIVES[name]
        )
        return JSON_SCHEMA_PATTERNS.get(name, f"({words})")
    return JSON_SCHEMA_PATTERNS[name].replace("0?", "0" if exact else "0?")


def _require_known_directives(format: str, directives: list[str]) -> None:  # noqa: A002
    known = NUMBER_DIRECTIVES | OTHER_DIRECTIVES
    unknown = [f"%{name}" for name in directives if name not in known]
    if unknown:
        raise ValueError(
            f"expected a date format of the directives {', '.join(f'%{name}' for name in known)}; "
            f"got {unknown[0]!r} in {format!r}"
        )
    groups = [
        *EXCLUSIVE_DIRECTIVES,
        *(name for name in known if name not in "".join(EXCLUSIVE_DIRECTIVES)),
    ]
    for group in groups:
        if sum(name in group for name in directives) > 1:
            raise ValueError(
                f"expected %{' or %'.join(group)} once in a date format; got {format!r}"
            )
    if not {"Y", "y"} & set(directives) or not {"m", "b", "B"} & set(directives):
        raise ValueError(
            f"expected a year and a month in a date format, such as %d/%m/%Y; got {format!r}"
        )
    if ("I" in directives) != ("p" in directives):
        raise ValueError(f"expected %I and %p together in a date format; got {format!r}")
    if re.fullmatch(r"(%[YymdHIMSf])+", format) and format != "%Y%m%d":
        raise ValueError(
            f"expected signs between the parts of a date format, or %Y%m%d; got {format!r}, whose "
            f"texts are numbers"
        )


def _parse_year(parts: dict[str, str]) -> int:
    if "Y" in parts:
        return int(parts["Y"])
    year = int(parts["y"])
    return year + (1900 if year >= CENTURY_PIVOT_YEAR else 2000)


def _parse_month(parts: dict[str, str]) -> int:
    if "m" in parts:
        return int(parts["m"])
    name = parts.get("b") or parts["B"]
    return [month[: len(name)] for month in MONTHS].index(name.lower()) + 1


def _parse_hour(parts: dict[str, str]) -> int:
    if "I" not in parts:
        return int(parts.get("H", "0"))
    hour = int(parts["I"])
    if not 1 <= hour <= 12:
        raise ValueError
    return hour % 12 + 12 * (parts["p"].lower() == "pm")


def _parse_zone(text: str) -> timezone:
    if text in ("z", "Z"):
        return UTC
    digits = text[1:].replace(":", "")
    hours, minutes = int(digits[:2]), int(digits[2:] or "0")
    if hours > 23 or minutes > 59:
        raise ValueError
    size = timedelta(hours=hours, minutes=minutes)
    return timezone(-size if text[0] == "-" else size)
