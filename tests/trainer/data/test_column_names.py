import shlex

import pytest

from trainer.config import Config
from trainer.data.column_names import format_column_option, resolve_names, split_names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b", ["a", "b"]),
        (" a , b ", ["a", "b"]),
        ('"Revenue, USD",id', ["Revenue, USD", "id"]),
        ('id, "Revenue, USD"', ["id", "Revenue, USD"]),
        ('"say ""so"""', ['say "so"']),
        ('5" pipe', ['5" pipe']),
        ('"open', ['"open']),
        ("", [""]),
        ('""', [""]),
        ("a,", ["a", ""]),
    ],
)
def test_split_names_quoted_names_are_read_as_in_csv(text, names):
    assert split_names(text) == names


@pytest.mark.parametrize(
    "names", [["a"], ["a", "b"], ["Revenue, USD", "id"], ['say "so"'], ["it's"], [""], ["", "a"]]
)
def test_format_column_option_split_names_returns_the_same_names(names):
    flag, text = shlex.split(format_column_option("drop", names))
    assert (flag, split_names(text)) == ("--drop", names)


@pytest.mark.parametrize(
    ("names", "columns", "expected"),
    [
        (["Revenue", "USD"], ["Revenue, USD", "id"], ("Revenue, USD",)),
        (["id", "Revenue", "USD", "x"], ["Revenue,USD", "id", "x"], ("id", "Revenue,USD", "x")),
        (["a", "b"], ["a", "b", "a,b"], ("a", "b")),
        (["a", "b", "c"], ["a", "a,b,c"], ("a,b,c",)),
        (["Revenue", "EUR"], ["Revenue, USD"], ("Revenue", "EUR")),
        (["a", ""], ["a"], ("a",)),
        (["a", ""], ["", "a"], ("a", "")),
        (["Revenue, USD"], ["Revenue, USD", "Revenue"], ("Revenue, USD",)),
    ],
)
def test_resolve_names_parts_of_a_name_with_comma_are_joined(names, columns, expected):
    assert resolve_names(names, columns) == expected


@pytest.mark.parametrize("field", ["drop", "number", "boolean", "category", "date"])
def test_config_list_of_columns_may_be_quoted_text_or_list(field):
    for value in ('"Revenue, USD",id', ["Revenue, USD", "id"]):
        config = Config.model_validate({"data": "t.csv", field: value})
        assert getattr(config.get_read_options(), field) == ("Revenue, USD", "id")


def test_config_names_ending_in_comma_name_no_further_column():
    assert Config.model_validate({"data": "t", "names": '"a, b",c,'}).names == ("a, b", "c")
