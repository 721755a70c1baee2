"""Texts and numbers that stand for a gap: by default, by --missing, and in Parquet."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from serving import create_app
from trainer.cli import main
from trainer.data.read_options import ReadOptions
from trainer.data.sources import load_table
from trainer.data.tables import DataError

ROWS = 60


def write_csv(path, **columns):
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *map(",".join, rows)]) + "\n")
    return str(path)


def repeat(*values):
    return [values[i % len(values)] for i in range(ROWS)]


NUMBERS = [str(i / 7) for i in range(ROWS)]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"y": repeat("None", "Some")}, {}, r"'y'; got 'None' \(30\).*--missing ''.*drop those"),
        ({"y": repeat("1.5", "NA", "2")}, {}, r"'y'; got 'NA' \(20\)"),
        (
            {"land": repeat("NA", "DE", "na"), "y": repeat("a", "b")},
            {"category": ("land",)},
            r"'land'; got 'NA' \(20\), 'na' \(20\).*leave those cells empty or name.*--missing",
        ),
        (
            {"who": repeat("null", "b", "c"), "y": repeat("a", "b")},
            {"group": "who"},
            r"'who'; got 'null' \(20\)",
        ),
    ],
)
def test_load_gap_text_that_may_be_a_value_is_refused(columns, options, message, tmp_path):
    path = write_csv(tmp_path / "t.csv", x=NUMBERS, **columns)
    with pytest.raises(DataError, match=message):
        load_table(path, ReadOptions(**options))


def test_load_missing_option_matches_any_case_and_normal_form(tmp_path):
    path = write_csv(
        tmp_path / "t.csv",
        x=repeat("-", "1", " Não ", "2.5"),
        land=repeat("NA", "DE", "", "não"),
        y=repeat("None", "Some"),
    )
    table = load_table(path, ReadOptions(missing=("-", "NA\u0303O")))
    assert [(c.kind, c.gaps) for c in table.inferred] == [
        ("number", 30),
        ("category", 30),
        ("category", 0),
    ]
    assert table.records.columns[1].words == ("DE", "NA")
    assert sorted(set(table.target.tolist())) == ["None", "Some"]


def test_load_empty_missing_option_leaves_only_empty_cells_as_gaps(tmp_path):
    path = write_csv(tmp_path / "t.csv", land=repeat("?", "nan", ""), y=repeat("a", "b"))
    table = load_table(path, ReadOptions(missing=()))
    assert table.records.columns[0].words == ("?", "nan")
    assert table.inferred[0].gaps == 20


@pytest.mark.parametrize("encode", [False, True])
def test_load_parquet_texts_are_values_and_nulls_are_gaps(encode, tmp_path):
    land = pa.array(repeat("NA", None, "DE"), pa.string())
    target = pa.array(repeat("None", "null"))
    if encode:
        land, target = land.dictionary_encode(), target.dictionary_encode()
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pa.table({"land": land, "y": target}), path)
    table = load_table(str(path))
    assert table.records.columns[0].words == ("DE", "NA")
    assert table.inferred[0].gaps == 20
    assert sorted(set(table.target.tolist())) == ["None", "null"]
    with pytest.raises(DataError, match="got 'na'; leave out --missing"):
        load_table(str(path), ReadOptions(missing=("NA",)))


@pytest.fixture
def train_model(tmp_path):
    """Return a function that trains a model with a gap text, and returns the bundle's folder."""

    def train_model(missing):
        path = write_csv(
            tmp_path / "t.csv",
            land=repeat("NA", "DE", "-", "FR"),
            size=repeat("1", "2", "-", "30"),
            y=repeat("low", "low", "high", "high"),
        )
        command = [
            "fit",
            path,
            "--models",
            str(tmp_path / "models"),
            "--hidden",
            "4",
            "--epochs",
            "2",
            "--skip-baselines",
            "--rare",
            "1",
            "--category",
            "land",
            "--runs",
            str(tmp_path / "runs"),
            "--missing",
            missing,
        ]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        (bundle,) = (tmp_path / "models" / "t").iterdir()
        return bundle

    return train_model


