"""Date proposals: which common format the texts of a column are written in, if they are dates."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from serving.bundle import MAX_DATE_CHARACTERS, parse_date_text

# Day and month orders of which another may fit the same texts, and others.
DAYS = (
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d.%m.%Y",
    "%d %m %Y",
    "%Y/%m/%d",
    "%Y-%m-%d",
    "%Y.%m.%d",
    "%d-%b-%Y",
    "%d %b %Y",
    "%d/%b/%Y",
    "%d. %b %Y",
    "%d%b%Y",
    "%b %d %Y",
    "%b %d, %Y",
    "%Y-%b-%d",
    "%d-%B-%Y",
    "%d %B %Y",
    "%d. %B %Y",
    "%B %d %Y",
    "%B %d, %Y",
    "%a %d %b %Y",
    "%a, %d %b %Y",
    "%A %d %B %Y",
    "%A, %d %B %Y",
    "%A, %B %d, %Y",
)
# Of which century they are, and whether they are dates at all, has to be said.
SHORT = (
    "%d/%m/%y",
    "%m/%d/%y",
    "%y/%m/%d",
    "%d-%m-%y",
    "%m-%d-%y",
    "%y-%m-%d",
    "%d.%m.%y",
    "%d-%b-%y",
    "%d %b %y",
)
TIMES = (
    "",
    " %H:%M",
    " %H:%M:%S",
    " %H:%M:%S.%f",
    " %I:%M %p",
    " %I:%M:%S %p",
    " %I:%M:%S.%f %p",
    "T%H:%M",
    "T%H:%M:%S",
    "T%H:%M:%S.%f",
    ", %H:%M",
    ", %H:%M:%S",
    " %H:%M%z",
    " %H:%M:%S%z",
    " %H:%M:%S %z",
)
CLOCK = re.compile(r"(?:,? |T)\d{1,2}:\d{2}.*", re.ASCII)
LOOKED_AT = 20  # texts that formats are first tried on
MOSTLY = 0.9  # share of a column's texts that are dates if the others may be mistakes


@dataclass(frozen=True)
class Proposal:
    """Formats in which a column seems to be written.

    Attributes:
        formats: Each reads as many of the texts as any other does.
        example: Text that they read.
        read: Number of texts that are read.
        others: Texts that are not.
    """

    formats: tuple[str, ...]
    example: str
    read: int
    others: tuple[str, ...]

    @property
    def is_certain(self) -> bool:
        """Whether all texts are of one format, whose years have four digits."""
        return not self.others and len(self.formats) == 1 and "%y" not in self.formats[0]

    def advice(self, column: str) -> str:
        """Return the options that have the column read as dates."""
        date = f"--date {shlex.quote(column)}"
        options = [
            f"{_meaning(f) if len(self.formats) > 1 else ''}{date} --date-format "
            f"{shlex.quote(f'{column}={f}')}"
            for f in self.formats
        ]
        said = f"{self.example!r}, {', or '.join(options)}"
        if self.others:
            shown = ", ".join(map(repr, self.others[:3]))
            more = f" and {len(self.others) - 3} more" if len(self.others) > 3 else ""
            said += f", once the cells {shown}{more} are corrected or empty"
        return said


def _meaning(written: str) -> str:
    places = {letter: written.lower().find(f"%{letter}") for letter in "dm"}
    if written.lower().startswith("%y") or min(places.values()) < 0:
        return ""
    return f"{'day' if places['d'] < places['m'] else 'month'} first: "


def propose(texts: Sequence[str]) -> Proposal | None:
    """Propose the formats that most of a column's texts are written in.

    Args:
        texts: Distinct texts without spaces around them, none a gap.
    """
    step = max(1, len(texts) // LOOKED_AT)
    read = {f: _read(texts, f) for f in _fitting(texts[::step][:LOOKED_AT])}
    most = max(map(len, read.values()), default=0)
    if not most:
        return None
    formats = tuple(f for f, found in read.items() if len(found) == most)
    fitting = read[formats[0]]
    others = tuple(text for text in texts if text not in fitting)
    return Proposal(formats, next(iter(fitting)), most, others)


def _fitting(texts: Sequence[str]) -> list[str]:
    """Return the formats of which at least one text is."""
    found: dict[str, None] = {}
    for text in texts:
        if len(text) > MAX_DATE_CHARACTERS:
            continue
        clock = CLOCK.search(text)
        day, rest = (text[: clock.start()], clock[0]) if clock else (text, "")
        days = [f for f in (*DAYS, *SHORT) if parse_date_text(day, f) is not None]
        times = [f for f in TIMES if days and parse_date_text(f"2000-01-01{rest}", f"%Y-%m-%d{f}")]
        found |= dict.fromkeys(d + t for d in days for t in times)
    return sorted(found, key=_order)


def _order(written: str) -> int:
    return next(place for place, f in enumerate((*DAYS, *SHORT)) if written.startswith(f))


def _read(texts: Sequence[str], written: str) -> dict[str, None]:
    """Return the texts that are of a format, none if those are not most of them."""
    missed, found = 0, dict[str, None]()
    for text in texts:
        if parse_date_text(text, written) is not None:
            found[text] = None
        elif (missed := missed + 1) > (1 - MOSTLY) * len(texts):
            return {}
    return found
