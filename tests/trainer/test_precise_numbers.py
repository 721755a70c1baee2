"""Columns that float32 cannot tell apart, from the file to the served answer."""

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
from trainer.data.records import Column, Records
from trainer.data.sources import Reading, load_table
from trainer.data.splits import split_table
from trainer.data.tables import DataError
from trainer.estimators import MLPClassifier
from trainer.nn import Dense
from trainer.pipeline import fit, load_and_split, spawn_generators, train
from trainer.score import score
from trainer.sequential import Sequential

N = 600
QUICK = {"hidden": (16,), "epochs": 15, "learning_rate": 0.03, "skip_baselines": True}


def northings(gaps=0.0):
    """A class that is told by the decimals of a coordinate alone."""
    rng = np.random.default_rng(0)
    fraction = rng.permutation(N) / N
    return pa.table(
        {
            "northing": pa.array(5812345 + np.round(fraction, 3), mask=rng.random(N) < gaps),
            "milliseconds": 1679097600000 + (60_000 * fraction).astype(np.int64),
            "day": np.array([20230318, 20230401, 20231231])[rng.integers(0, 3, N)],
            "x": rng.normal(size=N),
            "side": np.where(fraction < 0.5, "left", "right"),
        }
    )


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precise")
    pyarrow.csv.write_csv(northings(), folder / "t.csv")
    pyarrow.parquet.write_table(northings(), folder / "t.parquet")
    return folder


@pytest.fixture(scope="session")
def trained(files):
    """A bundle, trained from CSV, and all that training led to."""
    chosen = {"date": ("milliseconds", "day"), **QUICK}
    return fit(Config(data=str(files / "t.csv"), name="t", models=files / "models", **chosen))


def accuracy(files, **options):
    config = Config(data=str(files / "t.csv"), drop=("milliseconds", "day"), **QUICK, **options)
    model = (found := train(config, spawn_generators(0)[0])).model
    rows = found.parts.test
    label = model.answers(found.table.records.take(rows))["label"]
    return float(np.mean(label == found.table.target[rows]))


def test_numbers_that_float32_cannot_tell_apart_are_learned_from(files):
    assert accuracy(files) > 0.97
    assert accuracy(files, number=("northing",)) < 0.9


def test_the_manifest_says_what_is_read_in_float64(trained):
    bundle, _ = trained
    northing = next(c for c in bundle.manifest.inputs if c.name == "northing")
    assert isinstance(northing, NumberColumn)
    assert (northing.dtype, bundle.manifest.is_all_numeric) == ("float64", False)
    assert 5812345 <= northing.minimum < northing.maximum < 5812346
    assert northing.minimum <= bundle.manifest.example["northing"] <= northing.maximum
    formats = {c.name: c.format for c in bundle.manifest.inputs if c.type == "date"}
    assert formats == {"milliseconds": "milliseconds", "day": "%Y%m%d"}


def test_csv_parquet_and_the_server_give_the_same_answers(trained, files):
    bundle, found = trained
    expected = found.model.answers(found.table.records)
    for name in ("t.csv", "t.parquet"):
        score(bundle, files / name, files / "out.parquet")
        scored = pyarrow.parquet.read_table(files / "out.parquet")
        assert scored["prediction"].to_pylist() == expected["label"].tolist()
        np.testing.assert_allclose(
            scored["probability_left"], expected["probabilities"][:, 0], atol=1e-5
        )
    records = northings().drop_columns(["side"]).to_pylist()
    client = create_app(models=str(files / "models")).test_client()
    for asked in (records, [{**r, "milliseconds": str(r["milliseconds"])} for r in records]):
        answer = client.post("/predict", json={"instances": asked})
        assert answer.status_code == 200, answer.text
        assert answer.json["predictions"] == expected["label"].tolist()
    assert client.get("/models/t").json["inputs"][0]["dtype"] == "float64"


def test_a_file_of_float32_is_not_scored(trained, files):
    table = northings()
    narrow = table.set_column(0, "northing", table["northing"].cast(pa.float32()))
    pyarrow.parquet.write_table(narrow, files / "narrow.parquet")
    with pytest.raises(DataError, match="expected float64 in 'northing'.*got a column of float"):
        score(trained[0], files / "narrow.parquet", files / "none.csv")


def test_the_findings_say_what_float32_would_lose(files):
    table = load_table(str(files / "t.csv"))
    found = {
        f.name: f for f in check_table(table, split_table(table, validation=0.1, test=0.2, seed=0))
    }
    assert "northing (600 different values, of which 597 lost)" in found["precise_column"].detail
    assert "read in float64" in found["precise_column"].detail
    assert found["number_like_date"].columns == ("milliseconds", "day")
    assert "--date NAME" in found["number_like_date"].remedy
    assert "constant_column" not in found


def test_numbers_said_to_be_numbers_stay_in_float32_and_are_named(files):
    table = load_table(str(files / "t.csv"), Reading(number=("northing",)))
    assert table.records.of_kind("precise")[0].name != "northing"
    found = {
        f.name: f for f in check_table(table, split_table(table, validation=0.1, test=0.2, seed=0))
    }
    assert found["imprecise_column"].columns == ("northing",)
    assert "--precise NAME" in found["imprecise_column"].remedy


