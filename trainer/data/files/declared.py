"""Declared: a file's columns as a bundle's manifest declares them, read as a server reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serving.bundle import CategoryColumn, CategorySpelling, InputColumn, resolve_gap_texts, to_nfc
from trainer.data.files import cells
from trainer.data.records import MISSING, Records

MOST_UNSEEN = 0.2  # share of a column's values; of more a warning says what may be wrong


class Declared:
    """The columns of a manifest, and how often texts came that none of its categories is.

    Args:
        inputs: The columns.
        gaps: Texts, in lower case, that stand for a gap; None for what the manifest says of each
            column.
    """

    def __init__(self, inputs: Sequence[InputColumn], gaps: Collection[str] | None = None) -> None:
        said = None if gaps is None else list(gaps)
        self._columns = [
            column if said is None else column.model_copy(update={"gaps": said})
            for column in inputs
        ]
        self._spellings = {
            column.name: CategorySpelling(column)
            for column in self._columns
            if isinstance(column, CategoryColumn) and column.normalized
        }
        others = (column.gaps for column in self._columns if not isinstance(column, CategoryColumn))
        self.gaps = resolve_gap_texts(next(others, said))
        self._values: Counter[str] = Counter()
        self._unseen: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def read(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with the names and the categories of the manifest; a gap is null.

        Args:
            batch: Rows of a source, whose names are in Unicode's form NFC; the names of an earlier
                manifest may be in another form.
        """
        names = {to_nfc(column.name): column.name for column in self._columns}
        batch = batch.rename_columns([names.get(name, name) for name in batch.schema.names])
        for column in self._columns:
            if not isinstance(column, CategoryColumn) or column.name not in batch.schema.names:
                continue
            place = batch.schema.get_field_index(column.name)
            spelling = self._spellings.get(column.name)
            array = batch.column(place)
            read = _as_written(array, column) if spelling is None else _spelled(array, spelling)
            batch = batch.set_column(place, column.name, read)
        return batch

    def count(self, records: Records) -> None:
        """Take in how many values of the records are none of the categories."""
        for declared in self._columns:
            if not isinstance(declared, CategoryColumn):
                continue
            column = next(c for c in records.columns if c.name == declared.name)
            codes, known = records.column(column.name), set(declared.categories)
            strange = np.array([*(word not in known for word in column.words), False])[codes]
            self._values[column.name] += int(np.count_nonzero(codes != MISSING))
            if strange.any():
                self._unseen[column.name] += int(np.count_nonzero(strange))
                first = column.words[codes[int(strange.argmax())]]
                self._examples.setdefault(column.name, first)

    def unseen(self) -> Iterator[str]:
        """Say of which columns a large share of the values is none of the categories."""
        for column in self._columns:
            name = column.name
            if not isinstance(column, CategoryColumn) or not self._unseen[name]:
                continue
            share = self._unseen[name] / self._values[name]
            if share > MOST_UNSEEN:
                yield (
                    f"{share:.0%} of the values of {name!r} ({self._unseen[name]:,} of "
                    f"{self._values[name]:,}) are none that the model tells apart, such as "
                    f"{self._examples[name][:40]!r}, and are answered as unknown ones; write them "
                    f"as in training, such as {column.categories[0][:40]!r}, or train on data that "
                    f"have them"
                )


def _spelled(array: pa.Array, spelling: CategorySpelling) -> pa.Array:
    """Texts, numbers and truth values as the categories are written."""
    encoded = cells.encoded(array)
    numbers = pa.types.is_integer(array.type) or pa.types.is_floating(array.type)
    numbers |= pa.types.is_decimal(array.type)
    words: list[str | None] = []
    for text in cells.texts(encoded.dictionary, ()).to_pylist():
        if text is None:
            words.append(None)
        elif numbers:
            whole = text.lstrip("-").isdecimal()
            found = spelling.spell_number(int(text) if whole else float(text)) or text
            words.append(None if spelling.is_gap(found) else found)
        elif pa.types.is_boolean(array.type):
            words.append(spelling.spell_truth(text == "true") or text)
        else:
            found = spelling.spell_text(text)
            words.append(None if spelling.is_gap(found) else found)
    return pa.array(words, pa.string()).take(encoded.indices)


def _as_written(array: pa.Array, column: CategoryColumn) -> pa.Array:
    """Texts as a bundle before the one spelling compares them.

    Truth values, also of a text in any case, are written as the categories are, and where these are
    whole numbers 1.0 is 1, as tables write it once there are gaps.
    """
    found: Any = array
    if pa.types.is_boolean(array.type) and column.truth_categories:
        spelled = (pa.scalar(column.truth_categories[truth]) for truth in (True, False))
        found = pc.if_else(array, *spelled)
    elif pa.types.is_string(array.type) and column.is_whole_numbers:
        found = pc.replace_substring_regex(array, r"^(\s*-?\d+)\.0+(\s*)$", r"\1\2")
    elif pa.types.is_string(array.type) and column.truth_categories:
        written = pc.utf8_lower(pc.utf8_trim_whitespace(array))
        for truth, text in column.truth_categories.items():
            found = pc.if_else(pc.equal(written, str(truth).lower()), text, found)
    return cells.trim(found, resolve_gap_texts(column.gaps))
