"""Parse dates in a safe subset of the strptime formats, with the same result in every locale.

For example, `%d/%m/%Y` parses 22/06/2025. A format is compiled to one regular expression of bounded
length, and a text that is longer than any date is rejected unread. Names of months and days, AM and
PM are English, in upper or lower case.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from serving.bundle.dates import (
    END_DATE_SECONDS,
    EPOCH,
    MIN_DATE_SECONDS,
    SECONDS_PER_DAY,
    add_decimal_fraction,
)

MAX_FORMAT_CHARACTERS = 64
MAX_DATE_CHARACTERS = 96  # longer texts are never dates
CENTURY_PIVOT_YEAR = 69  # two-digit years from 69 on mean 1969 to 1999, as in POSIX
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

# Directives of one or two digits. Next to another number both digits are required.
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
# Patterns of the same directives for JSON Schema. They also limit the value of each number.
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
# Groups of directives with the same meaning: a format may have at most one of each group.
EXCLUSIVE_DIRECTIVES = ("Yy", "mbB", "HI", "aA")


def parse_strptime_date(text: str, format: str) -> float | None:  # noqa: A002 -- the manifest's word
    """Parse a text in a strptime format.

    Args:
        text: Text without white space around it. Without a time zone it means UTC.
        format: Format that `require_strptime_format` accepts.

    Returns:
        Seconds since 1970-01-01 UTC; None if the text is not a date in that format.
    """
    if len(text) > MAX_DATE_CHARACTERS:
        return None
    match = _compile_format(format).fullmatch(text)
    if match is None:
        return None
    parts = match.groupdict()
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
    whole = since.days * SECONDS_PER_DAY + since.seconds
    seconds = add_decimal_fraction(whole, parts.get("f", ""))
    return seconds if MIN_DATE_SECONDS <= seconds < END_DATE_SECONDS else None


def require_strptime_format(format: str) -> None:  # noqa: A002
    """Check that a strptime format belongs to the supported subset.

    Raises:
        ValueError: If the format has an unknown or a repeated directive, lacks the year or the
            month, or is ambiguous.
    """
    _compile_format(format)


def build_date_pattern(format: str) -> str | None:  # noqa: A002
    """Return a JSON Schema pattern for the texts of a strptime format; None for other formats.

    The pattern limits each number, but it does not know the length of the months.
    """
    if "%" not in format:
        return None
    pattern = _assemble_pattern(format, _make_json_schema_pattern)
    return f"^{pattern}$"


# Cached because every value of a column needs its pattern; a pure function.
@lru_cache(512)
def _compile_format(format: str) -> re.Pattern[str]:  # noqa: A002
    """Return the regular expression of a whole text, with a named group for each directive."""
    # In ISO 8601, 2024-02-01 is 1 February. A client could not know that it means 2 January here.
    if re.match(r"%Y-%d-%m", format):
        raise ValueError(
            f"expected a date format whose texts have no other meaning in ISO 8601; got {format!r}"
        )

    def make_group(name: str, is_two_digits: bool) -> str:
        pattern = (NUMBER_DIRECTIVES | OTHER_DIRECTIVES)[name]
        if is_two_digits and name in NUMBER_DIRECTIVES:
            pattern = r"\d{2}"
        return f"(?P<{name}>{pattern})"

    return re.compile(_assemble_pattern(format, make_group), re.ASCII | re.IGNORECASE)


def _assemble_pattern(format: str, make_pattern: Callable[[str, bool], str]) -> str:  # noqa: A002
    """Return the regular expression of a format.

    Args:
        format: Date format with strptime directives.
        make_pattern: Function from the letter of a directive, and whether two digits are required,
            to the pattern of that directive.
    """
    if len(format) > MAX_FORMAT_CHARACTERS:
        raise ValueError(f"expected a date format of at most {MAX_FORMAT_CHARACTERS} characters")
    pieces = re.findall(r"%.?|[^%]", format, re.DOTALL)
    names = [piece[1:] if piece[0] == "%" and piece != "%%" else "" for piece in pieces]
    _require_known_directives(
        format, [piece[1:] for piece in pieces if piece[0] == "%" and piece != "%%"]
    )
    pattern = ""
    for position, (piece, name) in enumerate(zip(pieces, names, strict=True)):
        if name:
            neighbours = names[max(0, position - 1) : position] + names[position + 1 : position + 2]
            touches_digit = any(other in DIGIT_DIRECTIVES for other in neighbours if other)
            pattern += make_pattern(name, touches_digit)
        else:
            pattern += _escape_character(piece[-1])
    return pattern


def _escape_character(character: str) -> str:
    if character.isspace():
        return r"\s"
    # Not re.escape, which also escapes characters that JSON Schema does not allow to be escaped.
    return f"\\{character}" if character in REGEX_SPECIAL_CHARACTERS else character


def _make_json_schema_pattern(name: str, is_two_digits: bool) -> str:
    if name in OTHER_DIRECTIVES:
        # JSON Schema has no flag to ignore case.
        words = re.sub(
            "[a-z]", lambda match: f"[{match[0].upper()}{match[0]}]", OTHER_DIRECTIVES[name]
        )
        return JSON_SCHEMA_PATTERNS.get(name, f"({words})")
    return JSON_SCHEMA_PATTERNS[name].replace("0?", "0" if is_two_digits else "0?")


def _require_known_directives(format: str, directives: list[str]) -> None:  # noqa: A002
    known = NUMBER_DIRECTIVES | OTHER_DIRECTIVES
    unknown = [f"%{name}" for name in directives if name not in known]
    if unknown:
        raise ValueError(
            f"expected a date format with the directives "
            f"{', '.join(f'%{name}' for name in known)}; got {unknown[0]!r} in {format!r}"
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
            f"expected a year and a month in a date format, for example %d/%m/%Y; got {format!r}"
        )
    if ("I" in directives) != ("p" in directives):
        raise ValueError(f"expected %I and %p together in a date format; got {format!r}")
    if re.fullmatch(r"(%[YymdHIMSf])+", format) and format != "%Y%m%d":
        raise ValueError(
            f"expected separators between the parts of a date format, or %Y%m%d; got {format!r}, "
            f"whose texts are numbers"
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
