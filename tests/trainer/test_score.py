import re
import shutil

import pyarrow.csv
import pytest
from click.testing import CliRunner

from trainer.choices import Config
from trainer.cli import main
from trainer.recipe import fit

PEOPLE = "age,job,pay\n" + "".join(
    f"{20 + i % 40},{('cook', 'nurse', 'pilot')[i % 3]},{'high' if i % 40 > 20 else 'low'}\n"
    for i in range(200)
)


@pytest.fixture(scope="module")
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


def test_a_file_without_a_header_is_scored_by_the_names_given(bundle, tmp_path):
    done = scored(bundle, "30,cook\n50,nurse\n", "--names", "age,job", folder=tmp_path)
    assert done.exit_code == 0, done.output


def test_no_rows_have_no_answers(bundle, tmp_path):
    done = scored(bundle, "age,job\n", folder=tmp_path)
    assert (done.exit_code, "0 rows" in done.stdout) == (0, True) or "expected rows" in done.stderr


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("age,job\n30,cook\n,nurse\n", [], r"a value in every row of 'age'.*got none in row 2"),
        ("age,job\n30,\n", [], r"a value in every row of 'job'.*row 1"),
        ("age,job\n30,diver\n", [], r"one of the texts of 'job'.*got 'diver' in row 1"),
        ("age,job\nold,cook\n", [], r"'?age'?.*'?old'?.*row 1"),
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
