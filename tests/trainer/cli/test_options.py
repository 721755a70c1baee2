"""Every option, key of a file and column that is said wrongly is named as it was written."""

import re

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from trainer.cli import main
from trainer.compress.compression_config import CompressionConfig
from trainer.config import Config
from trainer.option_errors import list_option_errors, to_option_name
from trainer.search.grid_file import SearchPlan

MODELS = {Config: {"data": "wine"}, CompressionConfig: {}, SearchPlan: {}}
WRONG = ("big", "f2", "-1", "0", "1e99", "8,x", "nan", "", "a/b", "\x00")
TABLE = "Age,job,income\n" + "".join(f"{20 + i % 40},{'ab'[i % 2]},{i % 7}\n" for i in range(60))


def refusals(model):
    """Each choice with what it says to each wrong value."""
    for name in model.model_fields:
        for value in WRONG:
            try:
                model.model_validate(MODELS[model] | {name: value})
            except ValidationError as error:
                yield name, value, list_option_errors(error, model)


@pytest.mark.parametrize("model", MODELS)
def test_what_an_option_refuses_is_said_of_it_as_it_is_typed(model):
    refused = {}
    for name, value, message in refusals(model):
        refused[name] = message
        assert message.startswith(f"{to_option_name(name)}: expected "), message
        assert message.count("; got ") == 1, message
        assert repr(value) in message or all(repr(v) not in message for v in WRONG if v), message
        for jargon in ("unable to parse", "Input should", "Value error", "validation error", "^["):
            assert jargon not in message, message
    for name in model.model_fields.keys() - refused.keys():
        schema = model.model_json_schema()["properties"][name]
        kinds = [k.get("type") for k in schema.get("anyOf", [schema])]
        # Names of columns, folders and the like, which only the data can refuse.
        assert set(kinds) <= {"string", "array", "null"}, name


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
        (["--weight-decay", "0.1"], "--weight-decay: expected the optimizer adamw"),
        (["--batch-norm", "--batch-size", "1"], "--batch-size: expected at least 2 for batch norm"),
    ],
    ids=str,
)
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["", "json"])
def test_a_command_says_so_whatever_it_prints(arguments, message, more):
    done = CliRunner().invoke(main, ["fit", "wine", *arguments, *more])
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
def test_a_key_of_a_file_is_named_as_it_stands_there(content, message, tmp_path):
    (tmp_path / "run.toml").write_text(content)
    done = CliRunner().invoke(main, ["fit", "wine", "--config", str(tmp_path / "run.toml")])
    assert done.exit_code == 2
    assert re.search(message, done.stderr), done.stderr
    typed = ["fit", "wine", "--config", str(tmp_path / "run.toml"), "--hidden", "x"]
    if "hidden" in content:  # what is typed wins, and is what is named
        assert "--hidden: expected" in CliRunner().invoke(main, typed).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "incme"], "got 'incme'; did you mean income?"),
        (["--target", "age"], "got 'age'; did you mean Age?"),
        (["--target", "salary"], "got 'salary'; say it with --target"),
        *(
            ([f"--{option}", "jbo"], f"got 'jbo' for --{option}; did you mean job?")
            for option in ("drop", "number", "boolean", "category", "date", "group", "time")
        ),
        (["--drop", "x", "--date", "y,z"], "got 'x' for --drop and 'y', 'z' for --date"),
    ],
    ids=str,
)
def test_a_column_that_is_not_there_is_said_with_what_may_have_been_meant(
    arguments, message, tmp_path
):
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
def test_keys_of_a_grid_are_named_with_what_may_have_been_meant(grid, message, tmp_path):
    (tmp_path / "g.toml").write_text(grid)
    done = CliRunner().invoke(
        main,
        [
            "search",
            "wine",
            "--grid",
            str(tmp_path / "g.toml"),
            "--models",
            str(tmp_path),
            "--journal",
            str(tmp_path / "j.jsonl"),
        ],
    )
    assert done.exit_code == 2
    assert message in done.stderr


def test_the_help_of_search_has_the_keys_of_its_table():
    text = " ".join(CliRunner().invoke(main, ["search", "--help"]).stdout.split())
    keys = text[text.index("Keys of [search]:") :]
    for name in SearchPlan.model_fields:
        assert f"{name} (" in keys
