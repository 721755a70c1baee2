"""A store: rows written one block after the other, in memory or in a file without a name."""

from __future__ import annotations

import tempfile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.tables import DataError

IN_MEMORY = 2**26  # bytes of rows; more go to a file


class Store:
    """An array that is filled from its first row to its last."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], *, in_file: bool) -> None:
        """Make room.

        Args:
            shape: of the array.
            dtype: likewise.
            in_file: keep it in a temporary file, in the folder that `TMPDIR` names, which ends
                with the array.
        """
        self._shape, self._dtype, self._rows = shape, dtype, 0
        self._file: IO[bytes] | None = None
        if in_file and 0 not in shape:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._array = np.empty(shape if self._file is None else 0, dtype)

    def append(self, block: NDArray[Any]) -> None:
        """Write the next rows.

        Raises:
            DataError: there is no room for them.
        """
        start, self._rows = self._rows, self._rows + len(block)
        if self._rows > self._shape[0]:
            raise DataError(f"expected {self._shape[0]} rows; got more: the file is being changed")
        if self._file is None:
            self._array[start : self._rows] = block
            return
        try:
            self._file.write(np.ascontiguousarray(block, self._dtype).data)
        except OSError as error:
            raise DataError(
                f"expected room for {np.prod(self._shape) * self._dtype.itemsize} bytes in "
                f"{tempfile.gettempdir()}; {error}; set TMPDIR to a folder with more"
            ) from error

    def array(self) -> NDArray[Any]:
        """All rows.

        Raises:
            DataError: not all were written.
        """
        if self._rows < self._shape[0]:
            raise DataError(
                f"expected {self._shape[0]} rows; got {self._rows}: the file is being changed"
            )
        if self._file is not None and not self._array.size:
            self._file.flush()
            self._array = np.memmap(self._file, self._dtype, "r+", shape=self._shape)
        return self._array

    def close(self) -> None:
        """Write no more; the array stays."""
        if self._file is not None:
            self._file.close()  # a mapping keeps what it maps
