"""Reloads: now and then a new version, a rollback, a load, and a model that goes and comes back."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.admin_key import ADMIN_HEADERS
from benchmarks.robustness.swaps import PATIENCE, Version
from serving.loadtest.http_client import ServerAddress, UnusableServerError, fetch

# In turn. A version that appears is served only where none is pinned: a load undoes the rollback.
KINDS = ("appears", "rollback", "load", "unload and load")
MODEL, SPARE = "digits", "spare"  # the spare is unloaded: who asks for it then is rightly refused
FIRST = 2  # versions of the model at the start, so that there is one to go back to
# Whatever a reload may end in: a thread that dies of it would leave a soak without reloads.
FAILURES = (UnusableServerError, AssertionError, OSError, ValueError, KeyError)
LOOK = 0.1  # seconds between looks for a version
# Times as often as later. It takes allocators some 50 reloads to have the blocks that they need:
# in an even pace they would be at it for the most of a soak, and look like a leak.
HURRY = 20


def write_repository(models: Path, staging: Path) -> None:
    """The two models, as they are before the first reload.

    Args:
        models: the repository's folder; made.
        staging: a folder on the same file system, for versions that are not yet whole.
    """
    for number in range(1, FIRST + 1):
        _place(Version(number).write(staging), models / MODEL / str(number))
    spare = Version(1).write(staging)
    manifest = json.loads((spare / "bundle.json").read_text())
    (spare / "bundle.json").write_text(json.dumps(manifest | {"name": SPARE}))
    _place(spare, models / SPARE / "1")


def _place(bundle: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bundle.rename(path)


class Reloads(threading.Thread):
    """Reloads, one after the other, from `start` to `end`.

    Args:
        address: of the server, which serves what `write_repository` wrote.
        models: the repository's folder.
        staging: as there.
        every: seconds from one to the next.
        warm_up: seconds at the start, in which they come twenty times as often.

    Attributes:
        done: how many there were of each kind.
        faults: what did not come about.
    """

    def __init__(
        self, address: ServerAddress, models: Path, staging: Path, every: float, warm_up: float
    ) -> None:
        super().__init__(name="reloads")
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self._address, self._models, self._staging = address, models, staging
        self._every, self._warm_up = every, warm_up
        self._stop_asked, self._highest = threading.Event(), FIRST

    def run(self) -> None:
        """Until it is told to end."""
        number, warm = 0, time.monotonic() + self._warm_up
        while not self._stop_asked.wait(
            self._every if time.monotonic() >= warm else self._every / HURRY
        ):
            kind = KINDS[number % len(KINDS)]
            number += 1
            try:
                self._reload(kind)
            except FAILURES as error:
                self.faults.append(f"{kind}: {error!r}")
            else:
                self.done[kind] += 1

    def end(self) -> None:
        """Stop after the reload in progress."""
        self._stop_asked.set()
        self.join()

    def _reload(self, kind: str) -> None:
        if kind == "appears":
            self._highest += 1
            bundle = Version(self._highest).write(self._staging)
            _place(bundle, self._models / MODEL / bundle.name)
            self._wait_for(self._highest)
        elif kind == "rollback":
            self._post(MODEL, "rollback", self._highest - 1)
        elif kind == "load":
            self._post(MODEL, "load", self._highest)
        else:
            self._post(SPARE, "unload", None)
            self._post(SPARE, "load", 1)

    def _post(self, model: str, what: str, version: int | None) -> None:
        path = f"/v2/repository/models/{model}/{what}"
        said = self._read(path, b"")
        if said["version"] != version:
            raise AssertionError(f"expected {path} to lead to version {version}; got {said}")

    def _wait_for(self, version: int) -> None:
        end = time.monotonic() + PATIENCE
        while (found := self._read(f"/models/{MODEL}")["version"]) != version:
            if time.monotonic() > end:
                raise AssertionError(f"expected version {version} to be served; got {found}")
            time.sleep(LOOK)

    def _read(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        status, _, answer = fetch(self._address, path, ADMIN_HEADERS, body, timeout=PATIENCE)
        if status != http.client.OK:
            raise AssertionError(
                f"expected {path} to be answered with 200; got {status}: {answer!r}"
            )
        said: dict[str, Any] = json.loads(answer)
        return said
