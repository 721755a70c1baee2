"""`trainer score` and `trainer.score`: the rows of a file, answered by a bundle's model."""

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


def run_score(bundle, text, *options, file="new.csv", folder):
    """Write a file with this text, and score it into out.csv."""
    (folder / file).write_text(text)
    output = str(folder / "out.csv")
    return CliRunner().invoke(
        main, ["score", str(bundle), str(folder / file), "-o", output, *options]
    )


def test_score_columns_in_other_order_with_others_are_found(bundle, tmp_path):
    done = run_score(bundle, "id,job,age\n7,cook,30\n8,nurse,50\n", "--keep", "id", folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert "2 rows scored" in done.stdout
    table = pyarrow.csv.read_csv(tmp_path / "out.csv")
    assert table.column_names == ["id", "prediction", "probability_high", "probability_low"]
    assert table["id"].to_pylist() == [7, 8]


def test_score_list_options_given_twice_are_joined(bundle, tmp_path):
    options = ("--names", "id", "--names", "age,job", "--keep", "id", "--keep", "job")
    done = run_score(bundle, "7,30,cook\n", *options, folder=tmp_path)
    assert done.exit_code == 0, done.output
    table = pyarrow.csv.read_csv(tmp_path / "out.csv")
    assert table.column_names[:2] == ["id", "job"]


def test_score_file_without_header_uses_names(bundle, tmp_path):
    done = run_score(bundle, "30,cook\n50,nurse\n", "--names", "age,job", folder=tmp_path)
    assert done.exit_code == 0, done.output


def test_score_file_without_rows_writes_a_header(bundle, tmp_path):
    done = run_score(bundle, "age,job\n", folder=tmp_path)
    assert (done.exit_code, done.stdout[:13]) == (0, "0 rows scored")
    header = (tmp_path / "out.csv").read_text()
    assert header == '"prediction","probability_high","probability_low"\n'


@pytest.mark.parametrize(
    ("text", "options", "pattern"),
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
def test_score_invalid_row_error_names_it_and_nothing_is_written(
    text, options, pattern, bundle, tmp_path
):
    done = run_score(bundle, text, *options, folder=tmp_path)
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert re.search(pattern, done.stderr), done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["new.csv"]


def test_score_altered_bundle_is_refused(bundle, tmp_path):
    copy = tmp_path / "people" / "1"
    shutil.copytree(bundle, copy)
    graph = copy / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    done = run_score(copy, "age,job\n30,cook\n", folder=tmp_path)
    assert done.exit_code == 1
    assert "altered after export" in done.stderr


def test_score_variant_default_is_the_first(bundle, tmp_path):
    copy = tmp_path / "people" / "1"
    shutil.copytree(bundle, copy)
    write_variants(copy, fp32=keep_unchanged, int8=negate_weights, pruned=keep_unchanged)

    def run(*options):
        done = run_score(copy, "age,job\n30,cook\n", *options, folder=tmp_path)
        return done.exit_code, done.stderr

    assert run()[0] == run("--variant", "pruned")[0] == 0
    code, error = run("--variant", "int8")
    assert (code, "int8 does not reproduce" in error) == (1, True)
    assert error.endswith("people/1 holds fp32, int8, pruned\n")
    code, error = run("--variant", "int4")
    assert (code, "expected a variant of the bundle; got 'int4'; " in error) == (1, True)
    assert error.endswith("people/1 holds fp32, int8, pruned\n")
    flip_bit(copy, "fp32")  # no other variant replaces it
    assert (run()[0], run("--variant", "pruned")[0]) == (1, 0)


def test_score_output_equal_to_input_is_refused(bundle, tmp_path):
    (tmp_path / "new.csv").write_text("age,job\n30,cook\n")
    file = str(tmp_path / "new.csv")
    done = CliRunner().invoke(main, ["score", str(bundle), file, "-o", file])
    assert done.exit_code == 1
    assert "another file to write" in done.stderr
    assert (tmp_path / "new.csv").read_text() == "age,job\n30,cook\n"


@pytest.mark.parametrize("name", ["prediction", "probability_low"])
def test_score_kept_column_with_name_of_an_answer_is_renamed(name, bundle, tmp_path):
    columns = f"age,job,{name},{name}_input"
    done = run_score(
        bundle, f"{columns}\n30,cook,7,8\n", "--keep", f"{name},{name}_input", folder=tmp_path
    )
    assert done.exit_code == 0, done.output
    assert (
        f"the column {name} of {tmp_path / 'new.csv'} is written as {name}_input_," in done.stderr
    )
    table = pyarrow.csv.read_csv(tmp_path / "out.csv")
    answers = ["prediction", "probability_high", "probability_low"]
    assert table.column_names == [f"{name}_input_", f"{name}_input", *answers]
    assert (table[f"{name}_input_"][0].as_py(), table[f"{name}_input"][0].as_py()) == (7, 8)
    assert table[name][0].as_py() not in (7, 8)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_score_file_without_rows_overwrites_the_output(suffix, bundle, tmp_path):
    table = pyarrow.table({"age": pyarrow.array([], "float64"), "job": pyarrow.array([], "string")})
    pyarrow.parquet.write_table(table, tmp_path / "new.parquet")
    output = tmp_path / f"out{suffix}"
    output.write_text("old")
    command = ["score", str(bundle), str(tmp_path / "new.parquet"), "-o", str(output)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert b"old" not in output.read_bytes()


def test_score_column_of_lists_is_refused(bundle, tmp_path):
    table = pyarrow.table({"age": [30.0], "job": [["cook"]]})
    pyarrow.parquet.write_table(table, tmp_path / "new.parquet")
    command = ["score", str(bundle), str(tmp_path / "new.parquet"), "-o", str(tmp_path / "o.csv")]
    done = CliRunner().invoke(main, command)
    assert (done.exit_code, "expected columns of numbers" in done.stderr) == (1, True)


SPELLINGS = {
    "whole numbers": (["1", "2", "3"], [["1", "1.0", " 2.00 "], [1, 1.0, "2.0"]]),
    "truth values": (["True", "False"], [["True", "TRUE ", "False"], [True, "True", False]]),
    "truth values as texts": (
        ["True", "False"],
        [["True", "TRUE ", "false"], [True, "true", "FALSE"]],
    ),
    "texts for gaps": (["us", "de"], [["us", "NA", "?"], ["us", "na", None]]),
}


@pytest.mark.parametrize("kind", SPELLINGS)
def test_score_spellings_of_a_category_equal_those_of_requests(kind, tmp_path):
    categories, (_, requested) = SPELLINGS[kind]
    rng = np.random.default_rng(0)
    rows = [
        (categories[i % len(categories)], rng.normal(), "a" if i % len(categories) else "b")
        for i in range(300)
    ]
    rows[5] = ("", 0.0, "a")
    (tmp_path / "t.csv").write_text("c,x,y\n" + "".join(f"{c},{x},{y}\n" for c, x, y in rows))
    options = dict(epochs=5, hidden=(8,), skip_baselines=True, category=("c",))
    made, _ = fit(Config(data=str(tmp_path / "t.csv"), models=tmp_path / "models", **options))
    client = create_app(models=tmp_path / "models").test_client()
    instances = [{"c": value, "x": 0.5} for value in requested]
    served = client.post("/predict", json={"instances": instances}).json["probabilities"]
    texts = SPELLINGS[kind][1][0]
    content = "c,x\n" + "".join(f"{text},0.5\n" for text in texts)
    source = "new.csv"
    (tmp_path / source).write_text(content)
    if kind == "truth values":
        source = "new.parquet"
        typed = pyarrow.table({"c": [True, True, False], "x": [0.5] * 3})
        pyarrow.parquet.write_table(typed, tmp_path / source)
    output = tmp_path / "out.parquet"
    command = ["score", str(made.path), str(tmp_path / source), "-o", str(output)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    table = pyarrow.parquet.read_table(output)
    scored = np.column_stack([table[f"probability_{name}"].to_numpy() for name in "ab"])
    np.testing.assert_allclose(scored, served, rtol=1e-6)


INDEXED = pd.DataFrame(
    {
        "x": [float(i % 7) for i in range(60)],
        "city": [("Köln", "Bern")[i % 2] for i in range(60)],
        "kind": [("no", "yes")[i % 7 > 3] for i in range(60)],
    }
)
# Writers of the table with an index, as pandas adds it, and without.
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
def test_fit_index_column_is_no_input(name, indexed, tmp_path):
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
def test_fit_and_check_index_column_warn_that_it_is_left_out(
    command, indexed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = [command, str(indexed / "index.csv"), "--epochs", "1", "--hidden", "4", "--json"]
    skip = ["--skip-baselines"] if command == "fit" else []
    done = CliRunner().invoke(main, [*arguments, *skip])
    assert "warning: index_column: left out" in done.stderr
    (finding,) = (f for f in json.loads(done.stdout)["findings"] if f["name"] == "index_column")
    assert finding["columns"] == [""]
    assert "--drop ''" in finding["remedy"]


# Delimiter, decimal sign and encoding of a file, and the options for them.
FILE_FORMATS = {
    "semicolons": (";", ".", "utf-8", ["--delimiter", ";"]),
    "German": (";", ",", "cp1252", ["--delimiter", ";", "--decimal", ",", "--encoding", "cp1252"]),
    "UTF-16": ("\t", ".", "utf-16", ["--delimiter", "tab", "--encoding", "utf-16"]),
}


def write_table(path, delimiter, decimal, encoding):
    frame = INDEXED.assign(x=INDEXED.x * 1000.5)
    frame.to_csv(path, index=False, sep=delimiter, decimal=decimal, encoding=encoding)


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_score_file_format_is_that_of_training(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    *file_format, options = FILE_FORMATS[name]
    write_table(tmp_path / "t.csv", *file_format)
    quick = ["--epochs", "1", "--hidden", "4", "--skip-baselines"]
    done = CliRunner().invoke(main, ["fit", "t.csv", *options, *quick])
    assert done.exit_code == 0, done.output
    write_table(tmp_path / "plain.csv", ",", ".", "utf-8")
    INDEXED.assign(x=INDEXED.x * 1000.5).to_parquet(tmp_path / "typed.parquet")
    plain_format = ["--delimiter", ",", "--decimal", ".", "--encoding", "utf-8"]
    answers = []
    for source, given in (("t.csv", []), ("plain.csv", plain_format), ("typed.parquet", [])):
        done = CliRunner().invoke(main, ["score", "models/t", source, "-o", "out.csv", *given])
        assert done.exit_code == 0, done.output
        answers.append((tmp_path / "out.csv").read_text())
    assert answers[0] == answers[1] == answers[2]
    done = CliRunner().invoke(main, ["score", "models/t", "plain.csv", "-o", "out.csv"])
    assert done.exit_code == 1
    assert re.search(r"\b(use|choose) ", done.stderr)
    assert "--delimiter ," in done.stderr or "--encoding" in done.stderr


def test_score_invalid_file_format_option_is_refused(bundle, tmp_path):
    for option, value in (("--delimiter", ";;"), ("--decimal", ";"), ("--encoding", "rot13")):
        done = run_score(bundle, "age,job\n30,cook\n", option, value, folder=tmp_path)
        assert (done.exit_code, option[2:] in done.stderr) == (2, True)


def test_score_keep_column_with_comma_in_its_name(bundle, tmp_path):
    text = 'age,job,"Revenue, USD"\n30,cook,7\n'
    for keep in ("Revenue, USD", '"Revenue, USD"'):
        done = run_score(bundle, text, "--keep", keep, folder=tmp_path)
        assert done.exit_code == 0, done.output
        assert pyarrow.csv.read_csv(tmp_path / "out.csv")["Revenue, USD"].to_pylist() == [7]
