"""API keys: which requests are allowed, according to the current key file.

The key file is watched while the server runs. A change takes effect within a second, in every
worker:

- A key is accepted once its line is added, and refused once its line is removed. If no key is left,
  every request that needs one is refused; the same holds if the path has become a folder, a pipe or
  a file that may not be read.
- If the file is missing, its keys are accepted for two more seconds, because editors and
  deployments replace files.
- If a line of the file is malformed, the previous keys stay valid and the log says why. So a
  typing error neither revokes keys nor accepts new ones.
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

POLL_SECONDS = 0.25  # time between two checks of the key file
# Time for which removed keys stay accepted: an editor that rewrites a file empties it first.
REWRITE_SECONDS = 0.25
# Time for which all keys stay accepted while the file is missing.
MISSING_FILE_SECONDS = 2.0
# Largest step of a file system's timestamps. A file that is younger may change again and keep its
# modification time.
TIMESTAMP_SECONDS = 2.0


class KeyRemoval(NamedTuple):
    """The state of a key file from which a key has disappeared, perhaps only during an edit.

    Attributes:
        first_seen_at: Time at which a key was first missing, in seconds on the clock of
            `perf_counter`.
        unchanged_since: Time at which the file was first seen in its present state, in seconds on
            the same clock.
        modified_at: Time of the file's last change, in seconds since 1970; None if there is no
            file.
    """

    first_seen_at: float
    unchanged_since: float
    modified_at: float | None


class ApiKeys:
    """The keys that a server accepts, kept up to date with the key file.

    The constructor does no work: the file is read by `start_watching`, or else at the first request
    that needs a key. A bad key file raises nothing; the module's docstring says which keys are
    accepted then. Each problem is logged once.

    Args:
        path: Path of the key file; None for a server without keys, where anyone may predict and
            administration is off.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._keys: tuple[ApiKey, ...] = ()
        # Fingerprint of the file when it was last read; None to read it again at the next check.
        self._last_fingerprint: tuple[int, ...] | None = None
        self._removal: KeyRemoval | None = None  # None unless a removed key is still accepted
        self._last_logged = ""  # last message, so that it is not repeated
        self._next_poll_at = inf if path is None else 0.0
        self._reload_lock = threading.Lock()

    def start_watching(self) -> None:
        """Read the file, and check it regularly in the background, also while no requests arrive.

        Only regular checks can tell how long a file has been missing. They end when this object is
        no longer referenced. They run in a thread, which is a greenlet in a worker of this server,
        since gevent has patched `threading` there.
        """
        if self._path is not None:
            self.reload_if_changed()
            threading.Thread(
                target=_poll_until_collected, args=(weakref.ref(self),), name="keys", daemon=True
            ).start()

    def authorize(self, environ: dict[str, Any], scope: Scope | None) -> None:
        """Check the key of a request and record the key's name in the request's context.

        Args:
            environ: WSGI environ of the request, whose key is given as `Authorization: Bearer KEY`
                or as `X-API-Key: KEY`.
            scope: Scope that the request needs; None if it needs no key.

        Raises:
            UnauthorizedError: If the request has no key, or an unknown one.
            ForbiddenError: If the scope of its key does not allow the request.
            AdministrationOffError: If the scope is `admin` and the server has no keys.
        """
        if self._path is None:
            if scope == "admin":
                raise AdministrationOffError(
                    "expected a server with API keys, since administration needs one; got one "
                    "without; create a key with `serving key NAME --scope admin` and start the "
                    "server with `serving run --keys FILE`"
                )
            return
        if scope is None:
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
        """Return whether an answer that needs no key may name models and give reasons.

        On a server with keys, the request needs a valid key of any scope for that.

        Args:
            environ: WSGI environ of the request, with the key as in `authorize`.
        """
        if self._path is None:
            return True
        key = self._find_key(_get_given_key(environ))
        if key is not None:
            get_context(environ).key_name = key.name
        return key is not None

    def reload_if_changed(self) -> None:
        """Check the file if a check is due, and read it if it has changed."""
        now = perf_counter()
        if self._path is None or now < self._next_poll_at:
            return
        # A thread that finds another one reading the file uses the keys as they are.
        if self._reload_lock.acquire(blocking=False):
            try:
                self._next_poll_at = now + POLL_SECONDS
                fingerprint = _fingerprint(self._path)
                if fingerprint is None or fingerprint != self._last_fingerprint:
                    is_final = self._reload(self._path, now)
                    self._last_fingerprint = fingerprint if is_final else None
            finally:
                self._reload_lock.release()

    def _reload(self, path: Path, now: float) -> bool:
        """Read the file and accept the keys in it.

        Returns:
            Whether the result is final for this version of the file; if not, it is to be read again
            at the next check even if it has not changed.
        """
        grace_seconds = REWRITE_SECONDS
        try:
            keys, problem = read_keys(path), f"no key is left in {path}"
        except KeyFileUnavailableError as error:
            keys, problem = (), str(error)
            if error.is_missing:
                grace_seconds = MISSING_FILE_SECONDS
        except KeyFileError as error:
            self._removal = None
            self._log_once(f"{error}; {_describe_count(self._keys)} accepted, as before")
            return not isinstance(error.__cause__, OSError)
        if not set(self._keys) <= set(keys) and self._may_be_rewrite(path, now, grace_seconds):
            if grace_seconds == MISSING_FILE_SECONDS:
                self._log_once(
                    f"{problem}; {_describe_count(self._keys)} accepted for "
                    f"{MISSING_FILE_SECONDS:g} seconds more"
                )
            return False
        self._removal = None
        if keys != self._keys:
            self._keys, self._last_logged = keys, ""
        if keys:
            self._log_once(f"{_describe_count(keys)} accepted, read from {path}", logging.INFO)
        else:
            self._log_once(f"{problem}; every request that needs a key is refused")
        return True

    def _may_be_rewrite(self, path: Path, now: float, grace_seconds: float) -> bool:
        """Return whether an editor may be rewriting a file that lacks a key."""
        modified_at = _get_change_time(path)
        if self._removal is None:
            self._removal = KeyRemoval(now, now, modified_at)
        elif self._removal.modified_at != modified_at:
            self._removal = self._removal._replace(unchanged_since=now, modified_at=modified_at)
        if (
            now - self._removal.first_seen_at >= MISSING_FILE_SECONDS
            or now - self._removal.unchanged_since >= grace_seconds
        ):
            return False
        # A file that was emptied long before this check is not being rewritten any more.
        return modified_at is None or time.time() - modified_at < REWRITE_SECONDS

    def _log_once(self, text: str, level: int = logging.ERROR) -> None:
        if text != self._last_logged:
            self._last_logged = text
            log.log(level, "%s", text)

    def _find_key(self, given: str) -> ApiKey | None:
        """Return the entry of a key, or None if the key is not accepted."""
        self.reload_if_changed()
        # The digest is compared with all keys, each in constant time, so that the time of an answer
        # reveals nothing about the keys.
        digest = hashlib.sha256(given.encode("latin-1", "replace")).digest()
        found: ApiKey | None = None
        for key in self._keys:
            if compare_digest(digest, key.digest):
                found = key
        return found


