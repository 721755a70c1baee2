"""Keys: who may ask for what.

A file has a line for each key: `NAME SCOPE sha256:HEX`; blank lines and comments, from `#`, are
passed over. It holds no secret: `serving key` prints a key once, and of it only the hash is kept. A
slow hash, as passwords need, would guard nothing here and cost every request its time: keys are
drawn from 2²⁵⁶, and no one tries them all.

The file is followed while the server runs: a line that is added or taken out counts within a
second, in every worker. One that is not understood changes nothing but the log: a slip in an editor
neither locks everyone out nor lets anyone in.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from hmac import compare_digest
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple, get_args

from serving.errors import AdministrationOffError, ForbiddenError, UnauthorizedError

log = logging.getLogger(__name__)

Scope = Literal["predict", "admin"]  # the second includes the first
SCOPES: tuple[Scope, ...] = get_args(Scope)
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
HASH = re.compile(r"sha256:[0-9a-f]{64}")
BYTES = 32  # of a key
LOOK = 1.0  # seconds between two looks at the file
# Seconds after which a file that changes once more has another time of change, on any file system.
SETTLED = 2.0


class KeysError(ValueError):
    """A file of keys that cannot be read, or a line of it that is not understood."""


class Key(NamedTuple):
    """What is known of a key.

    Attributes:
        name: whose it is.
        scope: what it opens.
        digest: of SHA-256, 32 bytes.
    """

    name: str
    scope: Scope
    digest: bytes


class Keys:
    """Those that a server knows, as their file has them now.

    It raises nothing when the file is bad: the keys that were good last are known further, and none
    if there never were any. What is wrong is logged, once.

    Args:
        path: of the file; None where prediction is open to all, and administration to no one.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: tuple[Key, ...] = ()
        self._seen: tuple[int, ...] | None = None  # the file's stat, when it was last read
        self._fault = ""  # what is wrong with it
        self._next_look = inf if path is None else 0.0
        self._follow()

    def check(self, environ: Mapping[str, Any], scope: Scope) -> None:
        """Let a request pass.

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
        self._follow()
        held = self._scope_of(_given(environ))
        if held not in ("admin", scope):
            raise ForbiddenError(
                "expected a key with the scope admin; got one with the scope predict; "
                "ask for another"
            )

    def _follow(self) -> None:
        """Look at the file, if it is time to, and read it if it has changed."""
        if self._path is None or perf_counter() < self._next_look:
            return
        self._next_look = perf_counter() + LOOK
        seen = _stat(self._path)
        if seen is not None and seen == self._seen:
            return
        try:
            known = read_keys(self._path)
        except KeysError as error:
            if str(error) != self._fault:
                log.error("%s; %d keys are known as before", error, len(self._known))
            self._fault = str(error)
        else:
            if known != self._known or self._fault:
                log.info("%d keys are known from %s", len(known), self._path)
            self._known, self._fault = known, ""
        self._seen = seen

    def _scope_of(self, given: str) -> Scope:
        # The hash of what was given, so that nothing can be learned of a key but whether it is
        # right; and against all of them, to the end, whichever it is.
        digest = hashlib.sha256(given.encode("latin-1", "replace")).digest()
        held: Scope | None = None
        for key in self._known:
            if compare_digest(digest, key.digest):
                held = key.scope
        if held is None:
            raise UnauthorizedError(
                "expected a key, as Authorization: Bearer KEY or as X-API-Key: KEY; "
                f"got {'one that is not known' if given else 'none'}; ask for one"
            )
        return held


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file.

    Raises:
        KeysError: it cannot be read, a line is not understood, or there is no key in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeysError(f"expected a file of keys; got {path}: {error}") from error
    known: dict[str, Key] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if words:
            key = _key(words, f"{path}, line {number}")
            if key.name in known:
                raise KeysError(
                    f"expected every name once; got {key.name} again in {path}, line {number}"
                )
            known[key.name] = key
    if not known:
        raise KeysError(f"expected a key in {path}; got none; `serving key NAME` makes one")
    return tuple(known.values())


def new_key(name: str, scope: Scope) -> tuple[str, str]:
    """A key, drawn at random, and the line that makes it known.

    Raises:
        KeysError: that is no name.
    """
    if not NAME.fullmatch(name):
        raise KeysError(f"expected a name of 1 to 64 letters, digits, '.', '_', '-'; got {name!r}")
    key = secrets.token_urlsafe(BYTES)
    return key, f"{name} {scope} sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def _stat(path: Path) -> tuple[int, ...] | None:
    """What differs when a file has been changed or replaced.

    None where that cannot be told: there is no file, or one so young that what is written to it
    next may bear the same time.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    if time.time() - max(found.st_mtime, found.st_ctime) < SETTLED:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _key(words: Sequence[str], place: str) -> Key:
    name, scope, digest = words if len(words) == 3 else ("", "", "")
    if not NAME.fullmatch(name) or scope not in SCOPES or not HASH.fullmatch(digest):
        # What it is instead might be a key, and is not shown.
        raise KeysError(
            f"expected NAME predict|admin sha256:HEX in {place}; got something else; "
            f"`serving key NAME` makes such a line"
        )
    return Key(name, scope, bytes.fromhex(digest.removeprefix("sha256:")))


def _given(environ: Mapping[str, Any]) -> str:
    """The key that a request brings; empty if none."""
    header: str = environ.get("HTTP_AUTHORIZATION", "")
    if header[:7].lower() == "bearer ":
        return header[7:].strip()
    given: str = environ.get("HTTP_X_API_KEY", "")
    return given
