"""What stands for a gap: said by --missing, doubted where it may be a value, never in Parquet."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from serving import create_app
from trainer.cli import main
from trainer.data.sources import Reading, load_table
from trainer.data.tables import DataError

ROWS = 60


def csv_of(path, **columns):
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *map(",".join, rows)]) + "\n")
    return str(path)


def repeated(*values):
    return [values[i % len(values)] for i in range(ROWS)]


NUMBERS = [str(i / 7) for i in range(ROWS)]


@pytest.mark.parametrize(
    ("columns", "said", "named"),
    [
        ({"y": repeated("None", "Some")}, {}, r"'y'; got 'None' \(30\).*--missing ''.*drop those"),
        ({"y": repeated("1.5", "NA", "2")}, {}, r"'y'; got 'NA' \(20\)"),
        (
            {"land": repeated("NA", "DE", "na"), "y": repeated("a", "b")},
            {"category": ("land",)},
            r"'land'; got 'NA' \(20\), 'na' \(20\).*leave those cells empty or name.*--missing",
        ),
        (
            {"who": repeated("null", "b", "c"), "y": repeated("a", "b")},
            {"group": "who"},
            r"'who'; got 'null' \(20\)",
        ),
    ],
)
def test_load_word_that_may_be_a_value_is_refused(columns, said, named, tmp_path):
    path = csv_of(tmp_path / "t.csv", x=NUMBERS, **columns)
    with pytest.raises(DataError, match=named):
        load_table(path, Reading(**said))


def test_load_words_said_decide_in_any_case_and_normal_form(tmp_path):
    path = csv_of(
        tmp_path / "t.csv",
        x=repeated("-", "1", " Não ", "2.5"),
        land=repeated("NA", "DE", "", "não"),
        y=repeated("None", "Some"),
    )
    table = load_table(path, Reading(missing=("-", "NA\u0303O")))
    assert [(c.kind, c.gaps) for c in table.inferred] == [
        ("number", 30),
        ("category", 30),
        ("category", 0),
    ]
    assert table.records.columns[1].words == ("DE", "NA")
    assert sorted(set(table.target.tolist())) == ["None", "Some"]


def test_load_no_words_leaves_the_empty_cell_alone_a_gap(tmp_path):
    path = csv_of(tmp_path / "t.csv", land=repeated("?", "nan", ""), y=repeated("a", "b"))
    table = load_table(path, Reading(missing=()))
    assert table.records.columns[0].words == ("?", "nan")
    assert table.inferred[0].gaps == 20


@pytest.mark.parametrize("encode", [False, True])
def test_load_texts_of_parquet_are_values_and_nulls_are_gaps(encode, tmp_path):
    land = pa.array(repeated("NA", None, "DE"), pa.string())
    answer = pa.array(repeated("None", "null"))
    if encode:
        land, answer = land.dictionary_encode(), answer.dictionary_encode()
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pa.table({"land": land, "y": answer}), path)
    table = load_table(str(path))
    assert table.records.columns[0].words == ("DE", "NA")
    assert table.inferred[0].gaps == 20
    assert sorted(set(table.target.tolist())) == ["None", "null"]
    with pytest.raises(DataError, match="got 'na'; leave out --missing"):
        load_table(str(path), Reading(missing=("NA",)))


@pytest.fixture
def model(tmp_path):
    """A model of codes and numbers, trained with words of its own for gaps."""

    def made(missing):
        path = csv_of(
            tmp_path / "t.csv",
            land=repeated("NA", "DE", "-", "FR"),
            size=repeated("1", "2", "-", "30"),
            y=repeated("low", "low", "high", "high"),
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
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
        (bundle,) = (tmp_path / "models" / "t").iterdir()
        return bundle

    return made


def test_score_and_predict_read_the_words_of_the_training_data(model, tmp_path):
    bundle = model("-")
    inputs = json.loads((bundle / "bundle.json").read_text())["inputs"]
    assert [(c["name"], c["gaps"], c["missing"]) for c in inputs] == [
        ("land", ["-"], "impute"),
        ("size", ["-"], "impute"),
    ]
    assert inputs[0]["categories"] == ["DE", "FR", "NA"]
    client = create_app(models=bundle.parent.parent).test_client()

    def predicted(body, media="application/json"):
        answer = client.post("/predict", data=body, content_type=media)
        assert answer.status_code == 200, answer.text
        return answer.json["probabilities"]

    records = [{"land": "NA", "size": 1}, {"land": None, "size": None}, {"size": 2, "land": "DE"}]
    expected = predicted(json.dumps({"instances": records}))
    assert expected[0] != expected[1]
    written = "land,size\nNA,1\n-,-\nDE,2\n"
    assert predicted(written, "text/csv") == expected
    records[1]["land"] = "-"
    assert predicted(json.dumps({"instances": records})) == expected
    (tmp_path / "new.csv").write_text(written)
    output = str(tmp_path / "out.csv")
    command = ["score", str(bundle), str(tmp_path / "new.csv"), "-o", output]
    assert CliRunner().invoke(main, command).exit_code == 0
    found = pyarrow.csv.read_csv(output)
    for row, *shares in zip(
        expected, found["probability_high"], found["probability_low"], strict=True
    ):
        assert [share.as_py() for share in shares] == pytest.approx(row, abs=1e-6)
    # Where the file has another word for a gap, it can be said.
    (tmp_path / "new.csv").write_text(written.replace("-,-", "unknown,unknown"))
    assert CliRunner().invoke(main, [*command, "--missing", "Unknown"]).exit_code == 0
    assert pyarrow.csv.read_csv(output).equals(found)


def test_score_says_when_a_large_share_of_a_column_is_unseen(model, tmp_path):
    bundle = model("-")
    rows = ["land,size", "France,1", "Spain,2", "DE,2", "-,3", "NA,-"]
    (tmp_path / "new.csv").write_text("\n".join(rows))
    command = ["score", str(bundle), str(tmp_path / "new.csv"), "-o", str(tmp_path / "out.csv")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0
    assert "warning: 50% of the values of 'land' (2 of 4) are none" in done.stderr
    assert "such as 'France'" in done.stderr
    assert "such as 'DE', or train on data that have them" in done.stderr


@pytest.mark.parametrize(
    ("cells", "said", "kind", "gaps"),
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
def test_load_number_that_stands_for_a_gap_is_one_in_every_kind(cells, said, kind, gaps, tmp_path):
    path = csv_of(tmp_path / "t.csv", a=repeated(*cells), y=repeated("p", "q"))
    table = load_table(path, Reading(missing=("-9999",), **said))
    column = table.inferred[0]
    expected = sum(cell.startswith("-9999") for cell in repeated(*cells))
    assert (column.kind, column.gaps) == (kind, expected)
    values = table.records.column("a")
    assert (values == -1 if kind == "category" else np.isnan(values)).sum() == expected


def test_load_gaps_in_numbers_with_decimal_commas_are_found_before_points_are(tmp_path):
    path = tmp_path / "t.csv"
    rows = [
        f"{a};{b};{d};{'pq'[i % 2]}"
        for i, (a, b, d) in enumerate(
            [("n.a.", "-9999,0", "20230318,0"), ("1.234,5", "2,5", ""), ("7", "-9999", "-9999,0")]
            * 20
        )
    ]
    path.write_text("a;b;d;y\n" + "\n".join(rows) + "\n")
    reading = Reading(delimiter=";", decimal=",", missing=("n.a.", "-9999"), date=("d",))
    table = load_table(str(path), reading)
    assert [(c.kind, c.gaps) for c in table.inferred[:3]] == [
        ("number", 20),
        ("number", 40),
        ("date", 40),
    ]
    assert table.records.column("a")[1] == np.float32(1234.5)
    assert table.records.column("d")[0] == 1_679_097_600  # 2023-03-18


def test_number_that_stands_for_a_gap_is_one_in_all_formats_and_requests(tmp_path, monkeypatch):
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
    for name, data, more in (
        ("all", "t.csv", ["--category", "c", "--date", "d"]),
        ("a", "n.csv", []),
    ):
        options = ["--missing=-9999", "--epochs", "40", "--rare", "1", "--skip-baselines", "--json"]
        fitted = runner.invoke(main, ["fit", data, "--name", name, *options, *more])
        assert fitted.exit_code == 0, fitted.output
        answers = []
        for source in ("t.csv", "t.parquet"):
            scored = runner.invoke(main, ["score", f"models/{name}", source, "-o", "s.csv"])
            assert scored.exit_code == 0, scored.output
            answers.append(pa.csv.read_csv("s.csv")["prediction"].to_pylist())
        assert answers[0] == columns["y"]  # a gap tells the class
        client = create_app(models=tmp_path / "models").test_client()
        features = ["a"] if name == "a" else ["a", "c", "d"]
        records = [{key: row[key] for key in features} for row in rows]
        values = [[row[key] for key in features] for row in rows]
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, (few := table.select(features)).schema) as writer:
            writer.write_table(few)
        text = "\n".join([",".join(features), *(",".join(map(str, row)) for row in values)])
        for body, media in (
            (json.dumps({"instances": records}), "application/json"),
            (json.dumps({"instances": values}), "application/json"),
            (text, "text/csv"),
            (stream.getvalue().to_pybytes(), "application/vnd.apache.arrow.stream"),
        ):
            got = client.post(f"/predict?model={name}", data=body, content_type=media)
            assert got.status_code == 200, got.text
            answers.append(got.get_json()["predictions"])
        assert all(answer == answers[0] for answer in answers), (name, media)


def test_whole_number_category_with_decimal_comma_is_that_of_parquet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stores, y = repeated("1,0", "2,0", ""), repeated("p", "q", "p")
    lines = [f"{a};{c}" for a, c in zip(stores, y, strict=True)]
    (tmp_path / "t.csv").write_text("store;y\n" + "\n".join(lines) + "\n")
    table = load_table("t.csv", Reading(delimiter=";", decimal=",", category=("store",)))
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
    pa.parquet.write_table(pa.table({"store": repeated(1, 2, None), "y": y}), "t.parquet")
    for source in ("t.csv", "t.parquet"):
        scored = runner.invoke(main, ["score", "models/m", source, "-o", "s.csv"])
        assert scored.exit_code == 0, scored.output
        assert pa.csv.read_csv("s.csv")["prediction"].to_pylist() == y
