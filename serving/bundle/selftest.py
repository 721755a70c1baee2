"""The self-test, selftest.npz: golden inputs, and what each variant must answer to them."""

from __future__ import annotations

import io
import tokenize
import zlib
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np

from serving.bundle.arrays import Arrays
from serving.bundle.manifest import SELFTEST, BundleError

FEWEST_GOLDEN_ROWS = 8  # fewer prove nothing


@dataclass(frozen=True)
class Expected:
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
    expected: dict[str, Expected]

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
    def from_bytes(cls, content: bytes) -> SelfTest:
        """Read what `to_bytes` wrote.

        Raises:
            BundleError: it is something else.
        """
        inputs: Arrays = {}
        expected: dict[str, Expected] = {}
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                for key in file.files:
                    kind, _, name = key.partition("/")
                    if kind == "input":  # named after a column: whatever it holds
                        inputs[name] = file[key]
                        continue
                    match key.split("/"):
                        case ["expected", variant, name]:
                            expected.setdefault(variant, Expected({}, {})).outputs[name] = file[key]
                        case ["tolerance", variant, name]:
                            part = expected.setdefault(variant, Expected({}, {}))
                            part.tolerances[name] = file[key]
                        case _:
                            raise BundleError(f"{SELFTEST}: unexpected array {key!r}")
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
            raise BundleError(f"{SELFTEST}: expected plain arrays; {error}") from error
        return cls(inputs, expected)
