"""Golden inputs: the synthetic rows of a self-test.

Drawn from the training rows' statistics, never from the rows: a bundle gives no one's data away.
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
from trainer.export.parity import ParityError, compute_tolerances, find_decided_rows
from trainer.model import Model

SPREADS = (1, 1, 3, 30)  # in standard deviations: ordinary rows, outliers, far outliers
ROWS_PER_SPREAD = 32
GAPS = 0.2  # share of gaps, where a column's gaps are filled
UNSEEN = "a category never seen"


def synthetic_records(model: Model, rng: np.random.Generator) -> Records:
    """Random records around the training data and far outside it, with gaps and unseen texts.

    A label whose lead is within float32 rounding may come out differently on another CPU without
    anything being wrong: such records would be no test, and are left out.
    """
    encoder = model.encoder
    numbers, spreads = _numbers(model, rng)
    precise = [_precise(p, spreads, rng) for p in encoder.precise]
    dates = [_seconds(d, spreads, rng) for d in encoder.dates]
    words = iter(encoder.categories)
    columns = tuple(
        replace(c, words=(*next(words).words, UNSEEN)) if c.kind == "category" else c
        for c in encoder.columns
    )
    codes = [
        rng.integers(MISSING, len(column.words), len(numbers), dtype=np.int32)
        for column in columns
        if column.kind == "category"
    ]
    records = Records(
        columns,
        numbers,
        np.stack(dates, axis=1) if dates else np.empty((len(numbers), 0)),
        np.stack(codes, axis=1) if codes else np.empty((len(numbers), 0), np.int32),
        np.stack(precise, axis=1) if precise else np.empty((len(numbers), 0)),
    )
    if model.classes is None:
        return records
    return records.take(np.flatnonzero(find_decided_rows(model, records)))


def _numbers(
    model: Model, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Rows of the columns of numbers, and how far out each row is, in standard deviations."""
    scaler, fill = model.encoder.numbers.scaler, model.encoder.numbers.fill
    middle, scale = (a.astype(np.float64) for a in (scaler.offset, scaler.scale))
    drawn = [
        rng.normal(middle, spread * scale, size=(ROWS_PER_SPREAD, len(middle)))
        for spread in SPREADS
    ]
    edges = [np.zeros_like(middle), middle, middle + 100 * scale, middle - 100 * scale]
    spreads = [*np.repeat(SPREADS, ROWS_PER_SPREAD), 0, 0, 100, 100]
    if model.exponential:  # whose answers to far outliers are beyond float32
        ordinary = 2 * ROWS_PER_SPREAD
        drawn, edges = drawn[:2], edges[:2]
        spreads = [*spreads[:ordinary], 0, 0]
    most = float(np.finfo(np.float32).max) / 4  # so that x − offset does not overflow
    rows = np.concatenate([*drawn, edges]).clip(-most, most).astype(np.float32)
    kinds = [c.kind for c in model.encoder.columns if c.kind in ("number", "boolean")]
    truths = [place for place, kind in enumerate(kinds) if kind == "boolean"]
    rows[:, truths] = rng.integers(0, 2, (len(rows), len(truths)))
    filled = np.flatnonzero(~np.isnan(fill))
    gaps = rng.random((len(rows), len(filled))) < GAPS
    rows[:, filled] = np.where(gaps, np.float32(np.nan), rows[:, filled])
    return rows, np.array(spreads, np.float64)


def _precise(
    precise: Precise, spreads: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    drawn = rng.normal(precise.offset, spreads * precise.scale)
    if np.isnan(precise.fill):
        return drawn
    return np.where(rng.random(len(drawn)) < GAPS, np.nan, drawn)


def _seconds(
    dates: Dates, spreads: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    drawn = rng.normal(dates.offset, spreads * dates.scale).round().clip(FIRST, LAST)
    if np.isnan(dates.fill):
        return drawn
    return np.where(rng.random(len(drawn)) < GAPS, np.nan, drawn)


def golden_selftest(variants: Mapping[str, Model], rng: np.random.Generator) -> SelfTest:
    """Synthetic records with the answers that NumPy gives to them.

    Args:
        variants: the references of the bundle's graphs by name, all of one encoding; the first
            says what the records are like. Records that any of them is undecided on are no test.
        rng: where they are drawn from.

    Raises:
        ParityError: hardly a record is decided, so there is nothing to prove the model by.
    """
    first, *others = variants.values()
    records = synthetic_records(first, rng)
    for model in others:
        if model.classes is not None:
            records = records.take(np.flatnonzero(find_decided_rows(model, records)))
    if len(records) < MIN_GOLDEN_ROWS:
        raise ParityError(
            f"expected a model that prefers one class; got one that is undecided on all but "
            f"{len(records)} of its golden rows; train it longer"
        )
    return SelfTest(
        inputs=_plain(records.inputs()),
        expected={
            name: ExpectedAnswers(
                outputs=model.answers(records), tolerances=compute_tolerances(model, records)
            )
            for name, model in variants.items()
        },
    )


def _plain(inputs: Arrays) -> Arrays:
    """Without Python objects, which only a pickle could hold."""
    return {
        name: array.astype(np.str_) if array.dtype == object else array
        for name, array in inputs.items()
    }
