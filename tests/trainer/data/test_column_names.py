import shlex

import pytest

from trainer.config import Config
from trainer.data.column_names import column_option, resolve_names, split_names


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
def test_names_are_listed_as_in_a_csv_file(text, names):
    assert split_names(text) == names


@pytest.mark.parametrize(
    "names", [["a"], ["a", "b"], ["Revenue, USD", "id"], ['say "so"'], ["it's"], [""], ["", "a"]]
)
def test_an_option_that_is_shown_says_these_names(names):
    flag, text = shlex.split(column_option("drop", names))
    assert (flag, split_names(text)) == ("--drop", names)


@pytest.mark.parametrize(
    ("names", "columns", "found"),
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
def test_names_that_a_comma_parted_are_put_together(names, columns, found):
    assert resolve_names(names, columns) == found


@pytest.mark.parametrize("field", ["drop", "number", "boolean", "category", "date"])
def test_every_list_of_columns_takes_quotes_and_lists(field):
    for value in ('"Revenue, USD",id', ["Revenue, USD", "id"]):
        config = Config.model_validate({"data": "t.csv", field: value})
        assert getattr(config.get_read_options(), field) == ("Revenue, USD", "id")


def test_names_of_a_file_without_a_header_may_end_in_a_comma():
    assert Config.model_validate({"data": "t", "names": '"a, b",c,'}).names == ("a, b", "c")
