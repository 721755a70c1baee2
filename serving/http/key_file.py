"""The key file: its format, reading it, and making keys.

It has one line per key, `NAME SCOPE sha256:HEX`; blank lines and comments, from `#`, are ignored.
It holds no secret: `serving key` prints the key once, and the file keeps only its hash. A slow
hash, as passwords need, would add time to every request and no security: keys are 256 random bits,
too many to try.
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
KEY_NAME_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")
KEY_HASH_PATTERN = re.compile(r"sha256:[0-9a-f]{64}")
KEY_BYTES = 32  # random bytes of a key
MAX_KEY_FILE_BYTES = 2**20  # bytes; room for some ten thousand keys


class KeyFileError(ValueError):
    """A key file that cannot be read at the moment, or that is malformed."""


class KeyFileUnavailableError(KeyFileError):
    """A path without a readable key file.

    Attributes:
        is_missing: Whether nothing is at the path, as for an instant while an editor replaces a
            file; False for a folder, a pipe or a file that this process may not read.
    """

    def __init__(self, message: str, *, is_missing: bool) -> None:
        super().__init__(message)
        self.is_missing = is_missing


class ApiKey(NamedTuple):
    """A line of the key file.

    Attributes:
        name: Name of the key's holder.
        scope: Scope of the key.
        digest: SHA-256 of the key, 32 bytes.
    """

    name: str
    scope: Scope
    digest: bytes


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Return the keys of a file; none if it has only blank lines and comments.

    Raises:
        NoKeysFileError: If there is no file that this process may read.
        KeysError: If it cannot be read for another reason, a line is malformed, or a name or a key
            occurs twice.
    """
    content = _read_file(path)
    if len(content) > MAX_KEY_FILE_BYTES:
        raise KeyFileError(
            f"expected a file of keys of at most {MAX_KEY_FILE_BYTES} bytes; got {path}"
        )
    try:
        text = content.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise KeyFileError(f"expected a file of keys, in UTF-8; got {path}: {error}") from error
    keys: dict[str, ApiKey] = {}
    names: dict[bytes, str] = {}  # by digest
    for number, line in enumerate(text.replace("\r", "\n").split("\n"), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        place = f"{path}, line {number}"
        key = _parse_line(words, place)
        if key.name in keys:
            raise KeyFileError(f"expected every name once; got {key.name} again in {place}")
        if key.digest in names:
            # Its scope would be ambiguous, and removing one line would not revoke the key.
            raise KeyFileError(
                f"expected every key once; got the one of {names[key.digest]} again, as "
                f"{key.name}, in {place}; take one of the lines out"
            )
        keys[key.name], names[key.digest] = key, key.name
    return tuple(keys.values())


def require_keys(path: Path) -> tuple[ApiKey, ...]:
    """Return the keys of a file, at least one.

    Raises:
        KeysError: If `read_keys` raises it, or there is no key in the file.
    """
    keys = read_keys(path)
    if not keys:
        raise KeyFileError(f"expected a key in {path}; got none; `serving key NAME` makes one")
    return keys


def generate_key(name: str, scope: Scope) -> tuple[str, str]:
    """Return a random key, and its line for the key file.

    Raises:
        KeysError: If `name` is not a valid name.
    """
    if not KEY_NAME_PATTERN.fullmatch(name):
        raise KeyFileError(
            f"expected a name of 1 to 64 letters, digits, '.', '_', '-'; got {name!r}"
        )
    key = secrets.token_urlsafe(KEY_BYTES)
    return key, f"{name} {scope} sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def _read_file(path: Path) -> bytes:
    """Return the content of a file, at most one byte more than `MAX_KEY_FILE_BYTES`."""
    try:
        # Opening a pipe that has no writer would block.
        with open(path, "rb", opener=_open_without_blocking) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise KeyFileUnavailableError(
                    f"expected a file of keys; got {path}, which is no regular file",
                    is_missing=False,
                )
            # A read of so many bytes allocates them first, and the file is looked at often.
            return file.read(min(found.st_size, MAX_KEY_FILE_BYTES) + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise KeyFileUnavailableError(
            f"expected a file of keys; got none at {path}", is_missing=True
        ) from error
    except (PermissionError, IsADirectoryError) as error:
        raise KeyFileUnavailableError(
            f"expected a file of keys; got {path}: {error.strerror}", is_missing=False
        ) from error
    except OSError as error:
        raise KeyFileError(f"expected a file of keys; got {path}: {error.strerror}") from error


def _open_without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _parse_line(words: Sequence[str], place: str) -> ApiKey:
    name, scope, digest = words if len(words) == 3 else ("", "", "")
    if (
        not KEY_NAME_PATTERN.fullmatch(name)
        or scope not in SCOPES
        or not KEY_HASH_PATTERN.fullmatch(digest)
    ):
        # The line is not shown: it might hold a key.
        raise KeyFileError(
            f"expected NAME predict|admin sha256:HEX in {place}; got something else; "
            f"`serving key NAME` makes such a line"
        )
    return ApiKey(name, scope, bytes.fromhex(digest.removeprefix("sha256:")))
