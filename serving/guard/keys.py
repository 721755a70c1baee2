"""Keys: who may ask for what.

A file has a line for each key: `NAME SCOPE sha256:HEX`; blank lines and comments, from `#`, are
passed over. It holds no secret: `serving key` prints a key once, and of it only the hash is kept. A
slow hash, as passwords need, would guard nothing here and cost every request its time: keys are
drawn from 2²⁵⁶, and no one tries them all.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from hmac import compare_digest
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from serving.errors import AdministrationOffError, ForbiddenError, UnauthorizedError

Scope = Literal["predict", "admin"]  # the second includes the first
SCOPES: tuple[Scope, ...] = get_args(Scope)
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
HASH = re.compile(r"sha256:[0-9a-f]{64}")
BYTES = 32  # of a key


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
    """Those that a server knows.

    Args:
        known: them; None where prediction is open to all, and administration to no one.
    """

    def __init__(self, known: Sequence[Key] | None = None) -> None:
        self._known = known

    @classmethod
    def read(cls, path: Path | None) -> Keys:
        """Those of a file, if there is one.

        Raises:
            KeysError: it cannot be read, a line is not understood, or there is no key in it.
        """
        if path is None:
            return cls()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise KeysError(f"expected a file of keys; got {path}: {error}") from error
        known: list[Key] = []
        for number, line in enumerate(lines, 1):
            words = line.partition("#")[0].split()
            if words:
                known.append(_key(words, f"{path}, line {number}"))
                if known[-1].name in {key.name for key in known[:-1]}:
                    raise KeysError(
                        f"expected every name once; got {words[0]} again in {path}, line {number}"
                    )
        if not known:
            raise KeysError(f"expected a key in {path}; got none; `serving key NAME` makes one")
        return cls(known)

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
        if self._known is None:
            if scope == "admin":
                raise AdministrationOffError(
                    "expected a server with keys; got none, which leaves administration off; "
                    "`serving key NAME --scope admin` makes one, `serving run --keys FILE` takes it"
                )
            return
        held = self._scope_of(_given(environ))
        if held not in ("admin", scope):
            raise ForbiddenError(
                "expected a key with the scope admin; got one with the scope predict; "
                "ask for another"
            )

    def _scope_of(self, given: str) -> Scope:
        # The hash of what was given, so that nothing can be learned of a key but whether it is
        # right; and against all of them, to the end, whichever it is.
        digest = hashlib.sha256(given.encode("latin-1", "replace")).digest()
        held: Scope | None = None
        for key in self._known or ():
            if compare_digest(digest, key.digest):
                held = key.scope
        if held is None:
            raise UnauthorizedError(
                "expected a key, as Authorization: Bearer KEY or as X-API-Key: KEY; "
                f"got {'one that is not known' if given else 'none'}; ask for one"
            )
        return held


def new_key(name: str, scope: Scope) -> tuple[str, str]:
    """A key, drawn at random, and the line that makes it known.

    Raises:
        KeysError: that is no name.
    """
    if not NAME.fullmatch(name):
        raise KeysError(f"expected a name of 1 to 64 letters, digits, '.', '_', '-'; got {name!r}")
    key = secrets.token_urlsafe(BYTES)
    return key, f"{name} {scope} sha256:{hashlib.sha256(key.encode()).hexdigest()}"


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
