import json
import re
import shutil

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from serving import create_app
from tests.variants import flip_bit, keep_unchanged, negate_weights, write_variants
from trainer.cli import main
from trainer.config import Config
from trainer.pipeline import fit

PEOPLE = "age,job,pay\n" + "".join(
    f"{20 + i % 40},{('cook', 'nurse', 'pilot')[i % 3]},{'high' if i % 40 > 20 else 'low'}\n"
    for i in range(200)
)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    (folder / "people.csv").write_text(PEOPLE)
    options = dict(epochs=2, hidden=(4,), skip_baselines=True, unseen="refuse")
    made, _ = fit(Config(data=str(folder / "people.csv"), models=folder / "models", **options))
    return made.path


def scored(bundle, text, *options, file="new.csv", folder):
    (folder / file).write_text(text)
    output = str(folder / "out.csv")
    return CliRunner().invoke(
        main, ["score", str(bundle), str(folder / file), "-o", output, *options]
    )


def test_columns_may_come_in_any_order_beside_others(bundle, tmp_path):
    done = scored(bundle, "id,job,age\n7,cook,30\n8,nurse,50\n", "--keep", "id", folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert "2 rows scored" in done.stdout
    table = pyarrow.csv.read_csv(tmp_path / "out.csv")
    assert table.column_names == ["id", "prediction", "probability_high", "probability_low"]
    assert table["id"].to_pylist() == [7, 8]


def test_columns_to_keep_and_names_may_be_given_one_by_one(bundle, tmp_path):
    options = ("--names", "id", "--names", "age,job", "--keep", "id", "--keep", "job")
    done = scored(bundle, "7,30,cook\n", *options, folder=tmp_path)
    assert done.exit_code == 0, done.output
    table = pyarrow.csv.read_csv(tmp_path / "out.csv")
    assert table.column_names[:2] == ["id", "job"]


def test_a_file_without_a_header_is_scored_by_the_names_given(bundle, tmp_path):
    done = scored(bundle, "30,cook\n50,nurse\n", "--names", "age,job", folder=tmp_path)
    assert done.exit_code == 0, done.output


def test_no_rows_have_no_answers(bundle, tmp_path):
    done = scored(bundle, "age,job\n", folder=tmp_path)
    assert (done.exit_code, done.stdout[:13]) == (0, "0 rows scored")
    header = (tmp_path / "out.csv").read_text()
    assert header == '"prediction","probability_high","probability_low"\n'


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("age,job\n30,cook\n,nurse\n", [], r"a value in every row of 'age'.*got none in row 3"),
        ("age,job\n30,\n", [], r"a value in every row of 'job'.*row 2"),
        ("age,job\n30,diver\n", [], r"one of the texts that 'job' had.*got 'diver' in row 2"),
        ("age,job\nold,cook\n", [], r"'?age'?.*'?old'?.*row 2"),
        ("age\n30\n", [], r"got none called 'job'"),
        ("age,job\n30,cook\n", ["--keep", "id"], r"columns to keep out of 'age', 'job'; got 'id'"),
        ("age,job\n30,cook,7\n", [], r"2.*3|3.*2"),
    ],
)
def test_what_a_row_lacks_is_said_and_nothing_is_written(text, options, said, bundle, tmp_path):
    done = scored(bundle, text, *options, folder=tmp_path)
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert re.search(said, done.stderr), done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["new.csv"]


def test_a_bundle_that_does_not_prove_itself_answers_nothing(bundle, tmp_path):
    copied = tmp_path / "people" / "1"
    shutil.copytree(bundle, copied)
    graph = copied / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    done = scored(copied, "age,job\n30,cook\n", folder=tmp_path)
    assert done.exit_code == 1
    assert "altered after export" in done.stderr


def test_a_variant_is_chosen_by_name_and_the_first_answers_without(bundle, tmp_path):
    copied = tmp_path / "people" / "1"
    shutil.copytree(bundle, copied)
    write_variants(copied, fp32=keep_unchanged, int8=negate_weights, pruned=keep_unchanged)

    def outcome(*options):
        done = scored(copied, "age,job\n30,cook\n", *options, folder=tmp_path)
        return done.exit_code, done.stderr

    assert outcome()[0] == outcome("--variant", "pruned")[0] == 0
    code, said = outcome("--variant", "int8")
    assert (code, "int8 does not reproduce" in said) == (1, True)
    assert said.endswith("people/1 holds fp32, int8, pruned\n")
    code, said = outcome("--variant", "int4")
    assert (code, "expected a variant of the bundle; got 'int4'; " in said) == (1, True)
    assert said.endswith("people/1 holds fp32, int8, pruned\n")
    flip_bit(copied, "fp32")  # others are not put in its place unasked
    assert (outcome()[0], outcome("--variant", "pruned")[0]) == (1, 0)


