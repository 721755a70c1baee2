"""The file of keys: what its lines say, and how it is read.

It has a line for each key: `NAME SCOPE sha256:HEX`; blank lines and comments, from `#`, are passed
over. It holds no secret: `serving key` prints a key once, and of it only the hash is kept. A slow
hash, as passwords need, would guard nothing here and cost every request its time: keys are drawn
from 2²⁵⁶, and no one tries them all.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

Scope = Literal["predict", "admin"]  # the second includes the first
SCOPES: tuple[Scope, ...] = get_args(Scope)
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
HASH = re.compile(r"sha256:[0-9a-f]{64}")
BYTES = 32  # of a key
LARGEST_FILE = 2**20  # bytes; room for some ten thousand keys


class KeysError(ValueError):
    """A file of keys that cannot be read just now, or a line of it that is not understood."""


class NoKeysFileError(KeysError):
    """A path where there is no readable file: it gives no key to anyone.

    Attributes:
        is_missing: There is nothing at all, as for an instant while an editor replaces a file;
            otherwise a folder, a pipe or a file that this process may not read.
    """

    def __init__(self, message: str, *, is_missing: bool) -> None:
        super().__init__(message)
        self.is_missing = is_missing


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


def read_keys(path: Path) -> tuple[Key, ...]:
    """Return the keys of a file, none if it has no line but blank ones and comments.

    Raises:
        NoKeysFileError: If there is no file that this process may read.
        KeysError: If it cannot be read for another reason, a line is not understood, or a name or
            a key is in it twice.
    """
    content = _read(path)
    if len(content) > LARGEST_FILE:
        raise KeysError(f"expected a file of keys of at most {LARGEST_FILE} bytes; got {path}")
    try:
        text = content.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise KeysError(f"expected a file of keys, in UTF-8; got {path}: {error}") from error
    keys: dict[str, Key] = {}
    names: dict[bytes, str] = {}  # by digest
    for number, line in enumerate(text.replace("\r", "\n").split("\n"), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        place = f"{path}, line {number}"
        key = _key(words, place)
        if key.name in keys:
            raise KeysError(f"expected every name once; got {key.name} again in {place}")
        if key.digest in names:
            # Which of two scopes would count, and is the key revoked when one line is taken out?
            raise KeysError(
                f"expected every key once; got the one of {names[key.digest]} again, as "
                f"{key.name}, in {place}; take one of the lines out"
            )
        keys[key.name], names[key.digest] = key, key.name
    return tuple(keys.values())


def require_keys(path: Path) -> tuple[Key, ...]:
    """Return the keys of a file, at least one.

    Raises:
        KeysError: If `read_keys` raises it, or there is no key in the file.
    """
    keys = read_keys(path)
    if not keys:
        raise KeysError(f"expected a key in {path}; got none; `serving key NAME` makes one")
    return keys


def new_key(name: str, scope: Scope) -> tuple[str, str]:
    """A key, drawn at random, and the line that makes it known.

    Raises:
        KeysError: that is no name.
    """
    if not NAME.fullmatch(name):
        raise KeysError(f"expected a name of 1 to 64 letters, digits, '.', '_', '-'; got {name!r}")
    key = secrets.token_urlsafe(BYTES)
    return key, f"{name} {scope} sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def _read(path: Path) -> bytes:
    """Return what is in a file, up to one byte more than the largest may have."""
    try:
        # A pipe in its place, which has no writer, would hold up whoever opens it.
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise NoKeysFileError(
                    f"expected a file of keys; got {path}, which is no regular file",
                    is_missing=False,
                )
            return file.read(LARGEST_FILE + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoKeysFileError(
            f"expected a file of keys; got none at {path}", is_missing=True
        ) from error
    except (PermissionError, IsADirectoryError) as error:
        raise NoKeysFileError(
            f"expected a file of keys; got {path}: {error.strerror}", is_missing=False
        ) from error
    except OSError as error:
        raise KeysError(f"expected a file of keys; got {path}: {error.strerror}") from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _key(words: Sequence[str], place: str) -> Key:
    name, scope, digest = words if len(words) == 3 else ("", "", "")
    if not NAME.fullmatch(name) or scope not in SCOPES or not HASH.fullmatch(digest):
        # What it is instead might be a key, and is not shown.
        raise KeysError(
            f"expected NAME predict|admin sha256:HEX in {place}; got something else; "
            f"`serving key NAME` makes such a line"
        )
    return Key(name, scope, bytes.fromhex(digest.removeprefix("sha256:")))
