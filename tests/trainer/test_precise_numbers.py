"""Columns whose values float32 would merge, from the file to the served answer."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner
from sklearn.exceptions import ConvergenceWarning

from serving import create_app
from serving.bundle import NumberColumn
from trainer.cli import main
from trainer.compress.load_trained import load_trained
from trainer.config import Config
from trainer.data.checks import check_table
from trainer.data.preprocess import Encoder, Encoding
from trainer.data.read_options import ReadOptions
from trainer.data.records import Column, Records
from trainer.data.sources import load_table
from trainer.data.splits import split_table
from trainer.data.tables import DataError
from trainer.estimators import MLPClassifier
from trainer.nn import Dense
from trainer.pipeline import fit, load_and_split, spawn_generators, train
from trainer.score import score
from trainer.sequential import Sequential

N_ROWS = 600
FAST_OPTIONS = {"hidden": (16,), "epochs": 15, "learning_rate": 0.03, "skip_baselines": True}


def create_northings(gap_share=0.0):
    """Return a table whose class depends only on the decimals of a coordinate."""
    rng = np.random.default_rng(0)
    fraction = rng.permutation(N_ROWS) / N_ROWS
    return pa.table(
        {
            "northing": pa.array(
                5812345 + np.round(fraction, 3), mask=rng.random(N_ROWS) < gap_share
            ),
            "milliseconds": 1679097600000 + (60_000 * fraction).astype(np.int64),
            "day": np.array([20230318, 20230401, 20231231])[rng.integers(0, 3, N_ROWS)],
            "x": rng.normal(size=N_ROWS),
            "side": np.where(fraction < 0.5, "left", "right"),
        }
    )


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precise")
    pyarrow.csv.write_csv(create_northings(), folder / "t.csv")
    pyarrow.parquet.write_table(create_northings(), folder / "t.parquet")
    return folder


@pytest.fixture(scope="session")
def trained(files):
    """Return a bundle that was trained on a CSV file, and its run."""
    options = {"date": ("milliseconds", "day"), **FAST_OPTIONS}
    return fit(Config(data=str(files / "t.csv"), name="t", models=files / "models", **options))


def train_and_score(files, **options):
    """Return the accuracy on the test rows, 0 to 1."""
    config = Config(
        data=str(files / "t.csv"), drop=("milliseconds", "day"), **FAST_OPTIONS, **options
    )
    run = train(config, spawn_generators(0)[0])
    rows = run.split.test
    labels = run.model.answers(run.table.records.take(rows))["label"]
    return float(np.mean(labels == run.table.target[rows]))


def test_train_values_merged_in_float32_are_learned_in_float64(files):
    assert train_and_score(files) > 0.97
    assert train_and_score(files, number=("northing",)) < 0.9


def test_fit_precise_column_is_float64_in_the_manifest(trained):
    bundle, _ = trained
    northing = next(c for c in bundle.manifest.inputs if c.name == "northing")
    assert isinstance(northing, NumberColumn)
    assert (northing.dtype, bundle.manifest.is_all_numeric) == ("float64", False)
    assert 5812345 <= northing.minimum < northing.maximum < 5812346
    assert northing.minimum <= bundle.manifest.example["northing"] <= northing.maximum
    formats = {c.name: c.format for c in bundle.manifest.inputs if c.type == "date"}
    assert formats == {"milliseconds": "milliseconds", "day": "%Y%m%d"}


def test_score_and_predict_any_format_gives_the_same_answers(trained, files):
    bundle, run = trained
    expected = run.model.answers(run.table.records)
    for name in ("t.csv", "t.parquet"):
        score(bundle, files / name, files / "out.parquet")
        scored = pyarrow.parquet.read_table(files / "out.parquet")
        assert scored["prediction"].to_pylist() == expected["label"].tolist()
        np.testing.assert_allclose(
            scored["probability_left"], expected["probabilities"][:, 0], atol=1e-5
        )
    records = create_northings().drop_columns(["side"]).to_pylist()
    client = create_app(models=str(files / "models")).test_client()
    for instances in (records, [{**r, "milliseconds": str(r["milliseconds"])} for r in records]):
        response = client.post("/predict", json={"instances": instances})
        assert response.status_code == 200, response.text
        assert response.json["predictions"] == expected["label"].tolist()
    assert client.get("/models/t").json["inputs"][0]["dtype"] == "float64"


def test_score_float32_for_precise_column_is_refused(trained, files):
    table = create_northings()
    float32_table = table.set_column(0, "northing", table["northing"].cast(pa.float32()))
    pyarrow.parquet.write_table(float32_table, files / "float32.parquet")
    with pytest.raises(DataError, match="expected float64 in 'northing'.*got a column of float"):
        score(trained[0], files / "float32.parquet", files / "none.csv")


def check(table):
    """Return the findings about a table by name."""
    parts = split_table(table, validation=0.1, test=0.2, seed=0)
    return {finding.name: finding for finding in check_table(table, parts)}


def test_check_precise_column_is_reported_with_its_loss(files):
    findings = check(load_table(str(files / "t.csv")))
    assert "northing (600 different values, of which 597 lost)" in findings["precise_column"].detail
    assert "read in float64" in findings["precise_column"].detail
    assert findings["number_like_date"].columns == ("milliseconds", "day")
    assert "--date NAME" in findings["number_like_date"].remedy
    assert "constant_column" not in findings


def test_check_number_by_option_stays_in_float32_and_is_reported(files):
    table = load_table(str(files / "t.csv"), ReadOptions(number=("northing",)))
    assert table.records.of_kind("precise")[0].name != "northing"
    findings = check(table)
    assert findings["imprecise_column"].columns == ("northing",)
    assert "--precise NAME" in findings["imprecise_column"].remedy


def test_fit_json_option_prints_the_findings(files, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(
        main,
        [
            "fit",
            str(files / "t.csv"),
            "--drop",
            "milliseconds,day",
            "--epochs",
            "1",
            "--hidden",
            "2",
            "--skip-baselines",
            "--json",
        ],
    )
    assert result.exit_code == 0, result.output
    names = [finding["name"] for finding in json.loads(result.stdout)["findings"]]
    assert "precise_column" in names


@pytest.mark.parametrize(
    "scaling", ["standard", "minmax", "robust", "robust_clip", "quantile", "range"]
)
def test_fit_any_scaling_of_precise_column_agrees_with_numpy(files, tmp_path, scaling):
    pyarrow.parquet.write_table(create_northings(gap_share=0.1), tmp_path / "t.parquet")
    bundle, _ = fit(
        Config(  # fit compares the graph with NumPy, also on values far outside the training data
            data=str(tmp_path / "t.parquet"),
            scaling=scaling,
            models=tmp_path,
            hidden=(4,),
            epochs=2,
            drop=("milliseconds", "day"),
            skip_baselines=True,
        )
    )
    assert bundle.manifest.variants["fp32"].parity.label_agreement == 1


def test_encoder_any_scaling_brings_precise_column_to_its_range():
    values = 1e9 + np.arange(101.0)
    records = Records(
        (Column("t", "precise"),), np.empty((101, 0), np.float32), precise=values[:, None]
    )
    for scaling, low, high in (
        ("minmax", 0, 1),
        ("range", 0, 1),
        ("robust", -1, 1),
        ("robust_clip", -3 / 10**0.5, 3 / 10**0.5),
    ):
        encoder = Encoder.fit(records, np.arange(101), Encoding(scaling=scaling))
        rows = encoder.transform(records)
        np.testing.assert_allclose([rows.min(), rows.max()], [low, high], atol=1e-6)
    rows = Encoder.fit(records, np.arange(101)).transform(records)
    np.testing.assert_allclose([rows.mean(), rows.std()], [0, 1], atol=1e-5)


def test_encoder_gaps_of_precise_column_are_the_median_and_flagged():
    values = np.array([1e9, 1e9 + 1, np.nan, 1e9 + 2])[:, None]
    records = Records((Column("t", "precise"),), np.empty((4, 0), np.float32), precise=values)
    encoder = Encoder.fit(records, np.arange(4))
    rows = encoder.transform(records)
    assert rows.shape == (4, 2)
    assert rows[2].tolist() == [rows[1, 0], 1]


def test_load_npz_merged_values_are_precise(tmp_path):
    rng = np.random.default_rng(0)
    X = np.stack([5812345 + rng.permutation(N_ROWS) / N_ROWS, rng.normal(size=N_ROWS)], axis=1)
    np.savez(tmp_path / "a.npz", X=X, y=np.arange(N_ROWS) % 2)
    table = load_table(str(tmp_path / "a.npz"))
    assert [column.kind for column in table.records.columns] == ["precise", "number"]
    np.testing.assert_array_equal(table.records.column("x0"), X[:, 0])
    table = load_table(str(tmp_path / "a.npz"), ReadOptions(number=("x0",)))
    assert table.records.all_numbers
    with pytest.raises(DataError, match="names of columns from 'x0' to 'x1'; got 'x7'"):
        load_table(str(tmp_path / "a.npz"), ReadOptions(precise=("x7",)))


def test_column_repr_is_unchanged_since_fingerprints_depend_on_it():
    columns = (Column("a"), Column("b", "category", ("x", "y")))
    assert repr(columns) == (
        "(Column(name='a', kind='number', words=()), "
        "Column(name='b', kind='category', words=('x', 'y')))"
    )


def test_load_trained_model_of_float32_keeps_its_numbers(files, tmp_path):
    # Before schema version 2, all numbers were in float32 without an option.
    options = {"hidden": (4,), "epochs": 1, "skip_baselines": True}
    config = Config(
        data=str(files / "t.csv"),
        models=tmp_path,
        drop=("milliseconds", "day"),
        number=("northing",),
        **options,
    )
    bundle, run = fit(config)
    training = bundle.manifest.training
    config = {**training.config, "number": []}
    object.__setattr__(training, "config", config)
    assert load_and_split(Config(**config))[0].records.of_kind("precise")
    trained = load_trained(bundle)
    assert trained.table.fingerprint() == run.table.fingerprint()


@pytest.mark.parametrize(
    ("numbers", "date_format"),
    [
        ([1679097600, 1679184000], "seconds"),
        ([1679097600.25, 1679184000.5], "seconds"),
        ([1679097600000, 1679184000001], "milliseconds"),
        ([1679097600000000, 1679184000000001], "microseconds"),
        ([1679097600000000001, 1679184000000000002], "nanoseconds"),
        ([20230318, 20230319], "%Y%m%d"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_load_dates_as_numbers_are_read_in_the_unit_of_the_column(
    tmp_path, numbers, date_format, suffix
):
    path = tmp_path / f"t.{suffix}"
    table = pa.table({"t": numbers * 6, "y": ["a", "b"] * 6})
    (pyarrow.csv.write_csv if suffix == "csv" else pyarrow.parquet.write_table)(table, path)
    records = load_table(str(path), ReadOptions(date=("t",))).records
    assert records.columns[0].format == date_format
    days = np.floor(records.column("t")[:2] / 86400)
    assert days.tolist() == [19434, 19435]  # 2023-03-18 and the day after


def test_load_dates_in_no_unit_are_refused(tmp_path):
    pyarrow.csv.write_csv(
        pa.table({"t": [5, 1679097600] * 6, "y": ["a", "b"] * 6}), tmp_path / "t.csv"
    )
    with pytest.raises(DataError, match="of the years 1990 to 2099 in 't'; got numbers from 5 to"):
        load_table(str(tmp_path / "t.csv"), ReadOptions(date=("t",)))


def test_load_texts_of_the_basic_form_are_dates(tmp_path):
    texts = ["20230318T101500Z", "20230319T1015"] * 6
    pyarrow.csv.write_csv(pa.table({"t": texts, "y": ["a", "b"] * 6}), tmp_path / "t.csv")
    records = load_table(str(tmp_path / "t.csv")).records
    assert records.columns[0].kind == "date"
    assert records.column("t")[:2].tolist() == [1679134500, 1679220900]


LARGE_VALUES = 5812345 + np.random.default_rng(0).permutation(N_ROWS)[:, None] / N_ROWS


def test_sequential_float32_network_warns_of_merged_values():
    network = Sequential([Dense(2)])
    network.compile()
    with pytest.warns(UserWarning, match=r"x0 \(600 different values, of which 597 lost\)"):
        network.fit(LARGE_VALUES, np.arange(N_ROWS) % 2)
    float64_network = Sequential([Dense(2)], dtype=np.float64)
    float64_network.compile()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        float64_network.fit(LARGE_VALUES, np.arange(N_ROWS) % 2)
        network.fit(LARGE_VALUES.astype(np.float32), np.arange(N_ROWS) % 2)


def test_classifier_float32_network_warns_of_float64_rows():
    y = np.arange(N_ROWS) % 2
    classifier = MLPClassifier(max_iter=1, hidden_layer_sizes=(2,))
    with pytest.warns(ConvergenceWarning):
        classifier.fit(LARGE_VALUES.astype(np.float32), y)
    with pytest.warns(UserWarning, match="of which 597 lost.*train it on float64") as warning_list:
        classifier.predict(LARGE_VALUES)
    assert warning_list[0].filename == __file__
    with pytest.warns(UserWarning, match="of which 597 lost"):
        classifier.partial_fit(LARGE_VALUES, y)
