"""The state: versions pinned or live and models unloaded, in files that outlive the server."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import StateNotKeptError


class Overrides(BaseModel):
    """What administrators asked for.

    Attributes:
        pinned: Version of a model that answers instead of the highest.
        unloaded: Models that are not served.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    pinned: dict[str, Annotated[int, Field(ge=1)]] = {}
    unloaded: frozenset[str] = frozenset()


class RecordedDefaults(BaseModel):
    """What the server records of itself, so that a restart changes nothing for clients.

    Attributes:
        default_model: Name of the model that answers requests that name none, since it was served
            alone before others came; None if there is none.
        live: Version of each model that answered by default when this was written. After a restart
            a new version is compared with it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    default_model: str | None = None
    live: dict[str, Annotated[int, Field(ge=1)]] = {}


class SavedState(Overrides, RecordedDefaults):
    """The state as the workers use it: what was requested, and what was recorded."""

    def pin_version(self, name: str, version: int) -> SavedState:
        """With this version pinned."""
        return self._copy_with(
            pinned=self.pinned | {name: version}, unloaded=self.unloaded - {name}
        )

    def unload_model(self, name: str) -> SavedState:
        """Without this model."""
        return self._copy_with(unloaded=self.unloaded | {name})

    def clear_overrides(self, name: str) -> SavedState:
        """With the highest version of this model."""
        pinned = {key: version for key, version in self.pinned.items() if key != name}
        return self._copy_with(pinned=pinned, unloaded=self.unloaded - {name})

    def record_default_model(self, name: str) -> SavedState:
        """Return the state in which this model answers requests that name none."""
        return self._copy_with(default_model=name)

    def record_live_versions(self, live: Mapping[str, int], models: Collection[str]) -> SavedState:
        """Return the state with the versions that are live now.

        Args:
            live: Version of each model that is served.
            models: Names of the models that are there. Of others `MAX_ABSENT_MODELS` are remembered, since
                a folder may be away for a moment, or be replaced.
        """
        gone = [name for name in self.live if name not in models and name not in live]
        forgotten = set(gone[:-MAX_ABSENT_MODELS])
        known = {name: version for name, version in self.live.items() if name not in forgotten}
        return self._copy_with(live=known | dict(live))

    def _copy_with(self, **changes: Any) -> SavedState:
        return self.model_copy(update=changes)

    def find_changed_models(self, other: SavedState) -> set[str]:
        """The models that something else was asked for."""
        pinned = self.pinned.items() ^ other.pinned.items()
        return {name for name, _ in pinned} | (self.unloaded ^ other.unloaded)


MAX_STATE_BYTES = 2**20  # of the file: thousands of models
MAX_ABSENT_MODELS = 100  # models that are not there, whose live version is remembered
StateChange = Callable[[SavedState], SavedState]
StatePart = TypeVar("StatePart", Overrides, RecordedDefaults)


class StateFile:
    """Where the state is kept: written whole or not at all, and never silently passed over.

    It is two files. Earlier servers read only the first, and refuse keys that they do not know: a
    server can be replaced by one of them, too.

    Args:
        path: File of what was asked for.

    Attributes:
        path: The same.
        record_path: File beside it of what the server records, `NAME.live.json` for `NAME.json`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.record_path = path, path.with_suffix(f".live{path.suffix}")

    def stat_files(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return a value that differs whenever one of the files has been written."""
        return _stat_file(self.path), _stat_file(self.record_path)

    def read(self) -> SavedState:
        """Return the state; nothing is pinned, unloaded or recorded if there are no files.

        Raises:
            StateNotKeptError: If one cannot be read, or holds something else.
        """
        requested = _parse_file(Overrides, self.path) or Overrides()
        recorded = _parse_file(RecordedDefaults, self.record_path) or RecordedDefaults()
        return SavedState(
            **requested.model_dump(), **recorded.model_dump(exclude={"schema_version"})
        )

    def update(self, change: StateChange, lock: AbstractContextManager[None]) -> None:
        """Read the state and write it as changed, if it differs.

        Args:
            change: Returns the state that is to be kept, from the one that is.
            lock: Keeps other workers from doing the same meanwhile.

        Raises:
            StateNotKeptError: If the file cannot be read or written.
        """
        with lock:
            before = self.read()
            if (after := change(before)) != before:
                self.write(after)

    def write(self, state: SavedState) -> None:
        """Keep the state, so that it is there after a loss of power too.

        Raises:
            StateNotKeptError: If it cannot be written.
        """
        _write_part(RecordedDefaults, state, self.record_path)
        _write_part(Overrides, state, self.path)


def _stat_file(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _parse_file(kind: type[StatePart], path: Path) -> StatePart | None:
    """Return what a file holds; None if there is no file.

    Raises:
        StateNotKeptError: If it cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(
                min(size, MAX_STATE_BYTES) + 1
            )  # a read allocates what it may return
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StateNotKeptError(
            f"expected a readable {path.name}; got {error.strerror}; correct its rights"
        ) from error
    if len(content) > MAX_STATE_BYTES:
        raise StateNotKeptError(
            f"expected {path.name} of at most {MAX_STATE_BYTES} bytes; got more; correct it or remove it"
        )
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise StateNotKeptError(
            f"expected {path.name} as the server writes it; got one that is not valid at "
            f"{where}: {first['msg']}; correct it or remove it"
        ) from None


def _write_part(kind: type[StatePart], state: SavedState, path: Path) -> None:
    """Write one part of the state to its file, if it differs from what is there."""
    part = kind(**state.model_dump(include=set(kind.model_fields)))
    if part != (_parse_file(kind, path) or kind()):
        _write_atomically(part, path)


def _write_atomically(part: BaseModel, path: Path) -> None:
    # A name of its own: another server may write at the same time.
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            with beside.open("w", encoding="utf-8") as file:
                file.write(part.model_dump_json(indent=2, exclude_none=True) + "\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StateNotKeptError(
            f"expected to write {path.name}, which keeps this for the next start; got "
            f"{error.strerror}; nothing was changed; start the server with --state FILE in a "
            f"folder it may write to"
        ) from error
