"""The self-test of a bundle, selftest.npz: golden inputs and the outputs expected for them."""

from __future__ import annotations

import io
import math
import tokenize
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from serving.bundle.arrays import Arrays
from serving.bundle.error_text import pluralize
from serving.bundle.files import BundleLimits
from serving.bundle.manifest import SELFTEST_FILE, BundleError

MIN_GOLDEN_ROWS = 8  # with fewer rows, a wrong graph could pass by chance
MAX_QUOTED_CHARACTERS = 64  # characters of a name that an error quotes


@dataclass(frozen=True)
class ExpectedAnswers:
    """The outputs that a variant has to compute for the golden inputs.

    Attributes:
        outputs: Expected arrays by the names of the graph's outputs.
        tolerances: Largest allowed |Δ| of each element, by the names of the float outputs: float32
            arrays of the same shapes as the outputs.
    """

    outputs: Arrays
    tolerances: Arrays


@dataclass(frozen=True)
class SelfTest:
    """The content of selftest.npz.

    Attributes:
        inputs: Golden rows by the names of the graph's inputs.
        expected: Expected outputs with their tolerances, by the name of the variant.
    """

    inputs: Arrays
    expected: dict[str, ExpectedAnswers]

    def to_bytes(self) -> bytes:
        """Return the content of an .npz file that contains no pickles."""
        arrays = {f"input/{name}": array for name, array in self.inputs.items()}
        for variant, expected in self.expected.items():
            for name, array in expected.outputs.items():
                arrays[f"expected/{variant}/{name}"] = array
            for name, array in expected.tolerances.items():
                arrays[f"tolerance/{variant}/{name}"] = array
        # ONNX Runtime's text arrays have the dtype object, which NumPy could only pickle.
        unpickled = {k: a.astype(np.str_) if a.dtype == object else a for k, a in arrays.items()}
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **unpickled)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, limit: int = BundleLimits.selftest_bytes) -> SelfTest:
        """Parse the content of an .npz file that `to_bytes` created.

        Args:
            content: Content of the file.
            limit: Largest size of all arrays together, in bytes.

        Raises:
            BundleError: If the content is not a valid self-test, or is larger than `limit`.
        """
        inputs: Arrays = {}
        expected: dict[str, ExpectedAnswers] = {}
        try:
            for key, array in _read_arrays(content, limit):
                kind, _, name = key.partition("/")
                if kind == "input":  # the rest is a column's name, which may contain slashes
                    inputs[name] = array
                    continue
                match key.split("/"):
                    case ["expected", variant, name]:
                        expected.setdefault(variant, ExpectedAnswers({}, {})).outputs[name] = array
                    case ["tolerance", variant, name]:
                        expected.setdefault(variant, ExpectedAnswers({}, {})).tolerances[name] = (
                            array
                        )
                    case _:
                        raise BundleError(
                            f"{SELFTEST_FILE}: unexpected array {key[:MAX_QUOTED_CHARACTERS]!r}"
                        )
        except (
            OSError,
            EOFError,
            BadZipFile,
            NotImplementedError,
            RuntimeError,  # an encrypted member
            # NumPy raises the next two for a header that is not a Python literal.
            SyntaxError,
            tokenize.TokenError,
            ValueError,
            zlib.error,
        ) as error:
            raise BundleError(f"{SELFTEST_FILE}: expected plain arrays; {error}") from error
        return cls(inputs, expected)


def _read_arrays(content: bytes, limit: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name and content of each array of an .npz file, after checking their total size.

    `numpy.load` would unpack content of any size, and allocate as much as a header claims.
    """
    with ZipFile(io.BytesIO(content)) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > limit:
            raise BundleError(
                f"{SELFTEST_FILE}: expected at most {pluralize(limit, 'byte')} once unpacked; got "
                f"{size}; serve it with a larger --max-selftest-bytes"
            )
        for member in archive.infolist():
            with archive.open(member) as file:
                array = file.read(member.file_size)
            yield member.filename.removesuffix(".npy"), _read_array(array)


def _read_array(content: bytes) -> NDArray[Any]:
    """Parse an .npy file after checking that it is as long as its header claims."""
    file = io.BytesIO(content)
    version = npy.read_magic(file)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(file)
    claimed, size = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if claimed != size and not dtype.hasobject:  # NumPy itself refuses arrays of objects
        raise ValueError(f"got {pluralize(size, 'byte')} for an array of {claimed}")
    file.seek(0)
    array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return array
