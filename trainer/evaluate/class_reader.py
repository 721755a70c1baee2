"""The classes in the target column of a file, read in all their spellings: 1, 1.0, "1" and true."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from serving.bundle import DEFAULT_GAP_TEXTS, TRUTH_DIGITS, TRUTH_TEXTS, pluralize
from trainer.data.files.file_sources import RowNames
from trainer.data.tables import DataError
from trainer.evaluate.metric_names import format_class

MAX_LISTED_CLASSES = 10
GAP, UNKNOWN_CLASS = -1, -2
# The groups are bounded, since the text of a huge number takes Python a long time to convert.
NUMBER_PATTERN = re.compile(r"[+-]?\d{1,300}+(?:\.\d{0,300}+)?(?:[eE][+-]?\d{1,2})?", re.ASCII)
ZERO_FRACTION_PATTERN = re.compile(r"([+-]?\d++)\.0++")


class ClassReader:
    """Turns the target column of a file into class indices.

    Args:
        classes: Classes of the model, in the order of its probabilities.
        target: Name of the target column, for messages.
    """

    def __init__(self, classes: Sequence[int] | Sequence[str], target: str) -> None:
        self._target, self._names = target, list(map(str, classes))
        self._are_integers = isinstance(classes[0], int)
        self._indices = {name: index for index, name in enumerate(self._names)}
        for index, name in enumerate(self._names):
            self._indices.setdefault(_normalize(name), index)
        lower_names = [name.lower() for name in self._names]
        # Two classes that are spellings of false and true are read in every spelling of these.
        self._are_booleans = any(
            list(map(spellings.get, lower_names)) == [False, True]
            for spellings in (TRUTH_DIGITS, TRUTH_TEXTS)
        )
        if self._are_booleans:
            for spelling, truth in (TRUTH_DIGITS | TRUTH_TEXTS).items():
                self._indices.setdefault(spelling, int(truth))

    def read(self, column: pa.Array, n_rows_before: int, row_names: RowNames) -> NDArray[np.int32]:
        """Return the class index of each row, int32 `(n,)`.

        Args:
            column: Target column of a batch, n rows.
            n_rows_before: Number of rows of the file before the batch, for messages.
            row_names: Function that returns the names of rows for messages.

        Raises:
            DataError: If a row has a gap, or a class that the model does not have.
        """
        encoded = _to_strings(column).dictionary_encode()
        texts = encoded.dictionary.to_pylist()
        table = np.array([self._find_index(text) for text in texts], np.int32)
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        # A null has the code -1, which selects the last entry of the table.
        class_indices: NDArray[np.int32] = np.append(table, np.int32(GAP))[codes]
        if (class_indices >= 0).all():
            return class_indices
        if (class_indices == GAP).any():
            gaps = np.flatnonzero(class_indices == GAP)
            (first_row,) = row_names(n_rows_before + int(gaps[0]))
            raise DataError(
                f"expected a class in every row of the target {self._target!r}; got "
                f"{pluralize(len(gaps), 'gap')}, the first in {first_row}; fill "
                f"them, drop those rows, or leave out --evaluate"
            )
        unknown_rows = np.flatnonzero(class_indices == UNKNOWN_CLASS)
        (first_row,) = row_names(n_rows_before + int(unknown_rows[0]))
        raise self._describe_unknown([texts[code] for code in codes[unknown_rows]], first_row)

    def _describe_unknown(self, texts: list[str], first_row: str) -> DataError:
        """Return the error for classes that the model does not have.

        Args:
            texts: Text of the target in each row with such a class.
            first_row: Name of the first of these rows.
        """
        counts = Counter(texts)
        most_frequent = counts.most_common(MAX_LISTED_CLASSES)
        unknown_text = ", ".join(f"{text!r} ({count:,})" for text, count in most_frequent)
        known_text = ", ".join(map(format_class, self._names[:MAX_LISTED_CLASSES]))
        more_known, more_unknown = (
            f" and {n - MAX_LISTED_CLASSES} more" if n > MAX_LISTED_CLASSES else ""
            for n in (len(self._names), len(counts))
        )
        return DataError(
            f"expected the classes that the model knows, {known_text}{more_known}, in the target "
            f"{self._target!r}; got {unknown_text}{more_unknown}, the first in {first_row}; "
            f"drop those rows, train on data that have them, or leave out --evaluate"
        )

    def _find_index(self, text: str | None) -> int:
        """Return the index of a text's class, `GAP` or `UNKNOWN_CLASS`."""
        if text is None:
            return GAP
        for spelling in self._list_spellings(text):
            if spelling in self._indices:
                return self._indices[spelling]
        return GAP if text.strip().lower() in DEFAULT_GAP_TEXTS else UNKNOWN_CLASS

    def _list_spellings(self, text: str) -> Iterator[str]:
        """Give the names that the class of a text may have, the text itself first."""
        yield text
        yield text.strip()
        normalized = _normalize(text)
        yield normalized
        if self._are_booleans:
            yield normalized.lower()
        if (
            self._are_integers
            and NUMBER_PATTERN.fullmatch(normalized)
            and float(normalized).is_integer()
        ):
            yield str(int(float(normalized)))  # 01, +1 and 1e0


def _normalize(text: str) -> str:
    """Return a text in Unicode's form NFC without surrounding white space; 1.0 becomes 1."""
    text = unicodedata.normalize("NFC", text.strip())
    integer = ZERO_FRACTION_PATTERN.fullmatch(text)
    text = integer[1] if integer else text
    return "0" if text == "-0" else text


def _to_strings(column: pa.Array) -> pa.Array:
    """Return a column as strings: numbers as 1 and 1.5, booleans as true and false."""
    if pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False)
        return pa.array([None if np.isnan(v) else repr(float(v)) for v in values], pa.string())
    return column.cast(pa.string())
