"""Keys: who may ask for what, as the file of keys says it now.

The file is followed while the server runs; what it says counts within a second, in every worker:

- A line that is added or taken out. Where no key is left, every request that needs one is refused;
  so it is where a folder, a pipe or a file that may not be read has taken the file's place.
- A file that is missing gives no keys after two seconds: editors and deployments replace files.
- A file with a line that is not understood is damaged: the keys of before stay, and the log says
  why. A slip in an editor neither locks everyone out nor lets anyone in.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import weakref
from collections.abc import Mapping
from hmac import compare_digest
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from serving.call_context import get_context
from serving.errors import AdministrationOffError, ForbiddenError, UnauthorizedError
from serving.http.key_file import ApiKey, KeyFileError, KeyFileUnavailableError, Scope, read_keys

log = logging.getLogger(__name__)
POLL_SECONDS = 0.25  # seconds between two looks at the file
# Seconds after which keys that are no longer in the file are gone: an editor that writes a file
# anew empties it first.
REWRITE_SECONDS = 0.25
MISSING_FILE_SECONDS = 2.0  # seconds that a file may be missing before its keys are gone
# Seconds after which a file that changes once more has another time of change, on any file system.
TIMESTAMP_SECONDS = 2.0


class KeyRemoval(NamedTuple):
    """A file of keys that lacks one which was known.

    Attributes:
        first_seen_at: When a key was first missed, in seconds of `perf_counter`'s clock.
        unchanged_since: When the file was found to be as it is now, likewise.
        modified_at: When it was written last, in seconds since 1970; None if there is no file.
    """

    first_seen_at: float
    unchanged_since: float
    modified_at: float | None


class ApiKeys:
    """Those that a server knows, as their file has them now.

    It raises nothing when the file is bad: see above which keys count then. What is wrong is
    logged, once.

    Args:
        path: of the file; None where prediction is open to all, and administration to no one.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._keys: tuple[ApiKey, ...] = ()
        self._last_fingerprint: tuple[int, ...] | None = (
            None  # the file's stat, when it was last read
        )
        self._removal: KeyRemoval | None = None  # of a key that was known, while it may be undone
        self._last_logged = ""  # the last thing that was said of it
        self._next_poll_at = inf if path is None else 0.0
        self._reload_lock = threading.Lock()
        self.reload_if_changed()

    def start_watching(self) -> None:
        """Follow the file from here on, for as long as someone holds this, asked or not.

        How long a file has been missing, only one who looks can tell. In a worker of ours this is
        a greenlet, since there threads are; under another server a thread.
        """
        if self._path is not None:
            threading.Thread(
                target=_poll_until_collected, args=(weakref.ref(self),), name="keys", daemon=True
            ).start()

    def authorize(self, environ: dict[str, Any], scope: Scope) -> None:
        """Let a request pass, and note the name of its key.

        Args:
            environ: WSGI's, with the key as `Authorization: Bearer KEY` or as `X-API-Key`.
            scope: that the request needs.

        Raises:
            UnauthorizedError: it has no key, or an unknown one.
            ForbiddenError: its key does not go so far.
            AdministrationOffError: there are no keys, and it is about administration.
        """
        if self._path is None:
            if scope == "admin":
                raise AdministrationOffError(
                    "expected a server with keys; got none, which leaves administration off; "
                    "`serving key NAME --scope admin` makes one, `serving run --keys FILE` takes it"
                )
            return
        given = _get_given_key(environ)
        key = self._find_key(given)
        if key is None:
            raise UnauthorizedError(
                "expected a key, as Authorization: Bearer KEY or as X-API-Key: KEY; "
                f"got {'an unknown one' if given else 'none'}; ask the server's operator for one"
            )
        get_context(environ).key_name = key.name
        if key.scope not in ("admin", scope):
            raise ForbiddenError(
                "expected a key with the scope admin; got one with the scope predict; "
                "ask for another"
            )

    def may_see_details(self, environ: dict[str, Any]) -> bool:
        """Return whether a request that needs no key may be told names of models, and reasons.

        Where there are keys, that takes one, of any scope.

        Args:
            environ: WSGI's, as of `check`.
        """
        if self._path is None:
            return True
        key = self._find_key(_get_given_key(environ))
        if key is not None:
            get_context(environ).key_name = key.name
        return key is not None

    def reload_if_changed(self) -> None:
        """Look at the file, if it is time to, and read it if it has changed."""
        now = perf_counter()
        if self._path is None or now < self._next_poll_at:
            return
        if self._reload_lock.acquire(blocking=False):  # or another thread is at it
            try:
                self._next_poll_at = now + POLL_SECONDS
                seen = _fingerprint(self._path)
                if seen is None or seen != self._last_fingerprint:
                    self._last_fingerprint = seen if self._reload(self._path, now) else None
            finally:
                self._reload_lock.release()

    def _reload(self, path: Path, now: float) -> bool:
        """Take over what the file says; whether it has to change before it says anything else."""
        patience = REWRITE_SECONDS
        try:
            keys, said = read_keys(path), f"no key is left in {path}"
        except KeyFileUnavailableError as error:
            keys, said = (), str(error)
            if error.is_missing:
                patience = MISSING_FILE_SECONDS
        except KeyFileError as error:
            self._removal = None
            self._log_once(f"{error}; {_count_keys(self._keys)} known as before")
            return not isinstance(error.__cause__, OSError)
        if not set(self._keys) <= set(keys) and self._may_be_rewrite(path, now, patience):
            if patience == MISSING_FILE_SECONDS:
                self._log_once(
                    f"{said}; {_count_keys(self._keys)} known for {MISSING_FILE_SECONDS:g} seconds more"
                )
            return False
        self._removal = None
        if keys != self._keys:
            self._keys, self._last_logged = keys, ""
        if keys:
            self._log_once(f"{_count_keys(keys)} known from {path}", logging.INFO)
        else:
            self._log_once(f"{said}; every request that needs a key is refused")
        return True

    def _may_be_rewrite(self, path: Path, now: float, patience: float) -> bool:
        """Return whether a file that lacks a key may be one that an editor is writing anew."""
        written = _get_change_time(path)
        if self._removal is None:
            self._removal = KeyRemoval(now, now, written)
        elif self._removal.modified_at != written:
            self._removal = self._removal._replace(unchanged_since=now, modified_at=written)
        if (
            now - self._removal.first_seen_at >= MISSING_FILE_SECONDS
            or now - self._removal.unchanged_since >= patience
        ):
            return False
        # One that was emptied before anyone looked has had its time.
        return written is None or time.time() - written < REWRITE_SECONDS

    def _log_once(self, text: str, level: int = logging.ERROR) -> None:
        if text != self._last_logged:
            self._last_logged = text
            log.log(level, "%s", text)

    def _find_key(self, given: str) -> ApiKey | None:
        """Return what is known of a key, None if nothing is."""
        self.reload_if_changed()
        # The hash of what was given, so that nothing can be learned of a key but whether it is
        # right; and against all of them, to the end, whichever it is.
        digest = hashlib.sha256(given.encode("latin-1", "replace")).digest()
        found: ApiKey | None = None
        for key in self._keys:
            if compare_digest(digest, key.digest):
                found = key
        return found


