"""The summary of the data that commands print before training."""

import numpy as np
import pytest

from trainer.cli.data_summary import print_data_summary
from trainer.data.files.read_file import read_file
from trainer.data.read_options import ReadOptions
from trainer.data.splits import split_table


@pytest.fixture
def summarize(tmp_path, capsys):
    def run(text, **reading):
        path = tmp_path / "data.csv"
        path.write_text(text)
        table = read_file(path, ReadOptions(**reading))
        print_data_summary(table, split_table(table, validation=0.1, test=0.2, seed=0))
        return capsys.readouterr().err

    return run


def make_csv(target, *, columns=1):
    """Return a CSV text with columns of random numbers and the target."""
    numbers = np.random.default_rng(0).normal(size=(len(target), columns))
    head = ",".join([*(f"x{i}" for i in range(columns)), "y"])
    lines = [",".join([*map(str, row), str(y)]) for row, y in zip(numbers, target, strict=True)]
    return "\n".join([head, *lines, ""])


def find_line(text, name):
    return next(line for line in text.splitlines() if line.split()[:1] == [name])


@pytest.mark.parametrize("names", [("0", "1"), ("no", "yes"), ("false", "true"), ("3", "4")])
def test_summary_classes_lists_them_with_their_shares(summarize, names):
    line = find_line(summarize(make_csv([names[0]] * 90 + [names[1]] * 10)), "y")
    assert "classes (target)" in line
    assert line.split()[-4:] == [names[0], "90.0%,", names[1], "10.0%"]


def test_summary_numbers_with_task_classification_lists_them_as_classes(summarize):
    line = find_line(summarize(make_csv([1.0, 2.0, 3.0] * 20), task="classification"), "y")
    assert "classes (target)" in line
    assert " to " not in line


def test_summary_regression_target_is_a_number(summarize):
    line = find_line(summarize(make_csv(np.linspace(0, 1, 60))), "y")
    assert "number (target)" in line
    assert line.endswith("0 to 1 ") or line.rstrip().endswith("0 to 1")


def test_summary_five_classes_lists_the_four_most_common(summarize):
    line = find_line(
        summarize(make_csv(["a"] * 40 + ["b"] * 30 + ["c"] * 10 + ["d"] * 10 + ["e"] * 10)), "y"
    )
    assert line.rstrip().endswith("a 40.0%, b 30.0%, c 10.0%, d 10.0% …")


def test_summary_target_after_forty_columns_is_listed(summarize):
    text = summarize(make_csv([0, 1] * 30, columns=60))
    assert "classes (target)" in find_line(text, "y")
    assert "… and 20 more" in text


def test_summary_column_name_in_square_brackets_is_printed_as_it_is(summarize):
    assert "[red]x" in summarize(make_csv([0, 1] * 30).replace("x0", "[red]x"))


def list_findings(text):
    """Return the names of the findings in the warnings."""
    return {line.split(":")[1].strip() for line in text.splitlines() if line.startswith("warning:")}


def make_csv_with_column(name, values):
    """Return a CSV text with a column of random numbers, one of the values, and two classes."""
    numbers = np.random.default_rng(0).normal(size=len(values))
    pairs = enumerate(zip(numbers, values, strict=True))
    lines = [f"{x},{value},{'ab'[i % 2]}" for i, (x, value) in pairs]
    return "\n".join([f"x,{name},y", *lines, ""])


ZIPS = ["01067", "01234", "10115", "80331"] * 25


def test_summary_numbers_with_leading_zeros_suggests_category(summarize):
    text = summarize(make_csv_with_column("zip", ZIPS))
    assert "leading_zeros: codes with leading zeros that are read as numbers: zip" in text
    assert "'01067'" in text
    assert "--category" in text


@pytest.mark.parametrize("reading", [{"number": ("zip",)}, {"category": ("zip",)}])
def test_summary_leading_zeros_and_given_kind_has_no_warning(summarize, reading):
    assert "leading_zeros" not in list_findings(
        summarize(make_csv_with_column("zip", ZIPS), **reading)
    )


@pytest.mark.parametrize("values", [["0.25", "0", "10", "0012.5"], ["01", "02", "11", "12"]])
def test_summary_fractions_or_months_have_no_warning_of_leading_zeros(summarize, values):
    assert "leading_zeros" not in list_findings(summarize(make_csv_with_column("v", values * 25)))


def test_summary_leading_zero_after_many_distinct_values_is_found(summarize):
    values = [*(str(n) for n in range(10_000, 12_000)), "01234"]
    assert "leading_zeros" in list_findings(summarize(make_csv_with_column("zip", values)))


MILLISECONDS = [str(1_700_000_000_000 + 86_400_123 * (n % 90)) for n in range(100)]


@pytest.mark.parametrize("kind", ["number", "precise"])
def test_summary_milliseconds_and_given_kind_are_not_suggested_as_dates(summarize, kind):
    text = make_csv_with_column("at", MILLISECONDS)
    assert "number_like_date" in list_findings(summarize(text))
    assert "number_like_date" not in list_findings(summarize(text, **{kind: ("at",)}))


def test_summary_dates_in_milliseconds_are_printed_to_the_second(summarize):
    text = " ".join(summarize(make_csv_with_column("at", MILLISECONDS), date=("at",)).split())
    assert "2023-11-14T22:13:20+00:00 to" in text
    assert "in milliseconds since 1970" in text


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([f"1.{n:03},{n % 100:02}" for n in range(100)], "numbers_as_text"),
        ([f"{n % 12 + 1:02}/{n // 12 + 1:02}/2024" for n in range(50)] * 2, "dates_as_text"),
    ],
    ids=["decimal commas", "ambiguous dates"],
)
def test_summary_texts_that_look_like_numbers_or_dates_have_one_warning(summarize, values, name):
    quoted = [f'"{value}"' for value in values]
    assert list_findings(summarize(make_csv_with_column("v", quoted))) == {name}
