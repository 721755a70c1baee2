"""The self-test, selftest.npz: golden inputs, and what each variant must answer to them."""

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

MIN_GOLDEN_ROWS = 8  # fewer prove nothing
MAX_QUOTED_CHARACTERS = 64  # characters of a name in an error


@dataclass(frozen=True)
class ExpectedAnswers:
    """What a variant must answer to the golden inputs.

    Attributes:
        outputs: by the graph's output names.
        tolerances: for each float output, the largest |Δ| allowed, float32 of its shape.
    """

    outputs: Arrays
    tolerances: Arrays


@dataclass(frozen=True)
class SelfTest:
    """Golden inputs, and what each variant must answer to them."""

    inputs: Arrays
    expected: dict[str, ExpectedAnswers]

    def to_bytes(self) -> bytes:
        """As an .npz file, without pickles."""
        arrays = {f"input/{name}": array for name, array in self.inputs.items()}
        for variant, expected in self.expected.items():
            for name, array in expected.outputs.items():
                arrays[f"expected/{variant}/{name}"] = array
            for name, array in expected.tolerances.items():
                arrays[f"tolerance/{variant}/{name}"] = array
        # Texts as a runtime takes them are objects, which NumPy could only pickle.
        plain = {k: a.astype(np.str_) if a.dtype == object else a for k, a in arrays.items()}
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **plain)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, limit: int = BundleLimits.selftest_bytes) -> SelfTest:
        """Read what `to_bytes` wrote.

        Args:
            content: The file.
            limit: Largest size of all arrays together, in bytes.

        Raises:
            BundleError: If it is something else, or larger.
        """
        inputs: Arrays = {}
        expected: dict[str, ExpectedAnswers] = {}
        try:
            for key, array in _read_arrays(content, limit):
                kind, _, name = key.partition("/")
                if kind == "input":  # named after a column: whatever it holds
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
            SyntaxError,  # these two from NumPy, of headers that are no Python literal
            tokenize.TokenError,
            ValueError,
            zlib.error,
        ) as error:
            raise BundleError(f"{SELFTEST_FILE}: expected plain arrays; {error}") from error
        return cls(inputs, expected)


def _read_arrays(content: bytes, limit: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of an .npz file by name, once what they claim is known to be bounded.

    NumPy's own reader unpacks whatever there is, and makes room for whatever a header claims.
    """
    with ZipFile(io.BytesIO(content)) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > limit:
            raise BundleError(
                f"{SELFTEST_FILE}: expected at most {pluralize(limit, 'byte')} once unpacked; got {size}; "
                "serve it with a larger --max-selftest-bytes"
            )
        for member in archive.infolist():
            with archive.open(member) as file:
                array = file.read(member.file_size)
            yield member.filename.removesuffix(".npy"), _read_array(array)


def _read_array(content: bytes) -> NDArray[Any]:
    """Return the array of an .npy file that holds as many bytes as its header claims."""
    file = io.BytesIO(content)
    version = npy.read_magic(file)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(file)
    claimed, found = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if claimed != found and not dtype.hasobject:  # which NumPy refuses by itself
        raise ValueError(f"got {pluralize(found, 'byte')} for an array of {claimed}")
    file.seek(0)
    array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return array
