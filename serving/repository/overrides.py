"""Read and write the saved state: the files that keep overrides and defaults across restarts.

Administrators override the folder of models by pinning versions and unloading models. The server
records the live versions and the default model for the next start.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import StateNotKeptError

MAX_STATE_BYTES = 2**20  # largest size of a state file, enough for thousands of models
MAX_ABSENT_MODELS = 100  # largest number of recorded models that are missing from the folder


class Overrides(BaseModel):
    """The versions that administrators pinned, and the models that they unloaded.

    Attributes:
        schema_version: Version of the file format.
        pinned: Number of the version that is live instead of the highest, by name of the model.
        unloaded: Names of the models that are not served.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    pinned: dict[str, Annotated[int, Field(ge=1)]] = {}
    unloaded: frozenset[str] = frozenset()


class RecordedDefaults(BaseModel):
    """The default model and live versions, recorded so that a restart does not change them.

    Attributes:
        schema_version: Version of the file format.
        default_model: Name of the default model: the first one that was served while no other model
            was. None if there is none.
        live: Number of the live version when the file was written, by name of the model. After a
            restart, new versions are compared with it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    default_model: str | None = None
    live: dict[str, Annotated[int, Field(ge=1)]] = {}


class SavedState(Overrides, RecordedDefaults):
    """Content of both files. It is immutable: each method returns a changed copy."""

    def pin_version(self, name: str, version: int) -> SavedState:
        """Return the state in which a version of a model is pinned."""
        return self._copy_with(
            pinned=self.pinned | {name: version}, unloaded=self.unloaded - {name}
        )

    def unload_model(self, name: str) -> SavedState:
        """Return the state in which a model is not served."""
        return self._copy_with(unloaded=self.unloaded | {name})

    def clear_overrides(self, name: str) -> SavedState:
        """Return the state in which a model is neither pinned nor unloaded."""
        pinned = {key: version for key, version in self.pinned.items() if key != name}
        return self._copy_with(pinned=pinned, unloaded=self.unloaded - {name})

    def record_default_model(self, name: str) -> SavedState:
        """Return the state in which a model is the default model."""
        return self._copy_with(default_model=name)

    def record_live_versions(self, live: Mapping[str, int], models: Collection[str]) -> SavedState:
        """Return the state with the current live versions.

        Args:
            live: Live version by name of the model.
            models: Names of the models in the folder. The versions of up to `MAX_ABSENT_MODELS`
                other models stay recorded, since a folder may be missing only for a moment.
        """
        absent = [name for name in self.live if name not in models and name not in live]
        forgotten = set(absent[:-MAX_ABSENT_MODELS])
        kept = {name: version for name, version in self.live.items() if name not in forgotten}
        return self._copy_with(live=kept | dict(live))

    def find_changed_models(self, other: SavedState) -> set[str]:
        """Return the names of the models whose pin or unload differs from another state's."""
        pinned = self.pinned.items() ^ other.pinned.items()
        return {name for name, _ in pinned} | (self.unloaded ^ other.unloaded)

    def _copy_with(self, **changes: Any) -> SavedState:
        return self.model_copy(update=changes)


# Inode, size in bytes and modification time in nanoseconds of each file of the saved state.
FileStats = tuple[tuple[int, int, int] | None, ...]
StateChange = Callable[[SavedState], SavedState]
StatePart = TypeVar("StatePart", Overrides, RecordedDefaults)


class StateFile:
    """Reads and writes the saved state. Each file is written completely or not at all.

    The state is in two files, so that this server can be replaced by an older one: older servers
    read only the first file, and refuse unknown keys. A malformed file is never ignored; it raises
    an error.

    Args:
        path: File of the overrides.

    Attributes:
        path: File of the overrides.
        record_path: File of the recorded defaults in the same folder, `NAME.live.json` for
            `NAME.json`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.record_path = path, path.with_suffix(f".live{path.suffix}")

    def stat_files(self) -> FileStats:
        """Return a value that changes whenever one of the files is written.

        Returns:
            Inode, size in bytes and modification time in nanoseconds of each file; None instead if
            it cannot be read.
        """
        return _stat_file(self.path), _stat_file(self.record_path)

    def read(self) -> SavedState:
        """Return the saved state; a file that does not exist counts as empty.

        Raises:
            StateNotKeptError: If a file cannot be read or is malformed.
        """
        requested = _parse_file(Overrides, self.path) or Overrides()
        recorded = _parse_file(RecordedDefaults, self.record_path) or RecordedDefaults()
        return SavedState(
            **requested.model_dump(), **recorded.model_dump(exclude={"schema_version"})
        )

    def update(self, change: StateChange, lock: AbstractContextManager[None]) -> None:
        """Read the state, change it, and write it if it differs.

        Args:
            change: Function that returns the changed state.
            lock: Context in which no other worker updates the files.

        Raises:
            StateNotKeptError: If a file cannot be read or written.
        """
        with lock:
            before = self.read()
            if (after := change(before)) != before:
                self.write(after)

    def write(self, state: SavedState) -> None:
        """Write the state so that it survives a loss of power.

        Args:
            state: State to write.

        Raises:
            StateNotKeptError: If a file cannot be written.
        """
        _write_part(RecordedDefaults, state, self.record_path)
        _write_part(Overrides, state, self.path)


def _stat_file(path: Path) -> tuple[int, int, int] | None:
    try:
        stats = path.stat()
    except OSError:
        return None
    return stats.st_ino, stats.st_size, stats.st_mtime_ns


def _parse_file(kind: type[StatePart], path: Path) -> StatePart | None:
    """Return the content of a file; None if there is no file.

    Args:
        kind: Class of the content.
        path: File to read.

    Raises:
        StateNotKeptError: If it cannot be read or is malformed.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # The size is bounded, since reading allocates as many bytes as it may return.
            content = file.read(min(size, MAX_STATE_BYTES) + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StateNotKeptError(
            f"expected a readable {path.name}; got {error.strerror}; correct its permissions"
        ) from error
    if len(content) > MAX_STATE_BYTES:
        raise StateNotKeptError(
            f"expected {path.name} of at most {MAX_STATE_BYTES} bytes; got more; correct it or "
            f"remove it"
        )
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the top level"
        raise StateNotKeptError(
            f"expected {path.name} as the server writes it; got one that is not valid at "
            f"{where}: {first['msg']}; correct it or remove it"
        ) from None


def _write_part(kind: type[StatePart], state: SavedState, path: Path) -> None:
    """Write the fields of one class to their file, unless it holds the same already."""
    part = kind(**state.model_dump(include=set(kind.model_fields)))
    if part != (_parse_file(kind, path) or kind()):
        _write_atomically(part, path)


def _write_atomically(part: BaseModel, path: Path) -> None:
    # The random part keeps two servers that write at the same time from using the same file.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(part.model_dump_json(indent=2, exclude_none=True) + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StateNotKeptError(
            f"expected to write {path.name}, which the next start reads; got {error.strerror}; "
            f"nothing was changed; start the server with --state FILE in a folder it may write to"
        ) from error