def test_score_and_predict_gap_texts_of_training_are_gaps(train_model, tmp_path):
    bundle = train_model("-")
    inputs = json.loads((bundle / "bundle.json").read_text())["inputs"]
    assert [(c["name"], c["gaps"], c["missing"]) for c in inputs] == [
        ("land", ["-"], "impute"),
        ("size", ["-"], "impute"),
    ]
    assert inputs[0]["categories"] == ["DE", "FR", "NA"]
    client = create_app(models=bundle.parent.parent).test_client()

    def predict(body, media_type="application/json"):
        response = client.post("/predict", data=body, content_type=media_type)
        assert response.status_code == 200, response.text
        return response.json["probabilities"]

    records = [{"land": "NA", "size": 1}, {"land": None, "size": None}, {"size": 2, "land": "DE"}]
    expected = predict(json.dumps({"instances": records}))
    assert expected[0] != expected[1]
    text = "land,size\nNA,1\n-,-\nDE,2\n"
    assert predict(text, "text/csv") == expected
    records[1]["land"] = "-"
    assert predict(json.dumps({"instances": records})) == expected
    (tmp_path / "new.csv").write_text(text)
    output = str(tmp_path / "out.csv")
    command = ["score", str(bundle), str(tmp_path / "new.csv"), "-o", output]
    assert CliRunner().invoke(main, command).exit_code == 0
    scored = pyarrow.csv.read_csv(output)
    for row, *shares in zip(
        expected, scored["probability_high"], scored["probability_low"], strict=True
    ):
        assert [share.as_py() for share in shares] == pytest.approx(row, abs=1e-6)
    # If the file has another text for a gap, the option names it.
    (tmp_path / "new.csv").write_text(text.replace("-,-", "unknown,unknown"))
    assert CliRunner().invoke(main, [*command, "--missing", "Unknown"]).exit_code == 0
    assert pyarrow.csv.read_csv(output).equals(scored)


