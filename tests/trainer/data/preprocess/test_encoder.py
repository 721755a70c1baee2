from dataclasses import replace

import numpy as np
import pytest

from trainer.data.preprocess import Encoder, Encoding
from trainer.data.records import Column, Records

COLUMNS = (
    Column("colour", "category", ("red", "green", "blue")),
    Column("age"),
    Column("town", "category", tuple(f"t{i:02}" for i in range(40))),
    Column("member", "boolean"),
    Column("since", "date"),
)


def make_mixed_records(rng, rows=300):
    numbers = np.column_stack([rng.normal(40, 9, rows), rng.integers(0, 2, rows)])
    numbers[rng.random(numbers.shape) < 0.1] = np.nan
    dates = rng.integers(1.5e9, 1.7e9, (rows, 1)).astype(np.float64)
    dates[rng.random(dates.shape) < 0.1] = np.nan
    codes = np.column_stack([rng.integers(-1, 3, rows), rng.integers(-1, 40, rows)])
    return Records(COLUMNS, numbers.astype(np.float32), dates, codes.astype(np.int32))


def test_encoder_order_is_numbers_dates_categories_indices(rng):
    records = make_mixed_records(rng)
    encoder = Encoder.fit(records, np.arange(300), Encoding(rare=1, one_hot=8))
    encoded = encoder.transform(records)
    assert encoded.shape == (300, encoder.width)
    assert encoded.dtype == np.float32
    numbers, dates = encoder.numbers.width, encoder.dates[0].width
    np.testing.assert_array_equal(encoded[:, :numbers], encoder.numbers.transform(records.numbers))
    colour = encoded[:, numbers + dates : -1]
    # The words in alphabetical order, then the gap.
    place = np.array([2, 1, 0, 3])[records.codes[:, 0]]
    np.testing.assert_array_equal(colour.argmax(axis=1), place)
    town = np.where(records.codes[:, 1] < 0, 41, records.codes[:, 1] + 1)
    np.testing.assert_array_equal(encoded[:, -1], town)


def test_encoder_statistics_are_of_training_rows_only(rng):
    records, train = make_mixed_records(rng), np.arange(0, 300, 2)
    poisoned = Records(
        records.columns, records.numbers.copy(), records.dates.copy(), records.codes.copy()
    )
    rest = np.arange(1, 300, 2)
    poisoned.numbers[rest] = np.where(np.isnan(poisoned.numbers[rest]), np.nan, 1e9)
    poisoned.dates[rest] = 1e11
    poisoned.codes[rest] = 0
    for encoding in (Encoding(), Encoding(scaling="robust"), Encoding(scaling="minmax", rare=3)):
        clean = Encoder.fit(records, train, encoding)
        np.testing.assert_array_equal(
            Encoder.fit(poisoned, train, encoding).transform(records), clean.transform(records)
        )


def test_encoder_words_in_other_order_are_encoded_alike(rng):
    records = make_mixed_records(rng)
    encoder = Encoder.fit(records, np.arange(300))
    colour = replace(COLUMNS[0], words=("blue", "violet", "red", "green"))
    codes = records.codes.copy()
    codes[:, 0] = np.array([2, 3, 0, -1])[codes[:, 0]]
    other = replace(records, columns=(colour, *COLUMNS[1:]), codes=codes)
    np.testing.assert_array_equal(encoder.transform(other), encoder.transform(records))


@pytest.mark.parametrize("kind", ["number", "date", "category"])
def test_encoder_columns_of_one_kind_only(kind, rng):
    records = make_mixed_records(rng)
    column = next(c for c in COLUMNS if c.kind == kind)
    values = records.column(column.name)[:, None]
    array = {"number": "numbers", "date": "dates", "category": "codes"}[kind]
    single = replace(
        Records((column,), np.empty((300, 0), np.float32), np.empty((300, 0))), **{array: values}
    )
    encoded = Encoder.fit(single, np.arange(300)).transform(single)
    assert encoded.shape[0] == 300
    assert np.isfinite(encoded).all()


def test_encoder_many_rows_statistics_are_of_a_sample(rng, monkeypatch):
    monkeypatch.setattr("trainer.data.preprocess.encoder.MAX_STATISTICS_ROWS", 5000)
    records = Records.of_numbers(["x"], rng.normal(3, 2, (50_000, 1)))
    scaler = Encoder.fit(records, rng.permutation(50_000)).numbers.scaler
    assert scaler.offset == pytest.approx(3, abs=0.2)
    assert scaler.scale == pytest.approx(2, rel=0.1)
