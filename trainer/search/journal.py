"""The journal of a search: one line for each finished fit, so that a search can be resumed.

A line is a JSON object: the table's fingerprint, hashes of all options and of the fold's rows, the
parameters of the candidate, every metric, and the duration. It is written and synced after the fit.
A last line that is incomplete, because the process was killed, is deleted when the file is opened
again.
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

# Options that do not change any score. A preset has an effect by the values of the other options.
OPTIONS_WITHOUT_EFFECT = {"data", "name", "models", "runs", "skip_baselines", "preset"}
HASH_CHARACTERS = 16


class JournalError(Exception):
    """A journal with a damaged line. The message says which."""


class FitKey(NamedTuple):
    """The identity of a fit: fits with equal keys learn the same model.

    Attributes:
        table: Fingerprint of the table.
        config: Hash of all options, as returned by `hash_config`.
        training_rows: Hash of the training rows, as returned by `hash_rows`.
    """

    table: str
    config: str
    training_rows: str


class JournalEntry(BaseModel):
    """One line of the journal. The attributes are the keys of its JSON object.

    Attributes:
        table: Fingerprint of the table.
        choices: Hash of all options.
        learned: Hash of the training rows.
        scored: Hash of the scored rows.
        parameters: Values of the options that are searched, by the option's name.
        scores: Every metric on the scored rows by its name; empty if the training diverged.
        seconds: Duration of training and scoring, in seconds.
        failure: Reason why there are no scores; None if there are.
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
    def fit_key(self) -> FitKey:
        """Key of the fit that the line is about."""
        return FitKey(self.table, self.choices, self.learned)


class Journal:
    """The finished fits of a file, which is created with the first entry.

    Args:
        path: Path of the file.
        on_entry: Function that is called with each entry after it is written; None for none.

    Attributes:
        path: Path of the file.
        n_reused: Number of fits so far that were found in the file and not run again.
        n_added: Number of fits so far that were added to the file.

    Raises:
        JournalError: If a line other than an incomplete last one is damaged.
        OSError: If the file cannot be read or written.
    """

    def __init__(self, path: Path, on_entry: Callable[[JournalEntry], None] | None = None) -> None:
        self.path, self._on_entry = path, on_entry
        self.n_reused = self.n_added = 0
        self._entries = {(entry.fit_key, entry.scored): entry for entry in _read_entries(path)}
        self._fit_keys = {fit_key for fit_key, _ in self._entries}

    def has_fit(self, fit_key: FitKey) -> bool:
        """Return whether there is an entry of the fit, for any scored rows."""
        return fit_key in self._fit_keys

    def find(self, fit_key: FitKey, scored_rows: str) -> JournalEntry | None:
        """Return the entry of a fit and count it as reused; None if there is none.

        Args:
            fit_key: Key of the fit.
            scored_rows: Hash of the scored rows.
        """
        entry = self._entries.get((fit_key, scored_rows))
        self.n_reused += entry is not None
        return entry

    def get_scores(self, fit_key: FitKey, scored_rows: str) -> Mapping[str, float]:
        """Return every metric of a fit on the scored rows; empty if there is no entry."""
        entry = self._entries.get((fit_key, scored_rows))
        return {} if entry is None else entry.scores

    def add(self, entry: JournalEntry) -> None:
        """Write an entry to the file and sync it.

        Raises:
            OSError: If the file cannot be written.
        """
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
        self._entries[entry.fit_key, entry.scored] = entry
        self._fit_keys.add(entry.fit_key)
        self.n_added += 1
        if self._on_entry is not None:
            self._on_entry(entry)


def hash_config(config: Config) -> str:
    """Return a hash of the options that change what is learned from given rows."""
    options = config.model_dump(mode="json", exclude=OPTIONS_WITHOUT_EFFECT)
    content = json.dumps(options, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:HASH_CHARACTERS]


def hash_rows(rows: NDArray[np.int64]) -> str:
    """Return a hash of row numbers, int64 `(n,)`, that depends on their order."""
    content = np.ascontiguousarray(rows, np.int64).tobytes()
    return hashlib.sha256(content).hexdigest()[:HASH_CHARACTERS]


def _read_entries(path: Path) -> list[JournalEntry]:
    """Return the entries of a file, and delete an incomplete last line from it."""
    if not path.exists():
        return []
    with path.open("a+b") as file:
        file.seek(0)
        content = file.read()
        n_complete_bytes = content.rfind(b"\n") + 1
        if n_complete_bytes < len(content):
            file.truncate(n_complete_bytes)
    entries = []
    for number, line in enumerate(content[:n_complete_bytes].splitlines(), start=1):
        try:
            entries.append(JournalEntry.model_validate_json(line))
        except ValidationError as error:
            raise JournalError(
                f"{path}, line {number}: expected a line of a search's journal; got "
                f"{line[:60].decode(errors='replace')!r}; delete the line, or name another file"
            ) from error
    return entries
