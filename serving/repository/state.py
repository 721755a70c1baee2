"""The state: versions pinned or live and models unloaded, in a file that outlives the server."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import StateNotKeptError


class State(BaseModel):
    """What was asked for.

    Attributes:
        pinned: the version of a model that answers instead of the highest.
        unloaded: models that are not served.
        default_model: Name of the model that answers requests that name none, since it was served
            alone before others came; None if there is none.
        live: Version of each model that answered by default when this was written. After a restart
            a new version is compared with it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    pinned: dict[str, Annotated[int, Field(ge=1)]] = {}
    unloaded: frozenset[str] = frozenset()
    default_model: str | None = None
    live: dict[str, Annotated[int, Field(ge=1)]] = {}

    def pin(self, name: str, version: int) -> State:
        """With this version pinned."""
        return self._with(pinned=self.pinned | {name: version}, unloaded=self.unloaded - {name})

    def unload(self, name: str) -> State:
        """Without this model."""
        return self._with(unloaded=self.unloaded | {name})

    def free(self, name: str) -> State:
        """With the highest version of this model."""
        pinned = {key: version for key, version in self.pinned.items() if key != name}
        return self._with(pinned=pinned, unloaded=self.unloaded - {name})

    def prefer(self, name: str) -> State:
        """Return the state in which this model answers requests that name none."""
        return self._with(default_model=name)

    def record(self, live: Mapping[str, int], models: Collection[str]) -> State:
        """Return the state with the versions that are live now.

        Args:
            live: Version of each model that is served.
            models: Names of the models that are there. Of others `MOST_GONE` are remembered, since
                a folder may be away for a moment, or be replaced.
        """
        gone = [name for name in self.live if name not in models and name not in live]
        forgotten = set(gone[:-MOST_GONE])
        known = {name: version for name, version in self.live.items() if name not in forgotten}
        return self._with(live=known | dict(live))

    def _with(self, **changes: Any) -> State:
        return self.model_copy(update=changes)

    def differences(self, other: State) -> set[str]:
        """The models that something else was asked for."""
        pinned = self.pinned.items() ^ other.pinned.items()
        return {name for name, _ in pinned} | (self.unloaded ^ other.unloaded)


MOST_BYTES = 2**20  # of the file: thousands of models
MOST_GONE = 100  # models that are not there, whose live version is remembered
Change = Callable[[State], State]


class StateFile:
    """Where the state is kept: written whole or not at all, and never silently passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fingerprint(self) -> tuple[int, int, int] | None:
        """Another one whenever the file has been written; None if there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def read(self) -> State:
        """The state; nothing is pinned or unloaded if there is no file.

        Raises:
            StateNotKeptError: it cannot be read, or holds something else.
        """
        try:
            with self.path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return State()
        except OSError as error:
            raise StateNotKeptError(
                f"expected a readable {self.path.name}; got {error.strerror}; correct its rights"
            ) from error
        if len(content) > MOST_BYTES:
            raise StateNotKeptError(
                f"expected {self.path.name} of at most {MOST_BYTES} bytes; got more; correct it or "
                f"remove it"
            )
        try:
            return State.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise StateNotKeptError(
                f"expected {self.path.name} as the server writes it; got one that is not valid at "
                f"{where}: {first['msg']}; correct it or remove it"
            ) from None

    def change(self, change: Change, lock: AbstractContextManager[None]) -> None:
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

    def write(self, state: State) -> None:
        """Keep the state, so that it is there after a loss of power too.

        Raises:
            StateNotKeptError: it cannot be written.
        """
        # A name of its own: another server may write at the same time.
        beside = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        try:
            try:
                with beside.open("w", encoding="utf-8") as file:
                    # Without what is None, so that a server that does not know it reads the file.
                    file.write(state.model_dump_json(indent=2, exclude_none=True) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(self.path)
            finally:
                beside.unlink(missing_ok=True)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StateNotKeptError(
                f"expected to write {self.path.name}, which keeps this for the next start; got "
                f"{error.strerror}; nothing was changed; start the server with --state FILE in a "
                f"folder it may write to"
            ) from error
