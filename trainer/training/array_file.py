"""Files of named arrays: .npz files that are written atomically and hold no pickles."""

from __future__ import annotations

import io
import os
import tokenize
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from serving.bundle import add_path_to_errors

Arrays = dict[str, NDArray[Any]]


class DamagedFileError(ValueError):
    """A file that is no .npz file of plain arrays, or is incomplete or corrupt."""


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to an .npz file.

    The content is written to a temporary file in the same folder, synced to disk, and renamed, so
    that `path` always holds either the old content or the new one.

    Args:
        path: Path of the file.
        arrays: Arrays by name, of any shape and any dtype but object.

    Raises:
        OSError: If the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.building")
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    try:
        with add_path_to_errors(path), temporary.open("wb") as file:
            file.write(content.getvalue())
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_arrays(path: Path) -> Arrays:
    """Return the arrays of a file that `write_arrays` has written, by name.

    Raises:
        DamagedFileError: If the file is damaged, or contains Python objects.
        OSError: If the file cannot be opened.
    """
    content = path.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    # NumPy and zipfile raise any of these for a damaged file, depending on which bytes are damaged.
    except (
        OSError,
        AttributeError,
        EOFError,
        BadZipFile,
        KeyError,
        NotImplementedError,
        RuntimeError,
        SyntaxError,
        TypeError,
        tokenize.TokenError,
        ValueError,
        zlib.error,
    ) as error:
        raise DamagedFileError(
            f"{path}: expected a whole .npz file of plain arrays; got a damaged one"
        ) from error
