import numpy as np
import pytest
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from trainer.data.preprocess import Numbers


def make_rows_with_gaps(rng, rows=200, columns=4):
    values = rng.normal(50, 9, size=(rows, columns)).astype(np.float32)
    values[rng.random((rows, 2)).repeat(2, axis=1)[:, :columns] < 0.2] = np.nan
    values[:, 3] = rng.normal(size=rows)  # without gaps
    return values


@pytest.mark.parametrize(
    ("scaling", "theirs"), [("standard", StandardScaler()), ("minmax", MinMaxScaler())]
)
def test_numbers_gaps_are_filled_scaled_and_flagged_as_scikit_learn_does(scaling, theirs, rng):
    known, other = make_rows_with_gaps(rng), make_rows_with_gaps(rng)
    gaps = np.isnan(known).any(axis=0)
    ours = Numbers.fit(known, scaling, gaps).transform(other)
    pipeline = make_pipeline(SimpleImputer(strategy="median"), theirs)
    expected = pipeline.fit(known.astype(float)).transform(other.astype(float))
    flags = MissingIndicator().fit(known).transform(other)
    np.testing.assert_allclose(ours, np.hstack([expected, flags]), atol=1e-5)
    assert ours.shape == (200, 7)


def test_numbers_gap_of_other_rows_is_filled_but_not_flagged(rng):
    known = rng.normal(size=(50, 2)).astype(np.float32)
    fitted = Numbers.fit(known, "standard", np.array([True, False]))
    assert fitted.width == 2
    (row,) = fitted.transform(np.array([[np.nan, 0]], np.float32))
    middle = (np.median(known[:, 0]) - known[:, 0].mean()) / known[:, 0].std()
    assert row[0] == pytest.approx(middle, abs=1e-5)


def test_numbers_gap_without_filling_stays_a_gap(rng):
    known = rng.normal(size=(50, 2)).astype(np.float32)
    fitted = Numbers.fit(known, "standard", np.array([False, False]))
    assert not fitted.fills_gaps
    assert np.isnan(fitted.transform(np.full((1, 2), np.nan, np.float32))).all()


def test_numbers_column_of_gaps_becomes_zero():
    known = np.full((20, 1), np.nan, np.float32)
    fitted = Numbers.fit(known, "standard", np.array([True]))
    np.testing.assert_array_equal(fitted.transform(known[:1]), [[0, 1]])


def test_numbers_robust_scaling_ignores_outliers(rng):
    known = rng.normal(size=(1001, 1)).astype(np.float32)
    expected = Numbers.fit(known, "robust", np.array([False])).scaler
    known[:50] = 1e6
    ours = Numbers.fit(known, "robust", np.array([False])).scaler
    np.testing.assert_allclose(ours.offset, expected.offset, atol=0.1)
    np.testing.assert_allclose(ours.scale, expected.scale, rtol=0.1)


def test_numbers_equal_quartiles_are_scaled_by_deviation():
    known = np.zeros((100, 1), np.float32)
    known[:10] = 1000
    scaler = Numbers.fit(known, "robust", np.array([False])).scaler
    assert scaler.scale == pytest.approx(known.std())


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", "quantile", "range"])
def test_numbers_each_scaling_equals_its_scikit_learn_scaler(scaling, rng):
    known = rng.lognormal(size=(400, 2)).astype(np.float32) * np.float32([1, 3])
    ours = Numbers.fit(known, scaling, np.array([False, False])).transform(known)
    theirs = {
        "standard": StandardScaler,
        "minmax": MinMaxScaler,
        "robust": RobustScaler,
        "quantile": lambda: QuantileTransformer(output_distribution="normal", n_quantiles=200),
        "range": lambda: FunctionTransformer(lambda x: (x - x.min()) / np.ptp(x)),
    }
    distances = {
        name: np.abs(ours - make().fit_transform(known.astype(np.float64))).mean()
        for name, make in theirs.items()
    }
    assert min(distances, key=distances.get) == scaling
    assert scaling == "quantile" or distances[scaling] < 1e-6
