"""File truth: how good a bundle's answers to the rows of a file are, where the file has the target.

Rows pass batch by batch. The metrics need rows side by side, so up to `MOST_JUDGED` of them are
kept (fewer of very many classes); of a longer file they are drawn at random, each row alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from serving.bundle import (
    DEFAULT_GAP_TEXTS,
    TRUTH_DIGITS,
    TRUTH_TEXTS,
    Arrays,
    Manifest,
    pluralize,
)
from trainer.data.files.cell_parsing import find_first_refused, parse_numbers
from trainer.data.files.file_sources import RowNames, number_rows
from trainer.data.tables import DataError, join_names
from trainer.evaluate.evaluation import MAX_EVALUATED_ROWS
from trainer.evaluate.metric_names import format_class
from trainer.evaluate.metrics import compute_metrics, find_never_predicted

MAX_KEPT_NUMBERS = 20_000_000  # probabilities that are kept, 80 MB
SEED = 0  # the same file, the same rows
LISTED = 10  # unknown classes that a refusal names

Reader = Callable[[pa.Array], NDArray[np.float64] | None]


@dataclass(frozen=True)
class FileEvaluation:
    """What the truth in a file says of the answers.

    Attributes:
        rows: Rows of the file.
        judged: How many of them the metrics are of.
        metrics: Metrics by name, see `measure`.
        shares: Share of each class among the rows judged, in the order of the classes; None for
            regression.
        never_answered: Classes that rows are of and none is answered as.
    """

    rows: int
    judged: int
    metrics: dict[str, float]
    shares: list[float] | None
    never_answered: list[Any]


class FileEvaluator:
    """Takes in the batches of a file with their answers, and measures them in the end.

    Args:
        manifest: Manifest of the bundle that answers.
        most: Rows kept at most.
    """

    def __init__(self, manifest: Manifest, *, most: int = MAX_EVALUATED_ROWS) -> None:
        self._manifest = manifest
        classes = manifest.classes
        self._labels = None if classes is None else _Labels(classes, manifest.data.target[0])
        self._most = max(1, min(most, MAX_KEPT_NUMBERS // len(classes or [0])))
        self._rng = np.random.default_rng(SEED)
        self._kept: list[tuple[NDArray[Any], ...]] = []  # keys, truth and answers of rows
        self._held = self._rows = 0

    def add(
        self,
        batch: pa.RecordBatch,
        answers: Arrays,
        *,
        decimal: str | None = None,
        row_names: RowNames = number_rows,
    ) -> None:
        """Take in the next rows.

        Args:
            batch: The rows as they were read, the target among them.
            answers: The graph's outputs for them.
            decimal: Decimal sign of numbers in texts; None for a plain point.
            row_names: Function that names rows for messages.

        Raises:
            DataError: If the target is not there, has gaps, or holds what is none of the model's
                classes or no number.
        """
        truth = self._truth(batch, decimal, row_names)
        if self._labels is None:
            found: tuple[NDArray[Any], ...] = (truth, answers["value"])
        else:
            places = np.searchsorted(np.array(self._manifest.classes), answers["label"])
            found = (truth, places.astype(np.int32), answers["probabilities"])
        self._kept.append((self._rng.random(batch.num_rows), *found))
        self._rows += batch.num_rows
        self._held += batch.num_rows
        if self._held > 2 * self._most:
            self._thin()

    def result(self) -> FileEvaluation:
        """Measure what was taken in.

        Raises:
            DataError: If that is nothing.
        """
        if not self._rows:
            raise DataError("expected rows to evaluate the answers by; got none")
        self._thin()
        _, truth, *answered = self._kept[0]
        manifest = self._manifest
        if manifest.classes is None:
            metrics = compute_metrics(manifest.task, truth, {"value": answered[0]}, None)
            return FileEvaluation(self._rows, len(truth), metrics, None, [])
        label, probabilities = answered
        places = np.arange(len(manifest.classes))
        positive = manifest.positive_class
        metrics = compute_metrics(
            manifest.task,
            truth,
            {"label": label, "probabilities": probabilities},
            places,
            1 if positive is None else [*manifest.classes].index(positive),
        )
        shares = np.bincount(truth, minlength=len(places)) / len(truth)
        lost = [manifest.classes[place] for place in find_never_predicted(truth, label, places)]
        return FileEvaluation(self._rows, len(truth), metrics, shares.tolist(), lost)

    def _thin(self) -> None:
        """Join what is kept; of too many rows keep those of the smallest keys, in their order."""
        joined = tuple(np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        keys = joined[0]
        if len(keys) > self._most:
            rows = np.sort(np.argpartition(keys, self._most - 1)[: self._most])
            joined = tuple(array[rows] for array in joined)
        self._kept, self._held = [joined], len(joined[0])

    def _truth(
        self, batch: pa.RecordBatch, decimal: str | None, row_names: RowNames
    ) -> NDArray[Any]:
        targets = self._manifest.data.target
        # Files are read with their names in one normal form.
        there = {unicodedata.normalize("NFC", name): name for name in batch.schema.names}
        names = [there.get(unicodedata.normalize("NFC", name)) for name in targets]
        if lacking := [t for t, name in zip(targets, names, strict=True) if name is None]:
            raise DataError(
                f"expected the target {join_names(lacking)} among the columns, to evaluate the "
                f"answers by; got {join_names(batch.schema.names)}; add it, or leave out --evaluate"
            )
        columns = [batch[name] for name in names]
        if self._labels is not None:
            return self._labels.read(columns[0], self._rows, row_names)
        return np.stack(
            [
                self._values(c, name, partial(parse_numbers, decimal=decimal), row_names)
                for c, name in zip(columns, targets, strict=True)
            ],
            axis=1,
        )

    def _values(
        self, column: pa.Array, name: str, numbers: Reader, row_names: RowNames
    ) -> NDArray[np.float64]:
        values = numbers(column)
        if values is None:
            place, text = find_first_refused(column, numbers)
            (called,) = row_names(self._rows + place)
            raise DataError(
                f"expected numbers in the target {name!r}; got {text!r} in {called}; "
                f"correct it, or leave out --evaluate"
            )
        if not np.isfinite(values).all():
            (called,) = row_names(self._rows + int(np.isfinite(values).argmin()))
            raise DataError(
                f"expected a finite number in every row of the target {name!r}; got none in "
                f"{called}; fill it, or drop that row"
            )
        return values


class _Labels:
    """Reads classes however they are spelled: 1, 1.0, "1" and true are one."""

    def __init__(self, classes: Sequence[int] | Sequence[str], target: str) -> None:
        self._target, self._names = target, list(map(str, classes))
        self._whole = isinstance(classes[0], int)
        self._places = {name: place for place, name in enumerate(self._names)}
        for place, name in enumerate(self._names):
            self._places.setdefault(_canonical(name), place)
        lower = [name.lower() for name in self._names]
        forms = (TRUTH_DIGITS, TRUTH_TEXTS)
        self._folded = any(list(map(form.get, lower)) == [False, True] for form in forms)
        if self._folded:
            for word, truth in (TRUTH_DIGITS | TRUTH_TEXTS).items():
                self._places.setdefault(word, int(truth))

    def read(self, column: pa.Array, before: int, row_names: RowNames) -> NDArray[np.int32]:
        """Return each row's place among the classes, `(n,)`.

        Args:
            column: The target in a batch.
            before: Rows before the batch, for messages.
            row_names: Function that names rows for messages.

        Raises:
            DataError: If a row has none, or one that is none of the model's; it names them.
        """
        encoded = _texts(column).dictionary_encode()
        table = np.array([self._place(text) for text in encoded.dictionary.to_pylist()], np.int32)
        indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        found: NDArray[np.int32] = np.append(table, np.int32(_GAP))[indices]
        if (found >= 0).all():
            return found
        if (found == _GAP).any():
            gaps = np.flatnonzero(found == _GAP)
            (called,) = row_names(before + int(gaps[0]))
            raise DataError(
                f"expected a class in every row of the target {self._target!r}; got "
                f"{pluralize(len(gaps), 'gap')}, the first in {called}; fill "
                f"them, drop those rows, or leave out --evaluate"
            )
        rows = np.flatnonzero(found == _UNKNOWN)
        (called,) = row_names(before + int(rows[0]))
        counts = Counter(encoded.dictionary[int(i)].as_py() for i in indices[rows])
        named = ", ".join(f"{text!r} ({n:,})" for text, n in counts.most_common(LISTED))
        more = f" and {len(counts) - LISTED} more" if len(counts) > LISTED else ""
        known = ", ".join(map(format_class, self._names[:LISTED]))
        beyond = f" and {len(self._names) - LISTED} more" if len(self._names) > LISTED else ""
        raise DataError(
            f"expected the classes that the model knows, {known}{beyond}, in the target "
            f"{self._target!r}; got {named}{more}, the first in {called}; "
            f"drop those rows, train on data that have them, or leave out --evaluate"
        )

    def _place(self, text: str | None) -> int:
        if text is None:
            return _GAP
        for spelling in self._spellings(text):
            if spelling in self._places:
                return self._places[spelling]
        return _GAP if text.strip().lower() in DEFAULT_GAP_TEXTS else _UNKNOWN

    def _spellings(self, text: str) -> Iterator[str]:
        yield text
        yield text.strip()
        canonical = _canonical(text)
        yield canonical
        if self._folded:
            yield canonical.lower()
        if self._whole and _NUMERAL.fullmatch(canonical) and float(canonical).is_integer():
            yield str(int(float(canonical)))  # 01, +1 and 1e0


_GAP, _UNKNOWN = -1, -2
_NUMERAL = re.compile(r"[+-]?\d{1,300}+(?:\.\d{0,300}+)?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_FRACTIONLESS = re.compile(r"([+-]?\d++)\.0++")


def _canonical(text: str) -> str:
    """A text in Unicode's form NFC and without white space around it, a whole number as such."""
    text = unicodedata.normalize("NFC", text.strip())
    whole = _FRACTIONLESS.fullmatch(text)
    text = whole[1] if whole else text
    return "0" if text == "-0" else text


def _texts(column: pa.Array) -> pa.Array:
    """A column as strings: of numbers 1 and 1.5, of truth values true and false."""
    if pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False)
        return pa.array([None if np.isnan(v) else repr(float(v)) for v in values], pa.string())
    return column.cast(pa.string())