def test_the_file_that_is_read_is_not_written_over(bundle, tmp_path):
    (tmp_path / "new.csv").write_text("age,job\n30,cook\n")
    file = str(tmp_path / "new.csv")
    done = CliRunner().invoke(main, ["score", str(bundle), file, "-o", file])
    assert done.exit_code == 1
    assert "another file to write" in done.stderr
    assert (tmp_path / "new.csv").read_text() == "age,job\n30,cook\n"


@pytest.mark.parametrize("name", ["prediction", "probability_low"])
def test_a_column_to_keep_does_not_vanish_behind_an_answer(name, bundle, tmp_path):
    columns = f"age,job,{name},{name}_input"
    done = scored(
        bundle, f"{columns}\n30,cook,7,8\n", "--keep", f"{name},{name}_input", folder=tmp_path
    )
    assert done.exit_code == 0, done.output
    assert f"{name} of {tmp_path / 'new.csv'} is written as {name}_input_" in done.stderr
    table = pyarrow.csv.read_csv(tmp_path / "out.csv")
    answers = ["prediction", "probability_high", "probability_low"]
    assert table.column_names == [f"{name}_input_", f"{name}_input", *answers]
    assert (table[f"{name}_input_"][0].as_py(), table[f"{name}_input"][0].as_py()) == (7, 8)
    assert table[name][0].as_py() not in (7, 8)


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_a_file_without_rows_leaves_no_older_answers(ending, bundle, tmp_path):
    table = pyarrow.table({"age": pyarrow.array([], "float64"), "job": pyarrow.array([], "string")})
    pyarrow.parquet.write_table(table, tmp_path / "new.parquet")
    output = tmp_path / f"out{ending}"
    output.write_text("stale")
    command = ["score", str(bundle), str(tmp_path / "new.parquet"), "-o", str(output)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert b"stale" not in output.read_bytes()


def test_columns_of_lists_are_refused_in_words(bundle, tmp_path):
    table = pyarrow.table({"age": [30.0], "job": [["cook"]]})
    pyarrow.parquet.write_table(table, tmp_path / "new.parquet")
    command = ["score", str(bundle), str(tmp_path / "new.parquet"), "-o", str(tmp_path / "o.csv")]
    done = CliRunner().invoke(main, command)
    assert (done.exit_code, "expected columns of numbers" in done.stderr) == (1, True)


SPELLED = {
    "whole numbers": (["1", "2", "3"], [["1", "1.0", " 2.00 "], [1, 1.0, "2.0"]]),
    "truth values": (["True", "False"], [["True", "TRUE ", "False"], [True, "True", False]]),
    "truth values as texts": (
        ["True", "False"],
        [["True", "TRUE ", "false"], [True, "true", "FALSE"]],
    ),
    "texts for gaps": (["us", "de"], [["us", "NA", "?"], ["us", "na", None]]),
}


@pytest.mark.parametrize("kind", SPELLED)
def test_files_and_requests_take_a_category_in_the_same_spellings(kind, tmp_path):
    words, (_, asked) = SPELLED[kind]
    rng = np.random.default_rng(0)
    rows = [
        (words[i % len(words)], rng.normal(), "a" if i % len(words) else "b") for i in range(300)
    ]
    rows[5] = ("", 0.0, "a")
    (tmp_path / "t.csv").write_text("c,x,y\n" + "".join(f"{c},{x},{y}\n" for c, x, y in rows))
    options = dict(epochs=5, hidden=(8,), skip_baselines=True, category=("c",))
    made, _ = fit(Config(data=str(tmp_path / "t.csv"), models=tmp_path / "models", **options))
    client = create_app(models=tmp_path / "models").test_client()
    instances = [{"c": value, "x": 0.5} for value in asked]
    served = client.post("/predict", json={"instances": instances}).json["probabilities"]
    texts = SPELLED[kind][1][0]
    written = "c,x\n" + "".join(f"{text},0.5\n" for text in texts)
    source = "new.csv"
    (tmp_path / source).write_text(written)
    if kind == "truth values":
        source = "new.parquet"
        typed = pyarrow.table({"c": [True, True, False], "x": [0.5] * 3})
        pyarrow.parquet.write_table(typed, tmp_path / source)
    output = tmp_path / "out.parquet"
    command = ["score", str(made.path), str(tmp_path / source), "-o", str(output)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    table = pyarrow.parquet.read_table(output)
    found = np.column_stack([table[f"probability_{name}"].to_numpy() for name in "ab"])
    np.testing.assert_allclose(found, served, rtol=1e-6)


INDEXED = pd.DataFrame(
    {
        "x": [float(i % 7) for i in range(60)],
        "city": [("Köln", "Bern")[i % 2] for i in range(60)],
        "kind": [("no", "yes")[i % 7 > 3] for i in range(60)],
    }
)
# How tables come with the index that pandas adds, and without it.
INDEXED_FILES = {
    "plain.csv": lambda frame, path: frame.to_csv(path, index=False),
    "index.csv": lambda frame, path: frame.to_csv(path),
    "again.csv": lambda frame, path: frame.rename_axis("Unnamed: 0").to_csv(path),
    "plain.parquet": lambda frame, path: frame.to_parquet(path, index=False),
    "index.parquet": lambda frame, path: (
        frame.sample(frac=1, random_state=0).sort_values(["x", "city"]).to_parquet(path)
    ),
    "named.parquet": lambda frame, path: (
        frame.set_index(frame.index[::-1]).rename_axis("key").to_parquet(path)
    ),
}


@pytest.fixture(scope="session")
def indexed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("indexed")
    for name, write in INDEXED_FILES.items():
        write(INDEXED, folder / name)
    return folder


@pytest.mark.parametrize("name", INDEXED_FILES)
def test_an_index_is_neither_learned_from_nor_asked_for(name, indexed, tmp_path):
    options = dict(epochs=1, hidden=(4,), skip_baselines=True, target="kind")
    made, _ = fit(Config(data=str(indexed / name), models=tmp_path, name="m", **options))
    assert [column.name for column in made.manifest.inputs] == ["x", "city"]
    for other in ("plain.csv", "index.csv", "index.parquet"):
        output = str(tmp_path / "out.csv")
        done = CliRunner().invoke(
            main, ["score", str(made.path), str(indexed / other), "-o", output]
        )
        assert done.exit_code == 0, done.output
        assert "60 rows scored" in done.stdout
    served = (
        create_app(models=tmp_path)
        .test_client()
        .post("/predict", json={"instances": [{"x": 1.0, "city": "Köln"}]})
    )
    assert served.status_code == 200


@pytest.mark.parametrize("command", ["fit", "check"])
def test_that_an_index_was_left_out_is_said(command, indexed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [command, str(indexed / "index.csv"), "--epochs", "1", "--hidden", "4", "--json"]
    skip = ["--skip-baselines"] if command == "fit" else []
    done = CliRunner().invoke(main, [*arguments, *skip])
    assert "warning: index_column: left out" in done.stderr
    (found,) = (f for f in json.loads(done.stdout)["findings"] if f["name"] == "index_column")
    assert found["columns"] == [""]
    assert "--drop ''" in found["remedy"]


WRITTEN = {  # how a file is written, and what says so
    "semicolons": (";", ".", "utf-8", ["--delimiter", ";"]),
    "German": (";", ",", "cp1252", ["--delimiter", ";", "--decimal", ",", "--encoding", "cp1252"]),
    "UTF-16": ("\t", ".", "utf-16", ["--delimiter", "tab", "--encoding", "utf-16"]),
}


def write_as(path, sign, decimal, encoding):
    frame = INDEXED.assign(x=INDEXED.x * 1000.5)
    frame.to_csv(path, index=False, sep=sign, decimal=decimal, encoding=encoding)


@pytest.mark.parametrize("name", WRITTEN)
def test_how_files_are_written_is_said_once(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    *how, options = WRITTEN[name]
    write_as(tmp_path / "t.csv", *how)
    short = ["--epochs", "1", "--hidden", "4", "--skip-baselines"]
    done = CliRunner().invoke(main, ["fit", "t.csv", *options, *short])
    assert done.exit_code == 0, done.output
    write_as(tmp_path / "plain.csv", ",", ".", "utf-8")
    INDEXED.assign(x=INDEXED.x * 1000.5).to_parquet(tmp_path / "typed.parquet")
    plainly = ["--delimiter", ",", "--decimal", ".", "--encoding", "utf-8"]
    answers = []
    for source, said in (("t.csv", []), ("plain.csv", plainly), ("typed.parquet", [])):
        done = CliRunner().invoke(main, ["score", "models/t", source, "-o", "out.csv", *said])
        assert done.exit_code == 0, done.output
        answers.append((tmp_path / "out.csv").read_text())
    assert answers[0] == answers[1] == answers[2]
    done = CliRunner().invoke(main, ["score", "models/t", "plain.csv", "-o", "out.csv"])
    assert done.exit_code == 1
    assert re.search(r"\b(use|choose) ", done.stderr)
    assert "--delimiter ," in done.stderr or "--encoding" in done.stderr


def test_what_says_no_way_to_write_a_file_is_refused(bundle, tmp_path):
    for option, value in (("--delimiter", ";;"), ("--decimal", ";"), ("--encoding", "rot13")):
        done = scored(bundle, "age,job\n30,cook\n", option, value, folder=tmp_path)
        assert (done.exit_code, option[2:] in done.stderr) == (2, True)


def test_a_column_with_a_comma_in_its_name_can_be_kept(bundle, tmp_path):
    text = 'age,job,"Revenue, USD"\n30,cook,7\n'
    for keep in ("Revenue, USD", '"Revenue, USD"'):
        done = scored(bundle, text, "--keep", keep, folder=tmp_path)
        assert done.exit_code == 0, done.output
        assert pyarrow.csv.read_csv(tmp_path / "out.csv")["Revenue, USD"].to_pylist() == [7]