def test_fit_prints_the_findings_in_its_json(files, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
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
    assert done.exit_code == 0, done.output
    names = [finding["name"] for finding in json.loads(done.stdout)["findings"]]
    assert "precise_column" in names


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", "quantile", "range"])
def test_the_graph_scales_as_numpy_does(files, tmp_path, scaling):
    pyarrow.parquet.write_table(northings(gaps=0.1), tmp_path / "t.parquet")
    bundle, _ = fit(
        Config(  # which compares the two on real and on far records
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


def test_scalings_bring_a_column_to_a_common_size():
    values = 1e9 + np.arange(101.0)
    records = Records(
        (Column("t", "precise"),), np.empty((101, 0), np.float32), precise=values[:, None]
    )
    for scaling, low, high in (("minmax", 0, 1), ("range", 0, 1), ("robust", -1, 1)):
        encoder = Encoder.fit(records, np.arange(101), Encoding(scaling=scaling))
        rows = encoder.transform(records)
        np.testing.assert_allclose([rows.min(), rows.max()], [low, high], atol=1e-6)
    rows = Encoder.fit(records, np.arange(101)).transform(records)
    np.testing.assert_allclose([rows.mean(), rows.std()], [0, 1], atol=1e-5)


def test_gaps_are_filled_with_the_median_and_flagged():
    values = np.array([1e9, 1e9 + 1, np.nan, 1e9 + 2])[:, None]
    records = Records((Column("t", "precise"),), np.empty((4, 0), np.float32), precise=values)
    encoder = Encoder.fit(records, np.arange(4))
    rows = encoder.transform(records)
    assert rows.shape == (4, 2)
    assert rows[2].tolist() == [rows[1, 0], 1]


def test_arrays_lose_nothing_either(tmp_path):
    rng = np.random.default_rng(0)
    X = np.stack([5812345 + rng.permutation(N) / N, rng.normal(size=N)], axis=1)
    np.savez(tmp_path / "a.npz", X=X, y=np.arange(N) % 2)
    table = load_table(str(tmp_path / "a.npz"))
    assert [column.kind for column in table.records.columns] == ["precise", "number"]
    np.testing.assert_array_equal(table.records.column("x0"), X[:, 0])
    single = load_table(str(tmp_path / "a.npz"), Reading(number=("x0",)))
    assert single.records.all_numbers
    with pytest.raises(DataError, match="names of columns from 'x0' to 'x1'; got 'x7'"):
        load_table(str(tmp_path / "a.npz"), Reading(precise=("x7",)))


def test_a_fingerprint_of_other_tables_is_as_before():
    columns = (Column("a"), Column("b", "category", ("x", "y")))
    assert repr(columns) == (
        "(Column(name='a', kind='number', words=()), "
        "Column(name='b', kind='category', words=('x', 'y')))"
    )


def test_a_model_of_float32_is_opened_with_its_numbers_as_they_were(files, tmp_path):
    # As before schema version 2, when all numbers were in float32 without being asked.
    chosen = {"hidden": (4,), "epochs": 1, "skip_baselines": True}
    config = Config(
        data=str(files / "t.csv"),
        models=tmp_path,
        drop=("milliseconds", "day"),
        number=("northing",),
        **chosen,
    )
    bundle, found = fit(config)
    training = bundle.manifest.training
    config = {**training.config, "number": []}
    object.__setattr__(training, "config", config)
    assert load_and_split(Config(**config))[0].records.of_kind("precise")
    opened = load_trained(bundle)
    assert opened.table.fingerprint() == found.table.fingerprint()


@pytest.mark.parametrize(
    ("numbers", "written"),
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
def test_dates_are_read_from_numbers_in_the_unit_of_the_whole_column(
    tmp_path, numbers, written, suffix
):
    path = tmp_path / f"t.{suffix}"
    table = pa.table({"t": numbers * 6, "y": ["a", "b"] * 6})
    (pyarrow.csv.write_csv if suffix == "csv" else pyarrow.parquet.write_table)(table, path)
    found = load_table(str(path), Reading(date=("t",)))
    assert found.records.columns[0].format == written
    days = np.floor(found.records.column("t")[:2] / 86400)
    assert days.tolist() == [19434, 19435]  # 2023-03-18 and the day after


def test_dates_in_no_unit_are_refused(tmp_path):
    pyarrow.csv.write_csv(
        pa.table({"t": [5, 1679097600] * 6, "y": ["a", "b"] * 6}), tmp_path / "t.csv"
    )
    with pytest.raises(DataError, match="of the years 1990 to 2099 in 't'; got numbers from 5 to"):
        load_table(str(tmp_path / "t.csv"), Reading(date=("t",)))


def test_texts_of_the_basic_form_are_dates(tmp_path):
    texts = ["20230318T101500Z", "20230319T1015"] * 6
    pyarrow.csv.write_csv(pa.table({"t": texts, "y": ["a", "b"] * 6}), tmp_path / "t.csv")
    found = load_table(str(tmp_path / "t.csv"))
    assert found.records.columns[0].kind == "date"
    assert found.records.column("t")[:2].tolist() == [1679134500, 1679220900]


FAR = 5812345 + np.random.default_rng(0).permutation(N)[:, None] / N


def test_a_network_of_float32_warns_of_what_it_cannot_tell_apart():
    network = Sequential([Dense(2)])
    network.compile()
    with pytest.warns(UserWarning, match=r"x0 \(600 different values, of which 597 lost\)"):
        network.fit(FAR, np.arange(N) % 2)
    wide = Sequential([Dense(2)], dtype=np.float64)
    wide.compile()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wide.fit(FAR, np.arange(N) % 2)
        network.fit(FAR.astype(np.float32), np.arange(N) % 2)


def test_an_estimator_of_float32_warns_of_float64_rows():
    y = np.arange(N) % 2
    single = MLPClassifier(max_iter=1, hidden_layer_sizes=(2,))
    with pytest.warns(ConvergenceWarning):
        single.fit(FAR.astype(np.float32), y)
    with pytest.warns(UserWarning, match="of which 597 lost.*train it on float64") as found:
        single.predict(FAR)
    assert found[0].filename == __file__
    with pytest.warns(UserWarning, match="of which 597 lost"):
        single.partial_fit(FAR, y)
