"""Arrays in a file: written whole or not at all, read without pickles."""

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
    """The file is not one of arrays, or no longer whole."""


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz file: built beside `path`, synced, renamed.

    Raises:
        OSError: it cannot be written.
    """
    building = path.with_name(f".{path.name}.building")
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    try:
        with add_path_to_errors(path), building.open("wb") as file:
            file.write(content.getvalue())
            file.flush()
            os.fsync(file.fileno())
        building.rename(path)
    except BaseException:
        building.unlink(missing_ok=True)
        raise


def read_arrays(path: Path) -> Arrays:
    """What `write_arrays` was given.

    Raises:
        DamagedFileError: it is no file of arrays, or one of Python objects.
        OSError: it cannot be opened.
    """
    content = path.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
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
