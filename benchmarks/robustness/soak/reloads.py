"""Reloads during a soak: new versions, rollbacks, loads, and a model that is unloaded."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path

from benchmarks.robustness.digits_versions import MODEL_NAME, DigitsVersion
from benchmarks.robustness.server import HANG_SECONDS, RunningServer, UnexpectedAnswerError
from serving.loadtest.http_client import UnusableServerError

# In this order. A new version is served only if none is pinned, and a load removes the pin that a
# rollback sets.
KINDS = ("appears", "rollback", "load", "unload and load")
# Nobody asks for the spare model, because a request would rightly be refused while it is unloaded.
SPARE_NAME = "spare"
INITIAL_VERSIONS = 2  # of the model at the start, so that a rollback is possible
# Every way in which a reload can fail. An unexpected exception would end the thread, and the rest
# of the soak would have no reloads.
RELOAD_ERRORS = (UnusableServerError, UnexpectedAnswerError, OSError, ValueError, KeyError)
CHECK_SECONDS = 0.1  # between two checks for a version
# During the warm-up, reloads are this many times as frequent. Allocators need some 50 reloads until
# they have the blocks that they need; at the usual pace, that growth would take most of a soak and
# look like a leak.
WARM_UP_SPEED = 20


def write_repository(models: Path, staging: Path) -> None:
    """Write both models, as they are before the first reload.

    Args:
        models: Folder of the model repository; it is created.
        staging: Folder on the same file system for incomplete versions.
    """
    for number in range(1, INITIAL_VERSIONS + 1):
        _move(DigitsVersion(number).write(staging), models / MODEL_NAME / str(number))
    spare = DigitsVersion(1).write(staging)
    manifest = json.loads((spare / "bundle.json").read_text())
    (spare / "bundle.json").write_text(json.dumps(manifest | {"name": SPARE_NAME}))
    _move(spare, models / SPARE_NAME / "1")


def _move(bundle: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bundle.rename(path)


class ReloadThread(threading.Thread):
    """Reloads models one after the other, from `start` to `stop`.

    Args:
        server: Server of a repository that `write_repository` wrote.
        staging: Folder on the same file system for incomplete versions.
        interval: Seconds between two reloads.
        warm_up_seconds: Seconds at the start in which reloads are twenty times as frequent.

    Attributes:
        counts: Number of successful reloads of each kind.
        faults: Descriptions of the others.
    """

    def __init__(
        self, server: RunningServer, staging: Path, interval: float, warm_up_seconds: float
    ) -> None:
        super().__init__(name="reloads")
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._server, self._staging = server, staging
        self._interval, self._warm_up_seconds = interval, warm_up_seconds
        self._stop_requested, self._highest = threading.Event(), INITIAL_VERSIONS

    def run(self) -> None:
        """Reload until `stop` is called."""
        number, warm_up_end = 0, time.monotonic() + self._warm_up_seconds
        while not self._stop_requested.wait(
            self._interval / (WARM_UP_SPEED if time.monotonic() < warm_up_end else 1)
        ):
            kind = KINDS[number % len(KINDS)]
            number += 1
            try:
                self._reload(kind)
            except RELOAD_ERRORS as error:
                self.faults.append(f"{kind}: {error!r}")
            else:
                self.counts[kind] += 1

    def stop(self) -> None:
        """Stop after the reload in progress."""
        self._stop_requested.set()
        self.join()

    def _reload(self, kind: str) -> None:
        if kind == "appears":
            self._highest += 1
            bundle = DigitsVersion(self._highest).write(self._staging)
            _move(bundle, self._server.models / MODEL_NAME / bundle.name)
            self._wait_for_version(self._highest)
        elif kind == "rollback":
            self._change_model(MODEL_NAME, "rollback", self._highest - 1)
        elif kind == "load":
            self._change_model(MODEL_NAME, "load", self._highest)
        else:
            self._change_model(SPARE_NAME, "unload", None)
            self._change_model(SPARE_NAME, "load", 1)

    def _change_model(self, name: str, action: str, expected_version: int | None) -> None:
        answer = self._server.change_model(name, action)
        if answer["version"] != expected_version:
            raise UnexpectedAnswerError(
                f"expected version {expected_version} after the {action} of {name}; got {answer}"
            )

    def _wait_for_version(self, version: int) -> None:
        deadline = time.monotonic() + HANG_SECONDS
        while (served := self._server.fetch_json(f"/models/{MODEL_NAME}")["version"]) != version:
            if time.monotonic() > deadline:
                raise UnexpectedAnswerError(
                    f"expected version {version} to be served; got {served}"
                )
            time.sleep(CHECK_SECONDS)
