"""The self-test of a bundle: synthetic records and NumPy's answers to them.

The records are drawn from statistics of the training rows and are not training rows, so that a
bundle contains nobody's data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from serving.bundle import MIN_GOLDEN_ROWS, Arrays, ExpectedAnswers, SelfTest
from trainer.data.preprocess import Dates, Precise
from trainer.data.preprocess.dates import FIRST, LAST
from trainer.data.records import MISSING, Records
from trainer.export.parity import ParityError, find_decided_rows
from trainer.export.tolerances import compute_tolerances
from trainer.model import Model

# Spread of the numbers, in standard deviations of the training rows: ordinary rows (twice),
# outliers and extreme outliers.
SPREADS = (1, 1, 3, 30)
ORDINARY_SPREADS = 2
EDGE_SPREAD = 100
ROWS_PER_SPREAD = 32
MISSING_SHARE = 0.2  # of the values in a column whose missing values are imputed
UNSEEN_TEXT = "a category never seen"


def create_self_test(variants: Mapping[str, Model], rng: np.random.Generator) -> SelfTest:
    """Return synthetic records with the NumPy answers of each variant.

    Args:
        variants: NumPy model of each variant, by name; all have the same preprocessing. Records
            whose label is not decided for one of them are left out.
        rng: Random generator of the records.

    Raises:
        ParityError: If too few records are decided to test the model with.
    """
    first, *others = variants.values()
    records = create_synthetic_records(first, rng)
    for model in others:
        if model.classes is not None:
            records = records.take(np.flatnonzero(find_decided_rows(model, records)))
    if len(records) < MIN_GOLDEN_ROWS:
        raise ParityError(
            f"expected a model that prefers one class; got one that is undecided on all but "
            f"{len(records)} of its golden rows; train it longer"
        )
    return SelfTest(
        inputs=_convert_texts(records.inputs()),
        expected={
            name: ExpectedAnswers(
                outputs=model.answers(records), tolerances=compute_tolerances(model, records)
            )
            for name, model in variants.items()
        },
    )


def _convert_texts(inputs: Arrays) -> Arrays:
    """Return texts as NumPy strings, since only a pickle could store Python objects."""
    return {
        name: array.astype(np.str_) if array.dtype == object else array
        for name, array in inputs.items()
    }


def create_synthetic_records(model: Model, rng: np.random.Generator) -> Records:
    """Return random records near the training rows and far outside of them.

    They have missing values and unseen texts. A record is left out if its label is not decided:
    another CPU may round differently and answer another label without being wrong.

    Args:
        model: The model.
        rng: Random generator of the records.
    """
    encoder = model.encoder
    numbers, spreads = _draw_numbers(model, rng)
    n_rows = len(numbers)
    precise = [_draw_float64(column, spreads, rng) for column in encoder.precise]
    dates = [_draw_dates(column, spreads, rng) for column in encoder.dates]
    categories = iter(encoder.categories)
    columns = tuple(
        replace(column, words=(*next(categories).words, UNSEEN_TEXT))
        if column.kind == "category"
        else column
        for column in encoder.columns
    )
    codes = [
        rng.integers(MISSING, len(column.words), n_rows, dtype=np.int32)
        for column in columns
        if column.kind == "category"
    ]
    records = Records(
        columns,
        numbers,
        np.stack(dates, axis=1) if dates else np.empty((n_rows, 0)),
        np.stack(codes, axis=1) if codes else np.empty((n_rows, 0), np.int32),
        np.stack(precise, axis=1) if precise else np.empty((n_rows, 0)),
    )
    if model.classes is None:
        return records
    return records.take(np.flatnonzero(find_decided_rows(model, records)))


def _draw_numbers(
    model: Model, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Draw the float32 numbers and booleans.

    Returns:
        Numbers, float32 `(n, n_numbers)`, and the spread of each row, in standard deviations,
        float64 `(n,)`.
    """
    scaler, fill = model.encoder.numbers.scaler, model.encoder.numbers.fill
    offset, scale = (a.astype(np.float64) for a in (scaler.offset, scaler.scale))
    blocks = [
        rng.normal(offset, spread * scale, size=(ROWS_PER_SPREAD, len(offset)))
        for spread in SPREADS
    ]
    edges = [
        np.zeros_like(offset),
        offset,
        offset + EDGE_SPREAD * scale,
        offset - EDGE_SPREAD * scale,
    ]
    spreads = [*np.repeat(SPREADS, ROWS_PER_SPREAD), 0, 0, EDGE_SPREAD, EDGE_SPREAD]
    if model.has_exponential_output:
        # The answers to outliers would overflow float32.
        blocks, edges = blocks[:ORDINARY_SPREADS], edges[:2]
        spreads = [*spreads[: ORDINARY_SPREADS * ROWS_PER_SPREAD], 0, 0]
    limit = float(np.finfo(np.float32).max) / 4  # so that x - offset does not overflow
    rows = np.concatenate([*blocks, edges]).clip(-limit, limit).astype(np.float32)
    kinds = [c.kind for c in model.encoder.columns if c.kind in ("number", "boolean")]
    booleans = [index for index, kind in enumerate(kinds) if kind == "boolean"]
    rows[:, booleans] = rng.integers(0, 2, (len(rows), len(booleans)))
    imputed = np.flatnonzero(~np.isnan(fill))
    is_missing = rng.random((len(rows), len(imputed))) < MISSING_SHARE
    rows[:, imputed] = np.where(is_missing, np.float32(np.nan), rows[:, imputed])
    return rows, np.array(spreads, np.float64)


def _draw_float64(
    precise: Precise, spreads: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    numbers = rng.normal(precise.offset, spreads * precise.scale)
    return numbers if np.isnan(precise.fill) else _remove_values(numbers, rng)


def _draw_dates(
    dates: Dates, spreads: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    seconds = rng.normal(dates.offset, spreads * dates.scale).round().clip(FIRST, LAST)
    return seconds if np.isnan(dates.fill) else _remove_values(seconds, rng)


def _remove_values(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the values `(n,)` with NaN for a random part of them."""
    return np.where(rng.random(len(values)) < MISSING_SHARE, np.nan, values)