def test_score_large_share_of_unseen_values_is_a_warning(train_model, tmp_path):
    bundle = train_model("-")
    rows = ["land,size", "France,1", "Spain,2", "DE,2", "-,3", "NA,-"]
    (tmp_path / "new.csv").write_text("\n".join(rows))
    command = ["score", str(bundle), str(tmp_path / "new.csv"), "-o", str(tmp_path / "out.csv")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0
    assert "50% of the values of 'land' (2 of 4) are not among its categories" in result.stderr
    assert "warning: 50%" in result.stderr
    assert "such as 'France'" in result.stderr
    assert "such as 'DE', or train on data that have them" in result.stderr


@pytest.mark.parametrize(
    ("cells", "options", "kind", "gaps"),
    [
        (("-9999", "1", "2"), {}, "number", [-9999]),
        (("-9999.0", "1.5", "-9999"), {}, "number", [-9999]),
        (("-9999", "1", "0"), {"boolean": ("a",)}, "boolean", [-9999]),
        (("-9999", "yes", "no"), {"boolean": ("a",)}, "boolean", []),
        (("-9999", "20230318", "20230401"), {"date": ("a",)}, "date", []),
        (("-9999.0", "20230318.0", "20230401.0"), {"date": ("a",)}, "date", []),
        (("-9999", "1700000000000", "1700000001000"), {"date": ("a",)}, "date", []),
        (("-9999", "1", "2"), {"precise": ("a",)}, "precise", []),
        (("-9999.0", "x", "-9999"), {}, "category", []),
    ],
)
def test_load_gap_number_is_a_gap_in_every_kind_of_column(cells, options, kind, gaps, tmp_path):
    path = write_csv(tmp_path / "t.csv", a=repeat(*cells), y=repeat("p", "q"))
    table = load_table(path, ReadOptions(missing=("-9999",), **options))
    profile = table.inferred[0]
    expected = sum(cell.startswith("-9999") for cell in repeat(*cells))
    assert (profile.kind, profile.gaps) == (kind, expected)
    values = table.records.column("a")
    assert (values == -1 if kind == "category" else np.isnan(values)).sum() == expected


def test_load_gap_texts_with_points_are_gaps_beside_decimal_commas(tmp_path):
    path = tmp_path / "t.csv"
    rows = [
        f"{a};{b};{d};{'pq'[i % 2]}"
        for i, (a, b, d) in enumerate(
            [("n.a.", "-9999,0", "20230318,0"), ("1.234,5", "2,5", ""), ("7", "-9999", "-9999,0")]
            * 20
        )
    ]
    path.write_text("a;b;d;y\n" + "\n".join(rows) + "\n")
    options = ReadOptions(delimiter=";", decimal=",", missing=("n.a.", "-9999"), date=("d",))
    table = load_table(str(path), options)
    assert [(c.kind, c.gaps) for c in table.inferred[:3]] == [
        ("number", 20),
        ("number", 40),
        ("date", 40),
    ]
    assert table.records.column("a")[1] == np.float32(1234.5)
    assert table.records.column("d")[0] == 1_679_097_600  # 2023-03-18


def test_fit_score_and_predict_gap_number_is_a_gap_in_all_formats(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    rows = [
        {"a": value, "c": c, "d": day, "y": "pq"[i % 3 == 0]}
        for i, (value, c, day) in enumerate(
            zip(
                np.where(np.arange(90) % 3 == 0, -9999, generator.integers(0, 9, 90)).tolist(),
                generator.choice([-9999, 1, 2], 90).tolist(),
                generator.choice([-9999, 20230318, 20230401], 90).tolist(),
                strict=True,
            )
        )
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    table = pa.table(columns)
    pa.csv.write_csv(table, "t.csv")
    pa.csv.write_csv(table.select(["a", "y"]), "n.csv")
    pa.parquet.write_table(table, "t.parquet")
    runner = CliRunner()
    for name, data, column_options in (
        ("all", "t.csv", ["--category", "c", "--date", "d"]),
        ("a", "n.csv", []),
    ):
        options = ["--missing=-9999", "--epochs", "40", "--rare", "1", "--skip-baselines", "--json"]
        fitted = runner.invoke(main, ["fit", data, "--name", name, *options, *column_options])
        assert fitted.exit_code == 0, fitted.output
        answers = []
        for source in ("t.csv", "t.parquet"):
            scored = runner.invoke(main, ["score", f"models/{name}", source, "-o", "s.csv"])
            assert scored.exit_code == 0, scored.output
            answers.append(pa.csv.read_csv("s.csv")["prediction"].to_pylist())
        assert answers[0] == columns["y"]  # the gap decides the class
        client = create_app(models=tmp_path / "models").test_client()
        features = ["a"] if name == "a" else ["a", "c", "d"]
        records = [{key: row[key] for key in features} for row in rows]
        values = [[row[key] for key in features] for row in rows]
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, (selected := table.select(features)).schema) as writer:
            writer.write_table(selected)
        text = "\n".join([",".join(features), *(",".join(map(str, row)) for row in values)])
        for body, media_type in (
            (json.dumps({"instances": records}), "application/json"),
            (json.dumps({"instances": values}), "application/json"),
            (text, "text/csv"),
            (stream.getvalue().to_pybytes(), "application/vnd.apache.arrow.stream"),
        ):
            response = client.post(f"/predict?model={name}", data=body, content_type=media_type)
            assert response.status_code == 200, response.text
            answers.append(response.get_json()["predictions"])
        assert all(answer == answers[0] for answer in answers), (name, media_type)


def test_score_category_of_whole_numbers_with_decimal_comma_matches_parquet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stores, y = repeat("1,0", "2,0", ""), repeat("p", "q", "p")
    lines = [f"{a};{c}" for a, c in zip(stores, y, strict=True)]
    (tmp_path / "t.csv").write_text("store;y\n" + "\n".join(lines) + "\n")
    table = load_table("t.csv", ReadOptions(delimiter=";", decimal=",", category=("store",)))
    assert table.records.columns[0].words == ("1", "2")
    options = [
        "--category",
        "store",
        "--rare",
        "1",
        "--epochs",
        "40",
        "--skip-baselines",
        "--name",
        "m",
    ]
    runner = CliRunner()
    fitted = runner.invoke(main, ["fit", "t.csv", "--delimiter", ";", "--decimal", ",", *options])
    assert fitted.exit_code == 0, fitted.output
    pa.parquet.write_table(pa.table({"store": repeat(1, 2, None), "y": y}), "t.parquet")
    for source in ("t.csv", "t.parquet"):
        scored = runner.invoke(main, ["score", "models/m", source, "-o", "s.csv"])
        assert scored.exit_code == 0, scored.output
        assert pa.csv.read_csv("s.csv")["prediction"].to_pylist() == y
