"""The journal: a line for each finished fit of a search, so that a killed one goes on.

A line is a JSON object: the table's fingerprint, digests of all choices and of the fold's rows, the
parameters searched, every metric and the seconds it took. It is written after the fit, synced; a
line that a kill has torn is cut off when the file is opened again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from serving.bundle import add_path_to_errors, create_folder
from trainer.config import Config

# Choices that change no score.
WITHOUT_EFFECT = {"data", "name", "models", "runs", "skip_baselines"}


class JournalError(Exception):
    """The journal is damaged; the message says where."""


class Fit(NamedTuple):
    """What is learned, and from what.

    Attributes:
        table: fingerprint.
        choices: digest of all that decide what is learned.
        learned: digest of the rows learned from.
    """

    table: str
    choices: str
    learned: str


class Entry(BaseModel):
    """One line.

    Attributes:
        table: as of `Fit`.
        choices: as of `Fit`.
        learned: as of `Fit`.
        scored: digest of the rows scored.
        parameters: that were searched.
        scores: every metric on the rows scored; none where training diverged.
        seconds: of training and scoring.
        failure: how training diverged; None where it did not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    choices: str
    learned: str
    scored: str
    parameters: dict[str, Any]
    scores: dict[str, float]
    seconds: float
    failure: str | None = None

    @property
    def fit(self) -> Fit:
        """What was learned, and from what."""
        return Fit(self.table, self.choices, self.learned)


class Journal:
    """The finished fits in a file, which is made if it is not there.

    Args:
        path: the file.
        watch: told of each fit as it is written.

    Raises:
        JournalError: a line, and not the last, is none of a journal's.
        OSError: it cannot be read or written.

    Attributes:
        path: the file.
        reused: fits that need not be run again, so far.
        added: fits written, so far.
    """

    def __init__(self, path: Path, watch: Callable[[Entry], None] | None = None) -> None:
        self.path, self.watch = path, watch
        self.reused = self.added = 0
        self._entries = {(entry.fit, entry.scored): entry for entry in _read(path)}
        self._fits = {fit for fit, _ in self._entries}

    def knows(self, fit: Fit) -> bool:
        """Whether some rows were scored by that fit."""
        return fit in self._fits

    def find(self, fit: Fit, scored: str) -> Entry | None:
        """The entry of those rows scored by that fit, or None."""
        entry = self._entries.get((fit, scored))
        self.reused += entry is not None
        return entry

    def scores(self, fit: Fit, scored: str) -> Mapping[str, float]:
        """Return every metric of those rows scored by that fit; nothing if it is not known."""
        entry = self._entries.get((fit, scored))
        return {} if entry is None else entry.scores

    def add(self, entry: Entry) -> None:
        """Write a line, whole and synced."""
        line = entry.model_dump_json().encode() + b"\n"
        with create_folder(self.path.parent):
            is_new = not self.path.exists()
            try:
                with add_path_to_errors(self.path), self.path.open("ab") as file:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                if is_new:
                    self.path.unlink(missing_ok=True)
                raise
        self._entries[entry.fit, entry.scored] = entry
        self._fits.add(entry.fit)
        self.added += 1
        if self.watch is not None:
            self.watch(entry)


def digest_of_choices(config: Config) -> str:
    """A digest of the choices that decide what is learned from given rows."""
    chosen = config.model_dump(mode="json", exclude=WITHOUT_EFFECT)
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]


def digest_of_rows(rows: NDArray[np.int64]) -> str:
    """A digest of row numbers `(n,)` in their order."""
    return hashlib.sha256(np.ascontiguousarray(rows, np.int64).tobytes()).hexdigest()[:16]


def _read(path: Path) -> list[Entry]:
    """The entries; what stands behind the last newline is cut off."""
    if not path.exists():
        return []
    with path.open("a+b") as file:
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
    entries = []
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            entries.append(Entry.model_validate_json(line))
        except ValidationError as error:
            raise JournalError(
                f"{path}, line {number}: expected a line of a search's journal; got "
                f"{line[:60].decode(errors='replace')!r}; delete the line, or name another file"
            ) from error
    return entries
