"""Errors of options, keys of files and columns name them as the user wrote them."""

import re

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from trainer.cli import main
from trainer.compress.compression_config import CompressionConfig
from trainer.config import Config
from trainer.option_errors import list_option_errors, to_option_name
from trainer.search.grid_file import SearchPlan

REQUIRED_OPTIONS = {Config: {"data": "wine"}, CompressionConfig: {}, SearchPlan: {}}
INVALID_VALUES = ("big", "f2", "-1", "0", "1e99", "8,x", "nan", "", "a/b", "\x00")
TABLE = "Age,job,income\n" + "".join(f"{20 + i % 40},{'ab'[i % 2]},{i % 7}\n" for i in range(60))


def list_errors(model):
    """Yield each option that refuses one of the values, the value, and the error."""
    for name in model.model_fields:
        for value in INVALID_VALUES:
            try:
                model.model_validate(REQUIRED_OPTIONS[model] | {name: value})
            except ValidationError as error:
                yield name, value, list_option_errors(error, model)


@pytest.mark.parametrize("model", REQUIRED_OPTIONS)
def test_option_invalid_value_error_names_option_and_value(model):
    errors = {}
    for name, value, message in list_errors(model):
        errors[name] = message
        assert message.startswith(f"{to_option_name(name)}: expected "), message
        assert message.count("; got ") == 1, message
        is_quoted = repr(value) in message
        assert is_quoted or all(repr(v) not in message for v in INVALID_VALUES if v), message
        for jargon in ("unable to parse", "Input should", "Value error", "validation error", "^["):
            assert jargon not in message, message
    for name in model.model_fields.keys() - errors.keys():
        schema = model.model_json_schema()["properties"][name]
        types = [each.get("type") for each in schema.get("anyOf", [schema])]
        # Only the data can refuse names of columns, folders and the like.
        assert set(types) <= {"string", "array", "null"}, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hidden", "big"], "--hidden: expected integers such as 64,32; got 'big'"),
        (["--hidden", "64,0"], "--hidden: expected integers of at least 1 such as 64,32; got '0'"),
        (["--aim", "f2"], "or cost=1:5; got 'f2'"),
        (["--aim", "cost=1"], "as in cost=1:5; got 'cost=1'"),
        (["--activation", "rleu"], "got 'rleu'; did you mean relu?"),
        (
            ["--learning-rate", "fast"],
            "--learning-rate: expected a number above 0; got 'fast'; for example --learning-rate "
            "0.001",
        ),
        (["--name", "a/b"], "--name: expected up to 64 letters, digits, dots"),
        (
            ["--optimizer", "adam", "--weight-decay", "0.1"],
            "--weight-decay: expected the optimizer adamw",
        ),
        (
            ["--weight-decay", "-1"],
            "--weight-decay: expected a number of at least 0; got '-1'; for example "
            "--weight-decay 0.01",
        ),
        (
            ["--epochs", "0"],
            "--epochs: expected a whole number of at least 1; got '0'; for example --epochs 100",
        ),
        (["--label-smoothing", "1"], "for example --label-smoothing 0.1"),
        (["--preset", "balancd"], "got 'balancd'; did you mean balanced?"),
        (["--monitor", "los"], "--monitor: expected loss or squared_error; got 'los'"),
        (["--batch-norm", "--batch-size", "1"], "--batch-size: expected at least 2 for batch norm"),
    ],
    ids=str,
)
@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["", "json"])
def test_fit_invalid_option_exits_with_2_and_one_error(arguments, message, flags):
    done = CliRunner().invoke(main, ["fit", "wine", *arguments, *flags])
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("; got ") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epoch = 3", "run.toml: expected a key out of data, .*; got 'epoch'; did you mean epochs"),
        ("batch-sise = 3", "got 'batch-sise'; did you mean batch_size"),
        ("learning-rate = -1", "run.toml: learning-rate: expected a number above 0; got -1"),
        ("hidden = ['big']", "run.toml: hidden: expected integers such as 64,32; got 'big'"),
    ],
)
def test_config_file_invalid_key_error_names_file_and_key(content, message, tmp_path):
    (tmp_path / "run.toml").write_text(content)
    command = ["fit", "wine", "--config", str(tmp_path / "run.toml")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert re.search(message, done.stderr), done.stderr
    if "hidden" in content:  # the option of the command line takes precedence, and is named
        assert "--hidden: expected" in CliRunner().invoke(main, [*command, "--hidden", "x"]).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "incme"], "got 'incme'; did you mean income?"),
        (["--target", "age"], "got 'age'; did you mean Age?"),
        (["--target", "salary"], "got 'salary'; name it with --target"),
        *(
            ([f"--{option}", "jbo"], f"got 'jbo' for --{option}; did you mean job?")
            for option in ("drop", "number", "boolean", "category", "date", "group", "time")
        ),
        (["--drop", "x", "--date", "y,z"], "got 'x' for --drop and 'y', 'z' for --date"),
    ],
    ids=str,
)
def test_fit_unknown_column_error_suggests_a_similar_one(arguments, message, tmp_path):
    (tmp_path / "t.csv").write_text(TABLE)
    done = CliRunner().invoke(main, ["fit", str(tmp_path / "t.csv"), *arguments])
    assert done.exit_code == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("lerning_rate = [1]", "got 'lerning_rate'; did you mean learning_rate?"),
        ("hidden = [8]\n[search]\nmetod = 'grid'", "got 'metod'; did you mean method?"),
        ("hidden = [8]\n[search]\nmethod = 'gird'", "got 'gird'; did you mean grid?"),
        ("hidden = [8]\n[search]\ntrials = 'x'", "[search]: trials: expected a whole number"),
        ("hidden = [8]\n[search]\nmetric = 'acuracy'", "got 'acuracy'; did you mean accuracy?"),
        ("hidden = ['big']", "candidate hidden=big: hidden: expected integers such as 64,32"),
    ],
)
def test_search_invalid_key_of_grid_error_suggests_a_similar_one(grid, message, tmp_path):
    (tmp_path / "g.toml").write_text(grid)
    places = ["--models", str(tmp_path), "--journal", str(tmp_path / "j.jsonl")]
    command = ["search", "wine", "--grid", str(tmp_path / "g.toml"), *places]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert message in done.stderr
