"""The key file: its format, how it is read, and how API keys are generated.

The file has one line per key, `NAME SCOPE sha256:HEX`; blank lines and comments, which begin with
`#`, are ignored. It holds no secret: `serving key` prints a key once, and the file keeps only its
hash. A slow hash, which passwords need, would make every request slower without making it safer,
since keys are 256 random bits and cannot be guessed.
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

Scope = Literal["predict", "admin"]  # admin includes predict
SCOPES: tuple[Scope, ...] = get_args(Scope)
KEY_NAME_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")
KEY_HASH_PATTERN = re.compile(r"sha256:[0-9a-f]{64}")
KEY_BYTES = 32  # random bytes in a key
MAX_KEY_FILE_BYTES = 2**20  # about ten thousand keys


class KeyFileError(ValueError):
    """A key file that cannot be read at the moment, or that is malformed."""


class KeyFileUnavailableError(KeyFileError):
    """A path without a readable key file.

    Attributes:
        is_missing: Whether nothing is at the path, which happens for an instant while an editor
            replaces a file; False for a folder, a pipe or a file that this process may not read.
    """

    def __init__(self, message: str, *, is_missing: bool) -> None:
        super().__init__(message)
        self.is_missing = is_missing


class ApiKey(NamedTuple):
    """One line of the key file.

    Attributes:
        name: Name of the key, which the request log shows.
        scope: `predict`, or `admin`, which includes `predict`.
        digest: SHA-256 of the key, 32 bytes.
    """

    name: str
    scope: Scope
    digest: bytes


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Return the keys of a file; none if it has only blank lines and comments.

    Raises:
        KeyFileUnavailableError: If there is no file that this process may read.
        KeyFileError: If it cannot be read for another reason, a line is malformed, or a name or a
            key occurs twice.
    """
    content = _read_file(path)
    if len(content) > MAX_KEY_FILE_BYTES:
        raise KeyFileError(
            f"expected a key file of at most {MAX_KEY_FILE_BYTES} bytes; got more in {path}"
        )
    try:
        text = content.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise KeyFileError(f"expected a key file in UTF-8; got {path}: {error}") from error
    keys: dict[str, ApiKey] = {}
    names: dict[bytes, str] = {}  # by digest
    for number, line in enumerate(text.replace("\r", "\n").split("\n"), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        place = f"{path}, line {number}"
        key = _parse_line(words, place)
        if key.name in keys:
            raise KeyFileError(f"expected each name once; got {key.name} again in {place}")
        if key.digest in names:
            # Its scope would be ambiguous, and removing one line would not revoke the key.
            raise KeyFileError(
                f"expected each key once; got the key of {names[key.digest]} again, under the "
                f"name {key.name}, in {place}; remove one of the two lines"
            )
        keys[key.name], names[key.digest] = key, key.name
    return tuple(keys.values())


def require_keys(path: Path) -> tuple[ApiKey, ...]:
    """Return the keys of a file that must hold at least one.

    Raises:
        KeyFileError: If `read_keys` raises it, or the file holds no key.
    """
    keys = read_keys(path)
    if not keys:
        raise KeyFileError(
            f"expected a key in {path}; got none; create one with `serving key NAME`"
        )
    return keys


def generate_key(name: str, scope: Scope) -> tuple[str, str]:
    """Return a random key and its line for the key file.

    Raises:
        KeyFileError: If `name` is not a valid name.
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
        # An ordinary open of a pipe without a writer would block.
        with open(path, "rb", opener=_open_without_blocking) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileUnavailableError(
                    f"expected a key file; got {path}, which is not a regular file",
                    is_missing=False,
                )
            # `read` allocates as many bytes as it is asked for, so the size of the file is passed.
            return file.read(min(status.st_size, MAX_KEY_FILE_BYTES) + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise KeyFileUnavailableError(
            f"expected a key file; got nothing at {path}", is_missing=True
        ) from error
    except (PermissionError, IsADirectoryError) as error:
        raise KeyFileUnavailableError(
            f"expected a key file; got {path}: {error.strerror}", is_missing=False
        ) from error
    except OSError as error:
        raise KeyFileError(f"expected a key file; got {path}: {error.strerror}") from error


def _open_without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _parse_line(words: Sequence[str], place: str) -> ApiKey:
    name, scope, digest = words if len(words) == 3 else ("", "", "")
    if (
        not KEY_NAME_PATTERN.fullmatch(name)
        or scope not in SCOPES
        or not KEY_HASH_PATTERN.fullmatch(digest)
    ):
        # The line is not quoted, since it might hold a key.
        raise KeyFileError(
            f"expected NAME predict|admin sha256:HEX in {place}; got something else; create such "
            f"a line with `serving key NAME`"
        )
    return ApiKey(name, scope, bytes.fromhex(digest.removeprefix("sha256:")))