def _poll_until_collected(found: weakref.ref[ApiKeys]) -> None:
    while (keys := found()) is not None:
        keys.reload_if_changed()
        del keys  # or it would be held while this sleeps
        time.sleep(POLL_SECONDS)


def _count_keys(keys: tuple[ApiKey, ...]) -> str:
    return "1 key is" if len(keys) == 1 else f"{len(keys) or 'no'} keys are"


def _fingerprint(path: Path) -> tuple[int, ...] | None:
    """What differs when a file has been changed or replaced.

    None where that cannot be told: there is no file, or one so young that what is written to it
    next may bear the same time.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    if time.time() - max(found.st_mtime, found.st_ctime) < TIMESTAMP_SECONDS:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _get_change_time(path: Path) -> float | None:
    """Return when a file was changed last, in seconds since 1970; None if it is not found."""
    try:
        found = path.stat()
    except OSError:
        return None
    return max(found.st_mtime, found.st_ctime)


def _get_given_key(environ: Mapping[str, Any]) -> str:
    """The key that a request brings; empty if none."""
    header: str = environ.get("HTTP_AUTHORIZATION", "")
    if header[:7].lower() == "bearer ":
        return header[7:].strip()
    given: str = environ.get("HTTP_X_API_KEY", "")
    return given


# Asked by orchestrators and load balancers, which have no keys; they say alive, ready, or not, and
# names of models and reasons only to a request with a key.
OPEN_ROUTES = {"/healthz", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready"}
OPEN_ROUTES |= {"/docs", "/docs/<file>"}  # a page that shows nothing before it has asked for a key
# By endpoint, where Vertex AI may choose the path for something else that does need a key.
OPEN_ENDPOINTS = {"clouds.vertex_health", "index.index", "index.icon"}
ADMIN_ROUTE_PREFIX = (
    "/v2/repository/models/"  # and what follows: it changes which versions are served
)


def get_required_scope(rule: str | None, endpoint: str | None = None) -> Scope | None:
    """What a request for a route needs.

    Args:
        rule: of the route, as Flask has it; None where there is no such route.
        endpoint: its name there.

    Returns:
        The scope; None if it needs no key.
    """
    if rule is None:
        return "predict"
    if rule in OPEN_ROUTES or endpoint in OPEN_ENDPOINTS:
        return None
    return "admin" if rule.startswith(ADMIN_ROUTE_PREFIX) else "predict"