def _poll_until_collected(reference: weakref.ref[ApiKeys]) -> None:
    while (api_keys := reference()) is not None:
        api_keys.reload_if_changed()
        del api_keys  # a reference held during the sleep would keep the object alive for ever
        time.sleep(POLL_SECONDS)


def _describe_count(keys: tuple[ApiKey, ...]) -> str:
    return "1 key is" if len(keys) == 1 else f"{len(keys) or 'no'} keys are"


def _fingerprint(path: Path) -> tuple[int, ...] | None:
    """Return values that change when the file is changed or replaced.

    Returns:
        Times, size, inode and device of the file; None if there is no file, or if its next change
        may leave these values unchanged because the file is too young.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    if time.time() - max(status.st_mtime, status.st_ctime) < TIMESTAMP_SECONDS:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev


def _get_change_time(path: Path) -> float | None:
    """Return when a file was last changed, in seconds since 1970; None if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return max(status.st_mtime, status.st_ctime)


def _get_given_key(environ: Mapping[str, Any]) -> str:
    """Return the key of a request; empty if it has none."""
    header: str = environ.get("HTTP_AUTHORIZATION", "")
    if header[:7].lower() == "bearer ":
        return header[7:].strip()
    given: str = environ.get("HTTP_X_API_KEY", "")
    return given
